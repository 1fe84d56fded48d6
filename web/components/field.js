// @ts-check
/** Fields of a form. What is typed stays while the page is drawn again; another address replaces it. */

import { html, useEffect, useRef, useState } from "../vendor/preact.js";

/**
 * Returns a text that follows a value only when the value changes, and a function that sets it.
 *
 * @param {string} value
 * @returns {[string, (text: string) => void]}
 */
export function useTyped(value) {
  const [text, setText] = useState(value);
  const known = useRef(value);
  useEffect(() => {
    if (value === known.current) return;
    known.current = value;
    setText(value);
  }, [value]);
  return [text, setText];
}

/**
 * A field of one line or, with `rows`, of several.
 *
 * @param {{label: any, name: string, value: string, rows?: number, hidden?: boolean, about?: string,
 *   [attribute: string]: any}} props other properties are attributes of the field
 */
export function Field({ label, name, value, rows, hidden = false, about, ...rest }) {
  const [text, type] = useTyped(value);
  const onInput = (/** @type {any} */ event) => type(event.currentTarget.value);
  return html`<label class="field" hidden=${hidden} title=${about}>${label}${
    rows === undefined
      ? html`<input name=${name} value=${text} autocomplete="off" spellcheck=${false} onInput=${onInput} ...${rest} />`
      : html`<textarea name=${name} rows=${rows} value=${text} spellcheck=${false} onInput=${onInput} ...${rest}></textarea>`
  }</label>`;
}

/**
 * A choice of a form.
 *
 * @param {{label: string, name: string, value: string, options: [value: string, label: string][]}} props
 */
export function Choice({ label, name, value, options }) {
  const [chosen, choose] = useTyped(value);
  return html`<label class="field">${label}<select name=${name} value=${chosen} onChange=${(/** @type {any} */ event) => choose(event.currentTarget.value)}>
    ${options.map(([each, words]) => html`<option key=${each} value=${each} selected=${each === chosen}>${words}</option>`)}</select></label>`;
}
