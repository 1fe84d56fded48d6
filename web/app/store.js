// @ts-check
/**
 * The state and what of it is on the screen. `reduce` changes the state at once; the screen follows at
 * once after an action of the visitor, and at most four times a second after messages of the bridge.
 */

import { batch, computed, signal } from "../vendor/preact.js";
import { TIMERS, pace } from "../elements/timing.js";
import { reduce } from "../state/state.js";

/** @typedef {import("../state/state.js").State} State */

/** Actions that come from the bridge, in any number. */
const STREAMED = new Set([
  ...["recs", "pipeline", "log", "gap", "acknowledged", "outbox", "items", "shelves", "painted"],
]);
/** Time between two redraws of a list. */
export const REDRAW_MS = 250;

export class Store {
  /** @type {any} */
  #later = null;
  #isDue = false;

  /**
   * @param {State} initial
   * @param {{now: () => number, timers?: import("../connection/socket.js").Timers}} clock
   */
  constructor(initial, { now, timers = TIMERS }) {
    this.state = initial;
    this.timers = timers;
    this.published = signal(initial);
    /** Parts of the published state; a component that reads `.value` is drawn again when it changes. */
    /** @type {{[K in keyof State]: {readonly value: State[K]}}} */
    this.shown = /** @type {any} */ (
      Object.fromEntries(
        Object.keys(initial).map((name) => [
          name,
          computed(() => /** @type {any} */ (this.published.value)[name]),
        ]),
      )
    );
    this.redraw = pace(() => this.#publish(), REDRAW_MS, { now, timers });
  }

  /** @param {Record<string, any>} action */
  dispatch = (action) => {
    const before = this.state;
    this.state = reduce(before, action);
    if (this.state === before) return;
    if (action.type === "recs") this.redraw();
    else if (STREAMED.has(action.type)) this.#soon();
    else this.#now();
  };

  /** Publishes what a list did not bring along. */
  #soon() {
    this.#later ??= this.timers.setTimeout(() => {
      this.#later = null;
      this.redraw();
    }, this.state.recs === null ? 0 : REDRAW_MS);
  }

  #now() {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      this.#publish();
    });
  }

  #publish() {
    if (this.#later !== null) this.timers.clearTimeout(this.#later);
    this.#later = null;
    batch(() => {
      this.published.value = this.state;
    });
  }
}
