// @ts-check
/** The steering document: an editor that checks while one types, a preview on users, the A/B test, the history. */

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { useFetch, useSend } from "../../app/fetch.js";
import { api, dispatch, shown } from "../../app/session.js";
import { steering } from "../../app/steering.js";
import { words } from "../../connection/loading.js";
import { Arms } from "../../components/arms.js";
import { RankedList, UserLink } from "../../components/items.js";
import { Card, Empty, Fetched, Page } from "../../components/states.js";
import { plural } from "../../elements/format.js";
import { timeText } from "../../elements/time.js";
import { debounce } from "../../elements/timing.js";

const CHECK_AFTER_MS = 250;
const CHECK_AT_LATEST_MS = 1000;
/**
 * Returns rules to begin with, about things that the catalogue has.
 *
 * @param {{item?: string, brand?: string, category?: string}} known
 * @returns {[label: string, part: (document: any) => any][]}
 */
const examplesOf = ({ item = "an-item", brand = "", category = "" }) => [
  ["Diversity", (document) => ({ ...document, diversity: { strength: 0.35 } })],
  ...(brand ? [example("Exclude a brand", { action: "exclude", name: `hide ${brand}`, where: { brand } })] : []),
  ...(category ? [example("Boost a category", { action: "boost", name: `push ${category}`, where: { category }, by: 0.6 })] : []),
  example("Pin an item", { action: "pin", name: "launch", items: [item], at: 1 }),
  ["A/B test", (document) => ({ ...document, arms: [{ name: "as it is", share: 0.5 }, { name: "more content", share: 0.5, blend: { factors: 0.5, content: 3 } }] })],
];

/**
 * @param {string} label
 * @param {any} rule
 * @returns {[label: string, part: (document: any) => any]}
 */
function example(label, rule) {
  return [label, (document) => ({ ...document, rules: [...(document.rules ?? []), rule] })];
}

/** @typedef {{status: "checking" | "valid" | "invalid", words: string[], warnings: string[], errors: {pointer: string, detail: string}[]}} Check */

/** @param {{title: string, about: string}} props */
export function SteeringPage({ title, about }) {
  const now = useFetch("/v1/steering");
  const [version, setVersion] = useState(0);
  const reload = () => {
    now.reload();
    setVersion((before) => before + 1);
  };
  return html`<${Page} title=${title} about=${about}>
    <${Fetched} of=${now} what="The rules in force">${(/** @type {any} */ state) => html`<${Editor} state=${state} onSet=${reload}><${Experiment} isRunning=${(state.steering.arms ?? []).length > 0} /><${Past} version=${version} onSet=${reload} /><//>`}<//>
  <//>`;
}

/** @param {{state: any, onSet: () => void, children?: any}} props */
function Editor({ state, onSet, children }) {
  const original = JSON.stringify(state.steering, null, 2);
  const [text, setText] = useState(original);
  const [check, setCheck] = useState(/** @type {Check} */ ({ status: "valid", words: state.words, warnings: state.warnings, errors: [] }));
  const [preview, setPreview] = useState(/** @type {any} */ (null));
  const { isBusy, error, send } = useSend();
  const latest = useRef(text);
  latest.current = text;
  useEffect(() => {
    setText(original);
    setPreview(null);
  }, [state.offset]);
  const run = useRef(debounce(() => void checkOf(latest.current).then((found) => found.text === latest.current && setCheck(found.check)), CHECK_AFTER_MS, CHECK_AT_LATEST_MS));
  useEffect(() => {
    setCheck((before) => ({ ...before, status: "checking" }));
    run.current();
  }, [text]);
  const isValid = check.status === "valid";
  const { data: catalogue } = useFetch("/v1/items", { limit: 1 });
  const show = async () => {
    const answer = await send(() => api.send("POST", "/v1/steering/preview?n_users=4&n=10", JSON.parse(text)));
    if (answer) setPreview(answer);
  };
  const set = async () => {
    const answer = await send(() => api.steer(JSON.parse(text)));
    if (answer === undefined) return;
    dispatch({ type: "notice", text: "Set. Lists follow at once." });
    void steering.load();
    onSet();
  };
  const add = (/** @type {(document: any) => any} */ part) => {
    try {
      setText(JSON.stringify(part(JSON.parse(text || "{}")), null, 2));
    } catch {
      setCheck({ ...check, status: "invalid" });
    }
  };
  return html`<div class="boxes">
    <${Card} title="The document" about="JSON. It is checked while you type, against the products and the model. Nothing is saved until you set the document." tools=${html`<a href="/docs">Format</a>`}>
      <div class="box-tools examples">${examplesOf(catalogue?.items[0] ?? {}).map(([label, part]) => html`<button type="button" class="button button-small" key=${label} onClick=${() => add(part)}>+ ${label}</button>`)}</div>
      <label class="field">Rules as JSON<textarea class="editor" spellcheck=${false} rows="16" aria-invalid=${String(check.status === "invalid")} aria-describedby="check" value=${text} onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)}></textarea></label>
      <div class="box-tools">
        <button type="button" class="button" disabled=${!isValid || isBusy} onClick=${() => void show()}>Preview</button>
        <button type="button" class="button button-main" disabled=${!isValid || isBusy || text === original} onClick=${() => void set()}>Set it</button>
        ${text !== original && html`<button type="button" class="button" onClick=${() => setText(original)}>Undo</button>`}
      </div>
      ${error && html`<p class="error-text" role="alert">${error}</p>`}
    <//>
    <div class="stack"><${Card} title="In words" about=${state.offset < 0 ? "Nothing was ever set." : `In force: record ${state.offset} of the control topic. ${state.adopted} of ${state.partitions} partitions apply it.`}>
      <div id="check" role="status" data-part="check" data-status=${check.status}><${Checked} check=${check} /></div>
    <//>${children}</div>
    ${preview && html`<${Preview} preview=${preview} />`}
  </div>`;
}

