// @ts-check
/** JSON to read and to copy, in place or in a drawer at the side. */

import { html, useEffect, useRef } from "../vendor/preact.js";
import { Icon } from "../elements/icons.js";
import { Copy } from "./copy.js";

/** @param {{value: unknown, label?: string}} props */
export function Json({ value, label = "JSON" }) {
  return html`<pre class="json" tabindex="0" aria-label=${label}>${JSON.stringify(value, null, 2)}</pre>`;
}

/**
 * A drawer with JSON and whatever else belongs to it; open while `value` is not null.
 *
 * @param {{title: string, value: unknown, onClose: () => void, children?: any}} props
 */
export function JsonDrawer({ title, value, onClose, children }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    if (value !== null && !dialog.current?.open) dialog.current?.showModal();
    if (value === null && dialog.current?.open) dialog.current.close();
  }, [value === null]);
  return html`<dialog class="drawer" aria-label=${title} ref=${dialog} onClose=${onClose}
      onClick=${(/** @type {any} */ event) => event.target === dialog.current && dialog.current?.close()}>
    ${value !== null && html`<header class="drawer-head">
        <h2 class="box-title">${title}</h2>
        <span class="box-tools">
          <${Copy} text=${() => JSON.stringify(value, null, 2)} label="Copy JSON" />
          <button type="button" class="tool" aria-label="Close" onClick=${() => dialog.current?.close()}><${Icon} name="close" /></button>
        </span>
      </header>
      ${children}
      <${Json} value=${value} label=${title} />`}
  </dialog>`;
}
