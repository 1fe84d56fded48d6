// @ts-check
/** A long list of events that shows the newest; the earlier ones unfold. */

import { html } from "../vendor/preact.js";
import { plural } from "../elements/format.js";

const SHOWN = 5;

/**
 * @param {{rows: any[]}} props `<li>` elements of events, oldest first
 */
export function Folded({ rows }) {
  const n = rows.length > SHOWN + 1 ? rows.length - SHOWN : 0;
  return html`${n > 0 && html`<li key="earlier"><details data-part="earlier"><summary>${plural(n, "earlier event")}</summary>
    <ol class="left" role="list">${rows.slice(0, n)}</ol></details></li>`}${rows.slice(n)}`;
}
