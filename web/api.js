// @ts-check
/** The bridge's REST interface, as far as the page asks it. */

import { readRecs } from "./protocol.js";

/** @typedef {import("./state.js").Item} Item */

/** An answer that is an error, in the words of its problem document. */
export class ApiError extends Error {
  name = "ApiError";

  /**
   * @param {number} status
   * @param {string} detail
   */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export class Api {
  /** @param {{token: string}} options */
  constructor({ token }) {
    this.token = token;
  }

  /** @param {Record<string, string>} [more] */
  #headers(more = {}) {
    return this.token ? { ...more, authorization: `Bearer ${this.token}` } : more;
  }

  /**
   * @param {string} path
   * @param {Record<string, string | number | null>} [query] empty values are left out
   * @returns {Promise<any>}
   */
  async #get(path, query = {}) {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      if (value !== "" && value !== null) parameters.set(name, String(value));
    }
    const text = parameters.toString();
    const response = await fetch(text ? `${path}?${text}` : path, { headers: this.#headers() });
    if (!response.ok) throw await problem(response);
    return response.json();
  }

  /**
   * @param {{query: string, category: string, cursor: string | null, limit: number}} page
   * @returns {Promise<{items: Item[], next: string | null}>}
   */
  async items({ query, category, cursor, limit }) {
    const body = await this.#get("/v1/items", { q: query, category, cursor, limit });
    return { items: body.items, next: body.next || null };
  }

  /**
   * @param {string} id
   * @returns {Promise<Item>}
   */
  item(id) {
    return this.#get(`/v1/items/${encodeURIComponent(id)}`);
  }

  /** @returns {Promise<Record<string, number>>} how many items each category has */
  async categories() {
    return (await this.#get("/v1/categories")).categories;
  }

  /**
   * @param {string} id
   * @returns {Promise<Item[]>}
   */
  async similar(id) {
    const { items } = await this.#get(`/v1/items/${encodeURIComponent(id)}/similar`, { n: 12 });
    return items.map((/** @type {any} */ near) => near.details ?? { item: near.item });
  }

  /**
   * @param {number} n
   * @returns {Promise<string[]>} ids
   */
  async popular(n) {
    return readRecs(await this.#get("/v1/popular", { n })).items.map(({ item }) => item);
  }

  /** @param {string} user */
  async recommendations(user) {
    return readRecs(await this.#get(`/v1/users/${encodeURIComponent(user)}/recommendations`));
  }

  /**
   * @param {string} user
   * @returns {Promise<import("./state.js").Activity[]>} newest first
   */
  async events(user) {
    const body = await this.#get(`/v1/users/${encodeURIComponent(user)}/events`, { limit: 30 });
    return body.events.map((/** @type {any} */ { offset, appended_ts: appendedTs, event }) => ({
      ...{ id: event.id, type: event.type, item: event.item ?? "", offset },
      ...{ tsMs: Date.parse(event.ts) || appendedTs, partition: body.partition },
      ...{ status: "logged", detail: "" },
    }));
  }

  /**
   * Posts events and returns the answer, whatever it is; throws only if there was none.
   *
   * @param {import("./feedback.js").ShopEvent[]} events
   */
  async post(events) {
    const response = await fetch("/v1/events", {
      method: "POST",
      headers: this.#headers({ "content-type": "application/json" }),
      body: JSON.stringify(events),
      keepalive: true,
    });
    const retryAfterS = Number(response.headers.get("retry-after")) || 0;
    const body = await response.json().catch(() => null);
    return { status: response.status, retryAfterS, body };
  }

  async train() {
    const response = await fetch("/v1/training-runs", {
      method: "POST",
      headers: this.#headers({ "content-type": "application/json" }),
      body: "{}",
    });
    if (!response.ok) throw await problem(response);
  }
}

/** @param {Response} response */
async function problem(response) {
  const body = await response.json().catch(() => ({}));
  return new ApiError(response.status, body.detail ?? body.title ?? `answer ${response.status}`);
}
