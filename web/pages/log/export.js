// @ts-check
/** Exports the range of the log that is shown as a slice. */

import { html, useRef, useState } from "../../vendor/preact.js";
import { useSend } from "../../app/fetch.js";
import { href } from "../../app/router.js";
import { api } from "../../app/session.js";
import { momentOf, sizeText, timeText } from "../../state/log-words.js";

/** @param {{records: import("../../state/log-words.js").LogRecord[], user: string}} props */
export function Export({ records, user }) {
  const [isOpen, open] = useState(false);
  const [made, setMade] = useState(/** @type {any} */ (null));
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const { send, isBusy, error } = useSend();
  if (records.length === 0) return null;
  const [first, last] = [records[0].ts, (records.at(-1)?.ts ?? 0) + 1];
  /** @param {Event} event */
  const write = async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(/** @type {HTMLFormElement} */ (form.current)));
    const body = { from: momentOf(String(fields.from)), to: momentOf(String(fields.to)), user: String(fields.user).trim() };
    setMade((await send(() => api.send("POST", "/v1/slices", body))) ?? null);
  };
  if (!isOpen) return html`<button type="button" class="button button-small" onClick=${() => open(true)}>Export a slice …</button>`;
  return html`<form class="form-row export" aria-label="Export a slice" ref=${form} onSubmit=${write}>
    <label class="field">From<input name="from" defaultValue=${timeText(first)} /></label>
    <label class="field">To<input name="to" defaultValue=${timeText(last)} /></label>
    <label class="field">Only this user<input name="user" defaultValue=${user} placeholder="all users" /></label>
    <button type="submit" class="button button-main" disabled=${isBusy}>${isBusy ? "Exporting …" : "Export"}</button>
    <button type="button" class="button" onClick=${() => open(false)}>Close</button>
    ${error && html`<p class="field-error" role="alert">${error}</p>`}
    ${made && html`<p role="status" data-part="exported">${made.manifest.n_records} records, ${sizeText(made.n_bytes)}:
      <a href=${`/v1/slices/${made.name}`} download=${made.name}>download ${made.name}</a> or <a href=${href("/log", { slice: made.name })}>look into it</a></p>`}
  </form>`;
}
