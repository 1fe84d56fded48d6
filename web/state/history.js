// @ts-check
/** The hour that the bridge keeps of the pipeline, as rates and as a histogram. */

import { count } from "../elements/format.js";

/**
 * Returns records a second between each point and the one before; the first has none.
 *
 * @param {{ts: number, events?: number, lists?: number}[]} points
 * @returns {{events: number | null, lists: number | null}[]}
 */
export function rates(points) {
  return points.map((point, at) => {
    const before = points[at - 1];
    if (before === undefined) return { events: null, lists: null };
    const seconds = Math.max(0.001, (point.ts - before.ts) / 1000);
    const rate = (/** @type {number | undefined} */ now, /** @type {number | undefined} */ then) =>
      Math.max(0, (now ?? 0) - (then ?? 0)) / seconds;
    return { events: rate(point.events, before.events), lists: rate(point.lists, before.lists) };
  });
}

/** @param {number} ms */
const bound = (ms) => (ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`);

/**
 * Returns the histogram of freshness over the points.
 *
 * @param {{freshness?: number[]}[]} points counts up to each bound, then the rest
 * @param {number[]} bounds milliseconds
 */
export function freshnessOf(points, bounds) {
  const counts = Array.from({ length: bounds.length + 1 }, () => 0);
  for (const { freshness = [] } of points) freshness.forEach((n, at) => (counts[at] += n));
  const total = counts.reduce((sum, n) => sum + n, 0);
  const labels = [...bounds.map((ms) => `≤ ${bound(ms)}`), `> ${bound(bounds[bounds.length - 1] ?? 0)}`];
  let reached = 0;
  const half = counts.findIndex((n) => (reached += n) >= total / 2 && total > 0);
  const most = bound(bounds[Math.min(half, bounds.length - 1)] ?? 0);
  const words = total === 0 ? "" : `${count(total)} lists; half of them ${half < bounds.length ? "within" : "later than"} ${most}`;
  return { counts, labels, total, words };
}
