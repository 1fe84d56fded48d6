// @ts-check
/** Times and ages as text. */

const exact = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat("en", { timeStyle: "medium", hour12: false });

/** @param {number} ms since 1970 */
export function timeText(ms) {
  return ms > 0 ? exact.format(ms) : "–";
}

/** @param {number} ms since 1970 */
export function clockText(ms) {
  return ms > 0 ? clock.format(ms) : "–";
}

/**
 * Returns a duration in its largest unit: "40 s", "3 min", "2 days".
 *
 * @param {number} ms
 */
export function ageText(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129_600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} days`;
}
