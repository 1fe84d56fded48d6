// @ts-check
/** The bridge's REST interface, as far as the page asks it. */

import { MOST_KEPT_ALIVE_BYTES } from "./outbox.js";
import { readRecs, readShelves } from "./protocol.js";

/** @typedef {import("../state/state.js").Item} Item */

/** An answer that is an error, in the words of its problem document. */
export class ApiError extends Error {
  name = "ApiError";

  /**
   * @param {number} status 0 without an answer
   * @param {string} detail
   * @param {{pointer: string, detail: string}[]} [errors] places in the request
   */
  constructor(status, detail, errors = []) {
    super(detail);
    this.status = status;
    this.errors = errors;
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
   * Returns the JSON answer of an address; throws `ApiError` for an error.
   *
   * @param {string} path
   * @param {Record<string, string | number | null>} [query] empty values are left out
   * @returns {Promise<any>}
   */
  async get(path, query = {}) {
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
    const body = await this.get("/v1/items", { q: query, category, cursor, limit });
    return { items: body.items, next: body.next || null };
  }

  /**
   * @param {string} id
   * @returns {Promise<Item>}
   */
  item(id) {
    return this.get(`/v1/items/${encodeURIComponent(id)}`);
  }

  /**
   * Returns the items with these ids that the catalogue has, in one request.
   *
   * @param {string[]} ids at most 200
   * @returns {Promise<Item[]>}
   */
  async named(ids) {
    if (ids.length === 0) return [];
    return (await this.get("/v1/items", { ids: JSON.stringify(ids) })).items;
  }

  /** @returns {Promise<Record<string, number>>} how many items each category has */
  async categories() {
    return (await this.get("/v1/categories")).categories;
  }

  /**
   * @param {string} id
   * @returns {Promise<{isKnown: boolean, items: Item[],
   *   likeness: Record<string, import("../state/state.js").Likeness[]>}>}
   */
  async similar(id) {
    const body = await this.get(`/v1/items/${encodeURIComponent(id)}/similar`, { n: 12 });
    /** @type {any[]} */
    const near = body.items;
    return {
      isKnown: body.known,
      items: near.map(({ item, details }) => details ?? { item }),
      likeness: Object.fromEntries(near.map(({ item, why }) => [item, why ?? []])),
    };
  }

  /**
   * @param {string} user
   * @param {number} skip places of the list that are shown elsewhere
   */
  async shelves(user, skip) {
    const path = `/v1/users/${encodeURIComponent(user)}/shelves`;
    return readShelves(await this.get(path, { n: 4, items: 10, skip }));
  }

  /**
   * @param {string} user
   * @param {string} item
   */
  explanation(user, item) {
    const path = `/v1/users/${encodeURIComponent(user)}/recommendations`;
    return this.get(`${path}/${encodeURIComponent(item)}/explanation`);
  }

  /**
   * @param {number} n
   * @returns {Promise<string[]>} ids
   */
  async popular(n) {
    return readRecs(await this.get("/v1/popular", { n })).items.map(({ item }) => item);
  }

  /** @param {string} user */
  async recommendations(user) {
    return readRecs(await this.get(`/v1/users/${encodeURIComponent(user)}/recommendations`));
  }

  /**
   * @param {string} user
   * @returns {Promise<import("../state/state.js").Activity[]>} newest first
   */
  async events(user) {
    const body = await this.get(`/v1/users/${encodeURIComponent(user)}/events`, { limit: 30 });
    return body.events.map((/** @type {any} */ { offset, index = 0, appended_ts: appendedTs, event }) => ({
      ...{ id: event.id, type: event.type, item: event.item ?? "", offset, index },
      ...{ tsMs: Date.parse(event.ts) || appendedTs, partition: body.partition },
      ...{ status: "logged", detail: "" },
    }));
  }

  /**
   * Returns which of some event types occur in the log; null if the log has no event at all.
   *
   * @param {string[]} types
   * @returns {Promise<string[] | null>}
   */
  async typesOf(types) {
    const newest = await this.get("/v1/events", { limit: 1 });
    if (newest.events.length === 0) return null;
    const found = await Promise.all(types.map((type) => this.get("/v1/events", { type, limit: 1 })));
    return types.filter((_, at) => found[at].events.length > 0);
  }

  /**
   * Posts events and returns the answer of any status; throws only without an answer.
   *
   * @param {import("./outbox.js").ShopEvent[]} events
   */
  async post(events) {
    const body = new TextEncoder().encode(JSON.stringify(events));
    const response = await fetch("/v1/events", {
      method: "POST",
      headers: this.#headers({ "content-type": "application/json" }),
      body,
      // Browsers refuse a larger body of a request that may outlive its page.
      keepalive: body.length <= MOST_KEPT_ALIVE_BYTES,
    });
    const retryAfterS = Number(response.headers.get("retry-after")) || 0;
    const answer = await response.json().catch(() => null);
    return { status: response.status, retryAfterS, body: answer };
  }

  /**
   * Sends a request with a JSON body and returns the JSON answer; throws `ApiError` for an error.
   *
   * @param {"POST" | "PUT" | "DELETE"} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>}
   */
  async send(method, path, body) {
    const response = await fetch(path, {
      method,
      headers: this.#headers(body === undefined ? {} : { "content-type": "application/json" }),
      body: body === undefined ? null : JSON.stringify(body),
    });
    if (!response.ok) throw await problem(response);
    return response.status === 204 ? null : response.json();
  }

  async train() {
    await this.send("POST", "/v1/training-runs", {});
  }

  /**
   * Moves a visitor's events to a user.
   *
   * @param {string} user
   * @param {string} from
   * @returns {Promise<number>} events
   */
  async merge(user, from) {
    const path = `/v1/users/${encodeURIComponent(user)}/merge`;
    return (await this.send("POST", path, { from })).merged;
  }

  /**
   * Sends a file.
   *
   * @param {string} path
   * @param {Blob} file
   * @param {string} kind media type
   * @returns {Promise<any>}
   */
  async upload(path, file, kind) {
    const response = await fetch(path, { method: "PUT", headers: this.#headers({ "content-type": kind }), body: file });
    if (!response.ok) throw await problem(response);
    return response.json();
  }

  /** @param {Item} item */
  putItem(item) {
    return this.send("PUT", `/v1/items/${encodeURIComponent(item.item)}`, item);
  }

  /** @returns {Promise<import("../state/steering.js").Document>} */
  async steering() {
    return (await this.get("/v1/steering")).steering ?? {};
  }

  /**
   * Sets the steering document and returns its warnings.
   *
   * @param {import("../state/steering.js").Document} document
   * @returns {Promise<string[]>}
   */
  async steer(document) {
    const isEmpty = Object.keys(document).length === 0;
    const answer = isEmpty
      ? await this.send("DELETE", "/v1/steering")
      : await this.send("PUT", "/v1/steering", document);
    return answer?.warnings ?? [];
  }
}

/** @param {Response} response */
async function problem(response) {
  const body = await response.json().catch(() => ({}));
  return new ApiError(response.status, body.detail ?? body.title ?? `answer ${response.status}`, body.errors);
}
