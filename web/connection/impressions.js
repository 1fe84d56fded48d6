// @ts-check
/**
 * Impressions of list entries: one event for each list and interval, and no item twice until the user
 * acts.
 */

/**
 * @typedef {import("./socket.js").Timers} Timers
 * @typedef {{timers: Timers, send: (shown: {rec_id: string, items: string[]}) => void}} Options
 */

const PAUSE_MS = 5000;
const SEEN_AFTER_MS = 800;

export class Impressions {
  /** Items reported since the user's last action. */
  /** @type {Set<string>} */
  #reported = new Set();
  /** @type {Map<string, string[]>} items by list */
  #waiting = new Map();
  /** @type {any} */
  #timer = null;

  /** @param {Options} options */
  constructor(options) {
    this.options = options;
  }

  /**
   * Notes that an entry was seen. Impressions can change the list; entries that stay on the screen are
   * not reported again, so that lists and impressions do not trigger each other endlessly.
   *
   * @param {string} recId
   * @param {string} item
   */
  seen(recId, item) {
    if (!recId || !item || this.#reported.has(item)) return;
    this.#reported.add(item);
    this.#waiting.set(recId, [...(this.#waiting.get(recId) ?? []), item]);
    this.#timer ??= this.options.timers.setTimeout(() => this.flush(), PAUSE_MS);
  }

  /** Starts a new period after an action of the user. */
  renew() {
    this.#reported.clear();
  }

  /** Sends waiting impressions; also called when the page is left or the user changes. */
  flush() {
    if (this.#timer !== null) this.options.timers.clearTimeout(this.#timer);
    this.#timer = null;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const [recId, items] of waiting) this.options.send({ rec_id: recId, items });
  }
}

/**
 * Reports elements with `data-rec` and `data-key` that were half visible for `SEEN_AFTER_MS`. Returns
 * the function that ends it.
 *
 * @param {HTMLElement} root
 * @param {(recId: string, item: string) => void} seen
 */
export function watchImpressions(root, seen) {
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
    if (!(node instanceof HTMLElement)) return;
    for (const element of [node, ...node.querySelectorAll("[data-rec]")]) {
      if (!(element instanceof HTMLElement) || element.dataset.rec === undefined) continue;
      forget(element);
      observer.observe(element);
    }
  };
  /** @param {Node} node */
  const forget = (node) => {
    if (!(node instanceof HTMLElement)) return;
    observer.unobserve(node);
    clearTimeout(pending.get(node));
    pending.delete(node);
  };
  changes.observe(root, { childList: true, attributes: true, attributeFilter: ["data-rec"], subtree: true });
  again(root);
  return () => {
    changes.disconnect();
    observer.disconnect();
    for (const timer of pending.values()) clearTimeout(timer);
  };
}
