// @ts-check
/** Uncertainty of shares: intervals, and whether two shares differ. */

/** 95 % of a normal distribution lie within so many standard deviations. */
const Z = 1.96;

/**
 * Returns the 95 % interval of a share by Wilson's score method. For means of values between 0 and 1, it
 * is never too narrow.
 *
 * @param {number} share observed, from 0 to 1
 * @param {number} n observations
 * @returns {{low: number, high: number}}
 */
export function wilson(share, n) {
  if (n <= 0) return { low: 0, high: 1 };
  const z2 = (Z * Z) / n;
  const middle = (share + z2 / 2) / (1 + z2);
  const half = (Z / (1 + z2)) * Math.sqrt((share * (1 - share)) / n + z2 / (4 * n));
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/**
 * Returns the name of the arm whose interval lies above all others, or null while they overlap.
 *
 * @param {{name: string, low: number, high: number}[]} arms
 */
export function winner(arms) {
  if (arms.length < 2) return null;
  const [first, second] = [...arms].sort((a, b) => b.low - a.low);
  const isAbove = arms.every((arm) => arm === first || arm.high < first.low);
  return second !== undefined && isAbove ? first.name : null;
}
