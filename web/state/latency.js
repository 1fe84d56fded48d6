// @ts-check
/**
 * Latency from a click to a changed list, by step, from the clocks of browser and server.
 *
 * The browser's clock measures the total. Inner steps use the server's clock, whose offset is
 * θ = server − browser. Each click bounds θ: the event is appended after the click, and the list is
 * published before it arrives. θ is zero if the bounds allow it, else their middle.
 */

/**
 * @typedef {import("../connection/protocol.js").Lineage} Lineage
 * @typedef {{low: number, high: number}} Clock bounds of θ in milliseconds
 * @typedef {{name: StepName, fromMs: number, toMs: number}} Step relative to the click
 * @typedef {"log" | "fold" | "publish" | "push" | "paint"} StepName
 * @typedef {{id: string, item: string, kind: string, totalMs: number, steps: Step[]}} Trace
 * @typedef {{id: string, item: string, kind: string, atMs: number, wallMs: number}} Click `atMs` by
 *   the monotonic clock, `wallMs` since 1970
 */

/** Server times come in whole milliseconds, so each may be off by one. */
const ROUNDING_MS = 1;

/** @type {Clock} */
export const UNKNOWN_CLOCK = Object.freeze({ low: -Infinity, high: Infinity });

/**
 * Returns the bounds of θ after one more round trip. Bounds that contradict each other start again.
 *
 * @param {Clock} clock
 * @param {{wallMs: number}} click
 * @param {Lineage} lineage
 * @param {number} receivedWallMs
 * @returns {Clock}
 */
export function narrow(clock, click, lineage, receivedWallMs) {
  const low = lineage.published_ts - receivedWallMs;
  const high = lineage.appended_ts - click.wallMs + ROUNDING_MS;
  const both = { low: Math.max(clock.low, low), high: Math.min(clock.high, high) };
  if (both.low <= both.high) return both;
  return low <= high ? { low, high } : UNKNOWN_CLOCK;
}

/**
 * Returns the steps of one click, each beginning where the one before ended.
 *
 * @param {Click} click
 * @param {Lineage} lineage
 * @param {{receivedMs: number, paintedMs: number, clock: Clock}} seen monotonic times
 * @returns {Trace}
 */
export function trace(click, lineage, { receivedMs, paintedMs, clock }) {
  const isPossiblyEqual = clock.low <= 0 && clock.high >= 0;
  const skew = isPossiblyEqual ? 0 : (clock.low + clock.high) / 2;
  const received = Math.max(0, receivedMs - click.atMs);
  const painted = Math.max(received, paintedMs - click.atMs);
  /** @type {[StepName, number][]} */
  const ends = [
    ["log", lineage.appended_ts - skew - click.wallMs],
    ["fold", lineage.folded_ts - skew - click.wallMs],
    ["publish", lineage.published_ts - skew - click.wallMs],
    ["push", received],
    ["paint", painted],
  ];
  let reached = 0;
  const steps = ends.map(([name, end]) => {
    const limit = name === "paint" ? painted : received;
    const toMs = Math.min(Math.max(end, reached), limit);
    const step = { name, fromMs: reached, toMs };
    reached = toMs;
    return step;
  });
  return { id: click.id, item: click.item, kind: click.kind, totalMs: painted, steps };
}

/**
 * Returns the p-th quantile by the nearest-rank rule, or null of nothing.
 *
 * @param {readonly number[]} values
 * @param {number} p in (0, 1]
 */
export function quantile(values, p) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)];
}

/**
 * Returns a duration as text: "< 0.1 ms", "0.4 ms", "38 ms", "1.2 s".
 *
 * @param {number} ms
 */
export function formatMs(ms) {
  if (ms < 0.05) return "< 0.1 ms";
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms >= 9950 ? 0 : 1)} s`;
  return ms < 9.95 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}
