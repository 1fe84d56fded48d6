// @ts-check
/** Times and ages as text. */

const two = (/** @type {number} */ n) => String(n).padStart(2, "0");

/** @param {number} ms since 1970 @returns {string} local time to the second, as "2026-11-22 10:42:00" */
export function timeText(ms) {
  if (!(ms > 0)) return "–";
  const at = new Date(ms);
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${day} ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":")}`;
}

/**
 * Returns a duration in its largest unit: "40 s", "3 min", "2 days", "10 years".
 *
 * @param {number} ms
 */
export function ageText(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129_600) return `${Math.round(s / 3600)} h`;
  if (s < 63_072_000) return `${Math.round(s / 86_400)} days`;
  return `${Math.round(s / 31_557_600)} years`;
}

/** @param {{event: {ts: string}, appended_ts: number}} found an event of the log's search */
export function eventTime({ event, appended_ts: appended }) {
  return Date.parse(event.ts) || appended;
}

/**
 * Orders events by their own time. The log's order differs: an import appends old events late.
 *
 * @template {{event: {ts: string}, appended_ts: number}} Found
 * @param {Found[]} events
 */
export function newestFirst(events) {
  return [...events].sort((one, other) => eventTime(other) - eventTime(one));
}
