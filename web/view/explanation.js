// @ts-check
/** The explanation of a score: its sources as bars, its terms as a table with a total. */

import { find, html, keyed, setAttribute, setText } from "../elements/dom.js";
import { likenessText, shortTitleOf, verb } from "../elements/format.js";

/**
 * @typedef {import("../state/state.js").Item} Item
 * @typedef {{item: string, event: string, score: number, factors?: number, behaviour?: number,
 *   content?: number, shared?: string[]}} Contribution
 * @typedef {{score: number, prior: number, because: Contribution[],
 *   boosts?: {rule: string, score: number}[], sources?: Record<string, number>,
 *   verdict: string}} Explanation
 * @typedef {{key: string, text: string, value: number}} Line
 */

/** History entries with their own line; the others share one line. */
const ENTRIES = 4;
const DIGITS = 3;

/** @type {Record<string, string>} */
const SOURCES = {
  factors: "your taste",
  behaviour: "often used together",
  content: "similar product",
  popularity: "popular now",
  boost: "the shop",
};

/**
 * Returns the terms of the score. Their values add up to it.
 *
 * @param {Explanation} explanation
 * @param {Record<string, Item>} items
 * @returns {Line[]}
 */
export function linesOf({ because, prior, boosts = [] }, items) {
  const lines = because.slice(0, ENTRIES).map((part) => {
    const title = shortTitleOf(items, part.item);
    const isAlike = (part.content ?? 0) > 0 && (part.shared ?? []).length > 0;
    const alike = isAlike ? ` (${likenessText(part.shared ?? [], "")})` : "";
    return { key: `entry ${part.item}`, text: `you ${verb(part.event)} ${title}${alike}`, value: part.score };
  });
  const others = because.slice(ENTRIES);
  if (others.length > 0) {
    const value = others.reduce((sum, { score }) => sum + score, 0);
    lines.push({ key: "others", text: "everything else in your history", value });
  }
  if (prior !== 0) {
    const text = prior > 0 ? "popular now" : "less popular than others";
    lines.push({ key: "prior", text, value: prior });
  }
  for (const { rule, score } of boosts) {
    lines.push({ key: `rule ${rule}`, text: `the shop: ${rule}`, value: score });
  }
  return lines;
}

/**
 * Rounds values so that they add up to the rounded total (largest-remainder method).
 *
 * @param {number[]} values
 * @param {number} [digits]
 */
export function roundedSum(values, digits = DIGITS) {
  const unit = 10 ** digits;
  const whole = Math.round(values.reduce((sum, value) => sum + value, 0) * unit);
  const down = values.map((value) => Math.floor(value * unit));
  const left = whole - down.reduce((sum, value) => sum + value, 0);
  const byLoss = values
    .map((value, at) => ({ at, loss: value * unit - down[at] }))
    .sort((a, b) => b.loss - a.loss || a.at - b.at);
  for (const { at } of byLoss.slice(0, left)) down[at] += 1;
  return down.map((value) => value / unit);
}

/** Returns the empty frame that `drawSum` fills. */
export function createSum() {
  return html(
    "details",
    { class: "sum", "data-part": "sum" },
    html("summary", { "data-part": "sum-title" }),
    html("ul", { class: "sum-sources", role: "list", "data-part": "sum-sources" }),
    html("table", { class: "sum-table" }, html("tbody", { "data-part": "sum-lines" })),
  );
}

/**
 * @param {HTMLElement} root
 * @param {Explanation | null} explanation
 * @param {Record<string, Item>} items
 */
export function drawSum(root, explanation, items) {
  // A clicked item has left the list, so its score is not explained.
  root.hidden = explanation === null || explanation.verdict === "seen";
  if (explanation === null || root.hidden) return;
  setText(find(root, "sum-title"), `How the score ${explanation.score.toFixed(DIGITS)} is composed`);
  const sources = Object.entries(explanation.sources ?? {}).filter(([, value]) => value > 0);
  const most = sources.reduce((sum, [, value]) => sum + value, 0) || 1;
  keyed(
    find(root, "sum-sources"),
    sources.map(([name]) => name),
    (name) => html("li", { class: "sum-source", "data-source": name, text: SOURCES[name] ?? name }),
    (element, _, index) => {
      const [name, value] = sources[index];
      const share = value / most;
      element.style.setProperty("--share", share.toFixed(4));
      setAttribute(element, "title", `${SOURCES[name] ?? name}: ${value.toFixed(DIGITS)}`);
    },
  );
  const parts = linesOf(explanation, items);
  const rounded = roundedSum(parts.map(({ value }) => value));
  const lines = parts.map((line, at) => ({ ...line, value: rounded[at] }));
  const total = { key: "total", text: "score", value: explanation.score };
  const byKey = new Map([...lines, total].map((line) => [line.key, line]));
  keyed(
    find(root, "sum-lines"),
    [...byKey.keys()],
    (key) =>
      html(
        "tr",
        { class: key === "total" ? "sum-total" : "sum-line" },
        html("th", { scope: "row", "data-part": "line-text" }),
        html("td", { "data-part": "line-value" }),
      ),
    (element, key) => {
      const { text, value } = /** @type {Line} */ (byKey.get(key));
      setText(find(element, "line-text"), text);
      setText(find(element, "line-value"), signed(value, key === "total"));
    },
  );
}

/**
 * @param {number} value
 * @param {boolean} isTotal
 */
function signed(value, isTotal) {
  const text = Math.abs(value).toFixed(DIGITS);
  if (isTotal) return value < 0 ? `−${text}` : text;
  return value < 0 ? `− ${text}` : `+ ${text}`;
}
