// @ts-check
/** Records that could not be read: by reason, with their content; mended and sent again. */

import { html, useEffect, useState } from "../../vendor/preact.js";
import { useFetch, useSend } from "../../app/fetch.js";
import { address, href, setQuery } from "../../app/router.js";
import { api } from "../../app/session.js";
import { Card, Empty, Fetched, Page } from "../../components/states.js";
import { Moment, VirtualTable } from "../../components/table.js";
import { count } from "../../elements/format.js";
import { shortTopic } from "../../state/log-words.js";

/** @param {{title: string, about: string}} props */
export function Letters({ title, about }) {
  const { reason = "", open = "" } = address.value.query;
  const letters = useFetch("/v1/dead-letters", { reason, limit: 100 }, { everyMs: 10_000 });
  return html`<${Page} title=${title} about=${about}>
    <${Fetched} of=${letters} what="The dead letters">${(/** @type {any} */ data) => html`
      <${Reasons} data=${data} reason=${reason} />
      <${Listed} data=${data} reason=${reason} open=${open} />
      ${open && html`<${Letter} key=${open} letter=${data.letters.find((/** @type {any} */ one) => one.id === open) ?? null} onSent=${letters.reload} />`}`}<//>
  <//>`;
}

/** @param {{data: any, reason: string}} props */
function Reasons({ data, reason }) {
  const reasons = Object.entries(data.reasons);
  if (reasons.length === 0) return html`<${Empty}>Every record of the log could be read.<//>`;
  return html`<nav class="reasons" aria-label="Reasons">
    <a class="button" href="/dead-letters" aria-current=${reason === "" ? "page" : null}>All <span class="muted">${count(data.n_counted)}</span></a>
    ${reasons.map(([name, n]) => html`<a class="button" key=${name} data-reason=${name} href=${href("/dead-letters", { reason: name })} aria-current=${reason === name ? "page" : null}>${name} <span class="muted">${count(Number(n))}</span></a>`)}
  </nav>`;
}

/** @type {import("../../components/table.js").Column<any>[]} */
const COLUMNS = [
  { name: "When", width: "minmax(7rem, 12.5rem)", cell: (letter) => html`<${Moment} ms=${letter.ts} />` },
  { name: "Reason", isSpare: true, width: "9rem", cell: (letter) => letter.reason },
  { name: "What is wrong", width: "minmax(10rem, 1fr)", cell: (letter) => letter.detail },
  { name: "From", isSpare: true, width: "11rem", cell: (letter) => html`<span class="mono">${shortTopic(letter.topic)} ${letter.partition}:${letter.offset}</span>` },
];

/** @param {{data: any, reason: string, open: string}} props */
function Listed({ data, open }) {
  if (data.letters.length === 0) return null;
  return html`<${Card} title="Newest first" about="Choose one to see its content and to mend it.">
    <${VirtualTable} label="Dead letters" rows=${data.letters} keyOf=${(/** @type {any} */ letter) => letter.id} columns=${COLUMNS} least="50rem" most="20rem"
      chosen=${open || null} onChoose=${(/** @type {any} */ letter) => setQuery({ open: letter.id })} />
  <//>`;
}

/** @param {{letter: any, onSent: () => void}} props */
function Letter({ letter, onSent }) {
  const [text, setText] = useState(() => pretty(letter?.value ?? ""));
  const [sent, setSent] = useState(/** @type {any} */ (null));
  const { send, isBusy, error } = useSend();
  useEffect(() => document.querySelector("[data-part=letter]")?.scrollIntoView({ block: "nearest" }), []);
  if (letter === null) return html`<${Card} title="Dead letter"><${Empty}>It is not among the newest of this reason.<//><//>`;
  const post = async (/** @type {Record<string, string>} */ body) => {
    const answer = await send(() => api.send("POST", `/v1/dead-letters/${encodeURIComponent(letter.id)}/send`, body));
    if (answer === undefined) return;
    setSent(answer);
    onSent();
  };
  const mended = compact(text);
  return html`<div data-part="letter"><${Card} title=${`Dead letter ${letter.id}`} about=${letter.detail}>
    <p class="links"><a href=${href(`/log/${encodeURIComponent(letter.topic)}`, { open: `${letter.partition}:${letter.offset}` })}>The record: ${shortTopic(letter.topic)} ${letter.partition}:${letter.offset}</a>
      ${letter.pointer && html`<span class="mono">at ${letter.pointer}</span>`}</p>
    <label class="field">Content${letter.truncated ? ", cut: only its beginning is kept here" : ""}
      <textarea class="letter-value" spellcheck=${false} value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)}></textarea></label>
    ${mended === null && html`<p class="muted" data-part="letter-note">This is not valid JSON yet.</p>`}
    ${error && html`<p class="field-error" role="alert" data-part="letter-error">${error}</p>`}
    ${sent && html`<p role="status" data-part="letter-sent">Sent: <a href=${href(`/log/${encodeURIComponent(sent.topic)}`, { open: `${sent.partition}:${sent.offset}` })}>${shortTopic(sent.topic)} ${sent.partition}:${sent.offset}</a></p>`}
    <p class="box-tools">
      <button type="button" class="button button-main" disabled=${isBusy || mended === null} onClick=${() => void post({ value: mended ?? "" })}>Send the mended content</button>
      <button type="button" class="button" disabled=${isBusy} onClick=${() => void post({})}>Send again as it was</button>
      <button type="button" class="button" onClick=${() => setQuery({ open: null })}>Close</button>
    </p><//></div>`;
}

/** @param {string} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/**
 * Returns JSON without spaces, or null if it is none.
 *
 * @param {string} text
 */
function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return null;
  }
}
