// @ts-check
/** Loads products over REST, by page or by id, and which types of events the log has. */

import { TELLING_TYPES } from "../state/vocabulary.js";

/**
 * @typedef {import("../state/state.js").State} State
 * @typedef {import("../state/state.js").Item} Item
 * @typedef {{api: import("./api.js").Api, state: () => State,
 *   dispatch: (action: Record<string, any>) => void}} Options
 * @typedef {{query: string, category: string, isMore: boolean}} Wanted
 */

const PAGE = 24;
const POPULAR = 36;
const RETRY_MS = 4000;
const TYPES_KEY = "recstream:event-types";
const TYPES_KEPT_MS = 10 * 60_000;
/** Ids in one request. */
const AT_ONCE = 100;

/**
 * Returns the message of an error.
 *
 * @param {unknown} error
 */
export function words(error) {
  return error instanceof Error ? error.message : String(error);
}

export class Loading {
  /** Requests under way by id, so that no id is requested twice. */
  /** @type {Map<string, Promise<void>>} */
  #fetching = new Map();
  /** Ids of the next request. */
  /** @type {Set<string>} */
  #next = new Set();
  /** @type {Promise<void> | null} the request that has not begun */
  #request = null;
  #latest = Promise.resolve();

  /** @param {Options} options */
  constructor({ api, state, dispatch }) {
    this.api = api;
    this.state = state;
    this.dispatch = dispatch;
  }

  /**
   * Loads items into the state. One request runs at a time; ids that come meanwhile share the next. A
   * browser has six connections to a server: a slow catalogue must leave some for events.
   *
   * @param {string[]} ids
   */
  async items(ids) {
    const { items } = this.state();
    for (const id of ids) {
      if (!id || items[id] || this.#fetching.has(id)) continue;
      this.#next.add(id);
      this.#request ??= this.#latest = this.#latest.then(() => this.#ask());
      this.#fetching.set(id, this.#request);
    }
    await Promise.all(ids.map((id) => this.#fetching.get(id)));
  }

  async #ask() {
    const ids = [...this.#next];
    this.#next.clear();
    this.#request = null;
    try {
      for (let at = 0; at < ids.length; at += AT_ONCE) {
        const items = await this.api.named(ids.slice(at, at + AT_ONCE));
        this.dispatch({ type: "items", items });
      }
    } catch {
      // The id is shown, and requested again with the next list.
    } finally {
      for (const id of ids) this.#fetching.delete(id);
    }
  }

  /** Loads popular products, which come first while nothing is searched. */
  async #popular() {
    const ids = await this.api.popular(POPULAR).catch(() => []);
    await this.items(ids);
    const known = ids.filter((id) => this.state().items[id] !== undefined);
    this.dispatch({ type: "popular", ids: known });
  }

  /** @param {Wanted} wanted */
  async page({ query, category, isMore }) {
    const shown = this.state().catalogue;
    if (isMore && (shown.status === "loading" || shown.next === null)) return;
    const cursor = isMore ? shown.next : null;
    this.dispatch({ type: "catalogue-loading", query, category, isMore });
    const isWindow = !query && !category && !isMore;
    try {
      const [page] = await Promise.all([
        this.api.items({ query, category, cursor, limit: PAGE }),
        isWindow ? this.#popular() : null,
      ]);
      const { popular, items } = this.state();
      const leading = isWindow ? popular.items.map((id) => items[id]) : [];
      this.dispatch({
        ...{ type: "catalogue-page", query, category, isMore, next: page.next },
        items: [...leading, ...page.items],
      });
      const isFilling = isWindow && this.state().catalogue.items.length === 0;
      if (isFilling) setTimeout(() => void this.catalogue(), RETRY_MS);
    } catch (error) {
      this.dispatch({ type: "catalogue-failed", detail: words(error) });
      setTimeout(() => {
        const { catalogue } = this.state();
        const isAsked = catalogue.query === query && catalogue.category === category;
        if (isAsked && catalogue.status === "failed") void this.page({ query, category, isMore });
      }, RETRY_MS);
    }
  }

  /**
   * Loads the first page and the categories.
   *
   * @param {string} [query]
   * @param {string} [category]
   */
  async catalogue(query = this.state().catalogue.query, category = this.state().catalogue.category) {
    void this.page({ query, category, isMore: false });
    try {
      const sizes = Object.entries(await this.api.categories());
      const categories = sizes
        .sort(([a, m], [b, n]) => n - m || a.localeCompare(b))
        .map(([name, nItems]) => ({ name, nItems }));
      this.dispatch({ type: "categories", categories });
    } catch {
      // Optional: the product page reports an unreadable catalogue.
    }
  }

  /** Loads which event types the log has: they decide which actions are offered. A search of the log, so a tab keeps it. */
  async eventTypes() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(TYPES_KEY) ?? "null");
      const isKept = kept !== null && Date.now() - kept.atMs < TYPES_KEPT_MS;
      const types = isKept ? kept.types : await this.api.typesOf(TELLING_TYPES);
      this.dispatch({ type: "event-types", types });
      if (!isKept && types !== null) sessionStorage.setItem(TYPES_KEY, JSON.stringify({ types, atMs: Date.now() }));
    } catch {
      // Without the right to read the log: the actions of a shop.
    }
  }

  /** Shows popular products first once a model knows them, unless the user has scrolled down. */
  async window() {
    const { catalogue, popular } = this.state();
    const isWindow = !catalogue.query && !catalogue.category && scrollY < innerHeight;
    if (isWindow && popular.items.length === 0 && catalogue.status === "ready") {
      await this.page({ query: "", category: "", isMore: false });
    }
  }
}
