// @ts-check
/**
 * Step 1 of the flow: what was on the screen long enough to be seen becomes impressions: one event for
 * each list in each pause, and no item twice until the visitor does something.
 */

/**
 * @typedef {import("./socket.js").Timers} Timers
 * @typedef {{timers: Timers, send: (shown: {rec_id: string, items: string[]}) => void}} Options
 */

const PAUSE_MS = 5000;
const SEEN_AFTER_MS = 800;

export class Impressions {
  /** What was told since the visitor last did something. */
  /** @type {Set<string>} */
  #told = new Set();
  /** @type {Map<string, string[]>} items by list */
  #waiting = new Map();
  /** @type {any} */
  #timer = null;

  /** @param {Options} options */
  constructor(options) {
    this.options = options;
  }

  /**
   * Notes that an item of a list was seen. An impression may lead to another list; what stays on the
   * screen is not told again for that, so that lists and impressions don't call each other forth.
   *
   * @param {string} recId
   * @param {string} item
   */
  seen(recId, item) {
    if (!recId || !item || this.#told.has(item)) return;
    this.#told.add(item);
    this.#waiting.set(recId, [...(this.#waiting.get(recId) ?? []), item]);
    this.#timer ??= this.options.timers.setTimeout(() => this.flush(), PAUSE_MS);
  }

  /** Begins anew: the visitor did something, so what is shown from now on is another choice. */
  renew() {
    this.#told.clear();
  }

  /** Sends what waits; also when the page is left, or somebody else comes. */
  flush() {
    if (this.#timer !== null) this.options.timers.clearTimeout(this.#timer);
    this.#timer = null;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const [recId, items] of waiting) this.options.send({ rec_id: recId, items });
  }
}

/**
 * Watches elements with `data-rec` and `data-key` below some roots, and tells which were seen: half of
 * it on the screen for most of a second.
 *
 * @param {Element[]} roots
 * @param {(recId: string, item: string) => void} seen
 */
export function watchImpressions(roots, seen) {
  /** @type {Map<Element, any>} */
  const pending = new Map();
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        clearTimeout(pending.get(target));
        pending.delete(target);
        if (isIntersecting) watch(/** @type {HTMLElement} */ (target));
      }
    },
    { threshold: 0.5 },
  );
  /** @param {HTMLElement} element */
  const watch = (element) => {
    const { rec = "", key = "" } = element.dataset;
    const look = () => {
      pending.delete(element);
      if (document.hidden || !element.isConnected) return;
      seen(rec, key);
    };
    pending.set(element, setTimeout(look, SEEN_AFTER_MS));
  };
  const changes = new MutationObserver((records) => {
    for (const { target, addedNodes, removedNodes, type } of records) {
      if (type === "attributes") again(target);
      for (const node of addedNodes) again(node);
      for (const node of removedNodes) forget(node);
    }
  });
  /** @param {Node} node */
  const again = (node) => {
    if (!(node instanceof HTMLElement) || node.dataset.rec === undefined) return;
    forget(node);
    observer.observe(node);
  };
  /** @param {Node} node */
  const forget = (node) => {
    if (!(node instanceof HTMLElement)) return;
    observer.unobserve(node);
    clearTimeout(pending.get(node));
    pending.delete(node);
  };
  for (const root of roots) {
    changes.observe(root, { childList: true, attributes: true, attributeFilter: ["data-rec"], subtree: true });
    for (const child of root.querySelectorAll("[data-rec]")) again(child);
  }
}