/** @param {string} text @returns {Promise<{text: string, check: Check}>} */
async function checkOf(text) {
  const nothing = { words: [], warnings: [] };
  let document;
  try {
    document = JSON.parse(text.trim() === "" ? "{}" : text);
  } catch (error) {
    return { text, check: { ...nothing, status: "invalid", errors: [{ pointer: "", detail: `This is not JSON yet: ${words(error)}` }] } };
  }
  try {
    const answer = await api.send("POST", "/v1/steering/check", document);
    return { text, check: { status: "valid", words: answer.words, warnings: answer.warnings, errors: [] } };
  } catch (error) {
    const errors = /** @type {any} */ (error).errors ?? [];
    return { text, check: { ...nothing, status: "invalid", errors: errors.length > 0 ? errors : [{ pointer: "", detail: words(error) }] } };
  }
}

/** @param {{check: Check}} props */
function Checked({ check }) {
  if (check.status === "invalid") {
    return html`<ul class="check-list" role="list">${check.errors.map(({ pointer, detail }) => html`<li class="error-text" key=${pointer + detail}>${pointer && html`<code>${pointer}</code> `}${detail}</li>`)}</ul>`;
  }
  if (check.words.length === 0 && check.status === "valid") return html`<${Empty}>No rules: lists are ranked by the model alone.<//>`;
  return html`<ul class="check-list" role="list">${check.words.map((line) => html`<li key=${line}>${line}</li>`)}</ul>
    ${check.warnings.map((line) => html`<p class="warn-text" key=${line}>${line}</p>`)}`;
}

/** @param {{preview: any}} props */
function Preview({ preview }) {
  const overlap = `${Math.round(100 * preview.mean_overlap)} % of the products stay in the lists of ${plural(preview.users.length, "recent user")}.`;
  return html`<${Card} title="Preview" wide=${true} about=${`Lists of real users as they would be. Nothing is set. ${overlap}`}>
    ${preview.users.map((/** @type {any} */ user) => {
      const before = new Map(user.before.map((/** @type {any} */ { item, rank }) => [item, rank]));
      const after = new Map(user.after.map((/** @type {any} */ { item, rank }) => [item, rank]));
      return html`<section key=${user.user} class="shelf-of" data-part="previewed"><h3 class="row-title"><${UserLink} id=${user.user} />${user.arm && html` <span class="tag">arm ${user.arm}</span>`} <span class="muted">${Math.round(100 * user.overlap)} % the same</span></h3>
        <div class="side-by-side"><${RankedList} label="Now" places=${user.before} others=${after} absent="left" /><${RankedList} label="Then" places=${user.after} others=${before} /></div></section>`;
    })}
  <//>`;
}

/** @param {{isRunning: boolean}} props */
function Experiment({ isRunning }) {
  const arms = shown.pipeline.value?.arms ?? [];
  return html`<${Card} title="A/B test" about="Each arm's measures with their 95 % intervals. An arm is better when its interval lies above all others.">
    ${arms.length === 0 ? html`<${Empty}>${isRunning ? "Nobody has done anything in the test yet." : "No test runs. Add “arms” to the document to start one."}<//>` : html`<${Arms} arms=${arms} />`}
  <//>`;
}

/** @param {{version: number, onSet: () => void}} props */
function Past({ version, onSet }) {
  const past = useFetch("/v1/steering/history", { version });
  const { error, send } = useSend();
  const again = async (/** @type {any} */ document) => {
    if ((await send(() => api.steer(document))) !== undefined) onSet();
  };
  return html`<${Card} title="History" about="Each document that was set, newest first: a record of the log.">
    ${error && html`<p class="error-text" role="alert">${error}</p>`}
    <${Fetched} of=${past} what="The history">${(/** @type {any} */ data) =>
      data.documents.length === 0
        ? html`<${Empty}>Nothing was ever set.<//>`
        : html`<ol class="effects" role="list">${data.documents.map((/** @type {any} */ each, /** @type {number} */ at) => html`<li class="effect" key=${each.offset}>
            <strong>${timeText(each.requested_ts)}</strong> <span class="muted">by ${each.author || "the operator of this machine"}, record ${each.offset}</span>
            ${each.words.length === 0 ? html`<span>no rules</span>` : html`<ul class="check-list">${each.words.map((/** @type {string} */ line) => html`<li key=${line}>${line}</li>`)}</ul>`}
            ${at > 0 && html`<button type="button" class="button button-small" onClick=${() => void again(each.steering)}>Set it again</button>`}
          </li>`)}</ol>`}<//>
  <//>`;
}
