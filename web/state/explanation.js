// @ts-check
/** The explanation of a score: its sources and its terms, both rounded so that they add up to it. */

import { commonFeaturesText, shortTitleOf, did } from "../elements/format.js";

/**
 * @typedef {import("./state.js").Item} Item
 * @typedef {import("../connection/messages.d.ts").Contribution} Contribution
 * @typedef {import("../connection/messages.d.ts").Explanation} Explanation
 * @typedef {{key: string, text: string, value: number}} Line
 */

/** History entries with their own line; the others share one line. */
const ENTRIES = 4;
export const DIGITS = 3;

/** @type {Record<string, string>} */
const SOURCES = {
  factors: "taste",
  behaviour: "often used together",
  content: "similar product",
  popularity: "popular now",
  boost: "the shop",
};

/**
 * Returns the terms of the score, by history entry. Their values add up to it.
 *
 * @param {Explanation} explanation
 * @param {Record<string, Item>} items
 * @param {string} [who] whose score it is
 * @returns {Line[]}
 */
export function linesOf({ because, prior, boosts = [] }, items, who = "you") {
  const lines = because.slice(0, ENTRIES).map((part) => {
    const title = shortTitleOf(items, part.item);
    const alike = (part.content ?? 0) > 0 ? commonFeaturesText(part.shared ?? [], "") : "";
    const why = (part.shared ?? []).length > 0 && alike ? ` (${alike})` : "";
    return { key: `entry ${part.item}`, text: `${who} ${did(part.event, title)}${why}`, value: part.score };
  });
  const others = because.slice(ENTRIES);
  if (others.length > 0) {
    const value = others.reduce((sum, { score }) => sum + score, 0);
    lines.push({ key: "others", text: `everything else in ${who === "you" ? "your" : "the"} history`, value });
  }
  if (prior !== 0) {
    const text = prior > 0 ? "popular now" : "less popular than others";
    lines.push({ key: "prior", text, value: prior });
  }
  for (const { rule, score } of boosts) {
    lines.push({ key: `rule ${rule}`, text: `the shop: ${rule}`, value: score });
  }
  return rounded(lines);
}

/**
 * Returns the terms of the score, by source. They add up to the same score as `linesOf`: what the sources
 * of the answer leave over is the shop's rules, or else named as the rest.
 *
 * @param {Explanation} explanation
 * @returns {Line[]}
 */
export function sourcesOf({ sources, score }) {
  const lines = Object.entries(sources ?? {})
    .filter(([, value]) => value !== 0)
    .map(([key, value]) => ({ key, text: SOURCES[key] ?? key, value }));
  const rest = score - lines.reduce((sum, { value }) => sum + value, 0);
  if (Math.abs(rest) >= 0.5 / 10 ** DIGITS) lines.push({ key: "rest", text: "other", value: rest });
  return rounded(lines);
}

/** @param {Line[]} lines */
function rounded(lines) {
  const values = roundedSum(lines.map(({ value }) => value));
  return lines.map((line, at) => ({ ...line, value: values[at] }));
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

/**
 * Returns a number with its sign, as a term of a sum.
 *
 * @param {number} value
 * @param {boolean} [isTotal]
 */
export function signed(value, isTotal = false) {
  const text = Math.abs(value).toFixed(DIGITS);
  if (isTotal) return value < 0 ? `−${text}` : text;
  return value < 0 ? `− ${text}` : `+ ${text}`;
}
