// @ts-check
/** A score as a sum: once by source, once by history entry. Both add up to the same number. */

import { html } from "../vendor/preact.js";
import { DIGITS, linesOf, signed, sourcesOf } from "../state/explanation.js";

/**
 * @param {{explanation: import("../state/explanation.js").Explanation | null,
 *   items: Record<string, import("../state/state.js").Item>, isOpen?: boolean, who?: string}} props
 */
export function ScoreSum({ explanation, items, isOpen = false, who = "you" }) {
  // A clicked item has left the list, so its score is not explained.
  if (explanation === null || explanation.verdict === "seen") return null;
  const total = explanation.score.toFixed(DIGITS);
  return html`<details class="sum" data-part="sum" open=${isOpen}>
    <summary data-part="sum-title">How the score ${total} is composed</summary>
    <div class="sum-both">
      <${Terms} title="By source" lines=${sourcesOf(explanation)} total=${explanation.score} part="sum-sources" />
      <${Terms} title="By event" lines=${linesOf(explanation, items, who)} total=${explanation.score} part="sum-lines" />
    </div>
  </details>`;
}

/**
 * @param {{title: string, lines: import("../state/explanation.js").Line[], total: number, part: string}} props
 */
function Terms({ title, lines, total, part }) {
  const most = Math.max(...lines.map(({ value }) => Math.abs(value)), 1e-9);
  return html`<table class="sum-table" data-part=${part}>
    <caption>${title}</caption>
    <tbody>
      ${lines.map(
        ({ key, text, value }) => html`<tr class="sum-line" key=${key} data-source=${key}>
          <th scope="row">${text}<span class="sum-bar" style=${{ "--share": (Math.abs(value) / most).toFixed(3) }} /></th>
          <td data-part="line-value">${signed(value)}</td>
        </tr>`,
      )}
      <tr class="sum-total"><th scope="row">score</th><td data-part="line-value">${signed(total, true)}</td></tr>
    </tbody>
  </table>`;
}
