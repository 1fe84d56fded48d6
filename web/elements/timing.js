// @ts-check
/** Rates of repeated work. Every delay has an upper bound, so that a steady stream can't postpone it forever. */

/** @typedef {import("../connection/socket.js").Timers} Timers */

/** Timers of the browser. */
/** @type {Timers} */
export const TIMERS = {
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (id) => clearTimeout(id),
};

/**
 * Returns a function that calls `run` once after a burst of calls: `waitMs` after the last one, and at
 * the latest `maxWaitMs` after the first.
 *
 * @param {() => void} run
 * @param {number} waitMs
 * @param {number} maxWaitMs
 * @param {Timers} [timers]
 */
export function debounce(run, waitMs, maxWaitMs, timers = TIMERS) {
  /** @type {any} */
  let quiet = null;
  /** @type {any} */
  let limit = null;
  const due = () => {
    timers.clearTimeout(quiet);
    timers.clearTimeout(limit);
    quiet = limit = null;
    run();
  };
  return () => {
    if (quiet !== null) timers.clearTimeout(quiet);
    quiet = timers.setTimeout(due, waitMs);
    limit ??= timers.setTimeout(due, maxWaitMs);
  };
}

/**
 * Returns a function that calls `run`, but never twice at a time: calls that come while it runs cause
 * one more run afterwards.
 *
 * @param {() => Promise<void>} run it must not throw
 */
export function oneAtATime(run) {
  let isRunning = false;
  let isWanted = false;
  return async () => {
    isWanted = true;
    if (isRunning) return;
    isRunning = true;
    while (isWanted) {
      isWanted = false;
      await run();
    }
    isRunning = false;
  };
}

/**
 * Returns a function that calls `run` with at least `gapMs` between two calls: at once if it can, else
 * when the gap is over.
 *
 * @param {() => void} run
 * @param {number} gapMs
 * @param {{now: () => number, timers?: Timers}} clock
 */
export function pace(run, gapMs, { now, timers = TIMERS }) {
  let lastMs = -Infinity;
  /** @type {any} */
  let waiting = null;
  const go = () => {
    waiting = null;
    lastMs = now();
    run();
  };
  return () => {
    if (waiting !== null) return;
    const leftMs = lastMs + gapMs - now();
    if (leftMs <= 0) go();
    else waiting = timers.setTimeout(go, leftMs);
  };
}
