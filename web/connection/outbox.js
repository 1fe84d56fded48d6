// @ts-check
/**
 * A durable queue of events on their way to the log.
 *
 * An event is stored before it is sent, and deleted when the bridge has acknowledged or refused it. Its
 * id is made here, so an event that is sent twice counts once. Each event has its own storage key, so
 * several tabs share one queue.
 */

/**
 * @typedef {{id: string, type: string, user: string, item?: string, items?: string[], ts: string,
 *   value?: number, session?: string, rec_id?: string}} ShopEvent
 * @typedef {{getItem: (key: string) => string | null, setItem: (key: string, value: string) => void,
 *   removeItem: (key: string) => void, key: (index: number) => string | null, readonly length: number}} Store
 * @typedef {{accepted: number, duplicates: number,
 *   rejected: {index: number, id: string, pointer?: string, code: string, detail: string}[],
 *   position: {epoch: string, offsets: Record<string, number>} | null}} Receipt
 * @typedef {{queued: number, trouble: string, retryInMs: number}} OutboxStatus
 * @typedef {{
 *   post: (events: ShopEvent[]) => Promise<{status: number, retryAfterS: number, body: any}>,
 *   store: Store,
 *   timers: import("./socket.js").Timers,
 *   random: () => number,
 *   onStatus: (status: OutboxStatus) => void,
 *   onReceipt: (events: ShopEvent[], receipt: Receipt) => void,
 * }} Options
 */

import { backoffMs } from "./socket.js";

const PREFIX = "recstream.outbox.";
const BATCH = 100;
const MOST_QUEUED = 1000;
/** Impressions are dropped, clicks are not, while so many events wait. */
const BUSY = 50;

const MOST_PAUSE_MS = 3_600_000;

/** Bytes of a request that may outlive its page; browsers allow 64 KiB for all of a page together. */
export const MOST_KEPT_ALIVE_BYTES = 60_000;

/** Answers that would come again however often one asks: halve the batch, then give the event up. */
const UNREADABLE = new Set([400, 413, 415]);

export class Outbox {
  /** @type {Map<string, ShopEvent>} by id, oldest first */
  #events = new Map();
  #isSending = false;
  #attempt = 0;
  #most = BATCH;
  #trouble = "";
  /** @type {any} */
  #timer = null;

  /** @param {Options} options */
  constructor(options) {
    this.options = options;
    for (const event of this.#stored()) this.#events.set(event.id, event);
  }

  get size() {
    return this.#events.size;
  }

  /** What waits to be sent, oldest first. */
  get events() {
    return [...this.#events.values()];
  }

  /** Sends what an earlier visit, or another tab, left behind. */
  start() {
    this.#tell("", 0);
    return this.flush();
  }

  /**
   * Stores the event and sends it as soon as possible.
   *
   * @param {ShopEvent} event
   */
  add(event) {
    if (event.type === "impression" && this.#events.size >= BUSY) return this.flush();
    if (this.#events.size >= MOST_QUEUED) {
      const [oldest] = this.#events.keys();
      this.#forget(oldest);
    }
    this.#events.set(event.id, event);
    try {
      this.options.store.setItem(PREFIX + event.id, JSON.stringify(event));
    } catch {
      // No storage (private window, quota): the event is kept in memory.
    }
    this.#tell(this.#trouble, 0);
    return this.flush();
  }

  /** Sends the queue now, one request at a time, in the order in which things happened. */
  async flush() {
    if (this.#isSending || this.#events.size === 0) return;
    this.#isSending = true;
    this.#clearTimer();
    try {
      while (this.#events.size > 0 && (await this.#sendOne()));
    } finally {
      this.#isSending = false;
    }
  }

  /** Sends one batch; returns whether to continue with the next. */
  async #sendOne() {
    const batch = [...this.#events.values()].slice(0, this.#most);
    let answer;
    try {
      answer = await this.options.post(batch);
    } catch {
      return this.#later("the bridge can't be reached", 0);
    }
    const { status } = answer;
    // Events of another user than the token's: of a visitor before a log-in, for example.
    const isForbidden = status === 403 && answer.body?.rejected?.length > 0;
    if (UNREADABLE.has(status) && batch.length > 1) {
      this.#most = Math.ceil(batch.length / 2);
      return true;
    }
    if (status === 202 || status === 422 || isForbidden || UNREADABLE.has(status)) {
      this.#attempt = 0;
      this.#most = BATCH;
      for (const event of batch) this.#forget(event.id);
      const body = answer.body ?? {};
      this.options.onReceipt(batch, {
        accepted: body.accepted ?? 0,
        duplicates: body.duplicates ?? 0,
        rejected: body.rejected ?? batch.map(({ id }, index) => ({ index, id, ...refusal(body) })),
        position: body.position ?? null,
      });
      this.#tell("", 0);
      return true;
    }
    const said = answer.body?.detail ?? answer.body?.title ?? `answer ${status}`;
    if (status === 401) {
      this.#tell(said, 0);
      return false; // Whoever has a new token calls `flush`.
    }
    return this.#later(said, answer.retryAfterS * 1000);
  }

  /**
   * @param {string} trouble
   * @param {number} atLeastMs
   */
  #later(trouble, atLeastMs) {
    this.#attempt += 1;
    // A proxy may name a date, which is no number, or more than a timer holds, which fires at once.
    const askedMs = Math.min(atLeastMs || 0, MOST_PAUSE_MS);
    const delayMs = Math.max(askedMs, backoffMs(this.#attempt, this.options.random()));
    this.#timer = this.options.timers.setTimeout(() => void this.flush(), delayMs);
    this.#tell(trouble, delayMs);
    return false;
  }

  #clearTimer() {
    if (this.#timer !== null) this.options.timers.clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** @param {string} id */
  #forget(id) {
    this.#events.delete(id);
    try {
      this.options.store.removeItem(PREFIX + id);
    } catch {
      // Nothing was stored.
    }
  }

  /** @returns {ShopEvent[]} what is stored, oldest first; what can't be read is deleted */
  #stored() {
    const { store } = this.options;
    const found = [];
    try {
      const keys = Array.from({ length: store.length }, (_, index) => store.key(index));
      for (const key of keys) {
        if (key === null || !key.startsWith(PREFIX)) continue;
        try {
          const event = JSON.parse(store.getItem(key) ?? "");
          if (`${PREFIX}${event.id}` !== key) throw new SyntaxError("the key names another event");
          found.push(event);
        } catch {
          store.removeItem(key);
        }
      }
    } catch {
      return [];
    }
    const place = (/** @type {ShopEvent} */ { ts, id }) => `${ts} ${id}`;
    return found.sort((a, b) => (place(a) < place(b) ? -1 : 1));
  }

  /**
   * @param {string} trouble
   * @param {number} retryInMs
   */
  #tell(trouble, retryInMs) {
    this.#trouble = trouble;
    const queued = this.events.filter(({ type }) => type !== "impression").length;
    this.options.onStatus({ queued, trouble, retryInMs });
  }
}

/**
 * @param {{detail?: string, title?: string}} problem
 * @returns {{code: string, detail: string}}
 */
function refusal(problem) {
  return { code: "refused", detail: problem.detail ?? problem.title ?? "refused" };
}
