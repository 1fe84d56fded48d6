// @ts-check
/**
 * Recommendations for any shop, from one script tag. The bridge serves this file, packed, as
 * `/client/recstream.js`; it defines `<recstream-list>` and the global `recstream`.
 *
 *     <script src="https://recs.example/client/recstream.js"></script>
 *     <script>recstream.configure({ user: "u42", token: "…" });</script>
 *     <recstream-list placement="home" n="8" link="/products/{item}"></recstream-list>
 *
 * A list is drawn again when the bridge pushes one. What is seen and clicked in it is sent as events,
 * which wait in the browser's storage while the bridge is away.
 */

import { Impressions, watchImpressions } from "../connection/impressions.js";
import { MOST_KEPT_ALIVE_BYTES, Outbox } from "../connection/outbox.js";
import { LiveSocket } from "../connection/socket.js";
import { newEventId, newVisitor } from "../elements/ids.js";

/**
 * @typedef {import("../connection/outbox.js").ShopEvent} ShopEvent
 * @typedef {{item: string, rank: number, why?: {kind: string}[], details?: Record<string, any>}} Entry
 * @typedef {{rec_id: string, items: Entry[]}} List
 */

/** How long pushes are gathered before a list is asked for. */
const GATHER_MS = 60;
const VISITOR_KEY = "recstream.visitor";
const STYLE = `
:host { display: block }
ol { display: grid; gap: var(--recstream-gap, 1rem); margin: 0; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(var(--recstream-width, 10rem), 1fr)) }
a { display: flex; flex-direction: column; gap: .25rem; color: inherit; text-decoration: none }
a:hover [part=title], a:focus-visible [part=title] { text-decoration: underline }
img { width: 100%; aspect-ratio: 1; object-fit: contain }
[part=price] { opacity: .75 }
`;

const script = /** @type {HTMLScriptElement | null} */ (globalThis.document?.currentScript);
const timers = {
  setTimeout: (/** @type {() => void} */ run, /** @type {number} */ ms) => setTimeout(run, ms),
  clearTimeout: (/** @type {any} */ id) => clearTimeout(id),
};

/** Who visits, and where the bridge is. */
const place = { bridge: script?.src ? new URL(script.src).origin : "", user: "", token: "" };
/** @type {Set<RecstreamList>} those in the page */
const lists = new Set();
/** @type {Outbox | null} */
let outbox = null;
/** @type {LiveSocket | null} */
let socket = null;
/** @type {(() => Promise<string>) | null} the shop's way to a new token */
let getToken = null;
/** @type {Promise<boolean> | null} */
let renewing = null;

/** Returns the user, or an id that this browser keeps for a visitor who has not logged in. */
function identity() {
  if (place.user) return place.user;
  let id = "";
  try {
    id = localStorage.getItem(VISITOR_KEY) ?? "";
  } catch {
    // No storage: the visitor is new with every page.
  }
  id ||= newVisitor();
  try {
    localStorage.setItem(VISITOR_KEY, id);
  } catch {
    place.user = id;
  }
  return id;
}

/** Asks the shop for a token in place of one that was refused; returns whether it gave one. */
function renew() {
  renewing ??= obtain().finally(() => {
    renewing = null;
  });
  return renewing;
}

async function obtain() {
  try {
    if (getToken === null) throw new Error("recstream.configure({ renew }) is not set");
    const token = await getToken();
    if (!token) throw new Error("renew returned none");
    place.token = token;
    socket?.refresh();
    return true;
  } catch (error) {
    console.warn(`recstream: lists and events wait for a new token: ${error}`);
    return false;
  }
}

/**
 * Sends a request; once more with a new token if the bridge refuses the one in use.
 *
 * @param {string} path
 * @param {any} body
 */
async function post(path, body) {
  const { token } = place;
  const answer = await send(path, body);
  if (answer.status !== 401 || (place.token === token && !(await renew()))) return answer;
  return send(path, body);
}

/**
 * @param {string} path
 * @param {any} body
 */
function send(path, body) {
  /** @type {Record<string, string>} */
  const headers = { "content-type": "application/json" };
  if (place.token) headers.authorization = `Bearer ${place.token}`;
  const content = new TextEncoder().encode(JSON.stringify(body));
  const keepalive = content.length <= MOST_KEPT_ALIVE_BYTES;
  return fetch(place.bridge + path, { method: "POST", headers, body: content, keepalive }).catch((error) => {
    const page = globalThis.location?.origin ?? "this page";
    const cause = `if it runs, its setting allowed_origins must name ${page}`;
    throw new Error(`recstream: ${place.bridge} can't be reached: ${cause} (${error})`);
  });
}

/**
 * @param {string} path
 * @param {any} body
 * @returns {Promise<any>}
 */
async function ask(path, body) {
  // Shops may number their products; ids are texts.
  const exclude = Array.isArray(body.exclude) ? body.exclude.map(String) : body.exclude;
  const answer = await post(path, { ...body, exclude });
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(`recstream: ${content.detail ?? answer.status}`);
  return content;
}

function events() {
  outbox ??= new Outbox({
    post: async (batch) => {
      const answer = await post("/v1/events", batch);
      const retryAfterS = Number(answer.headers.get("retry-after") ?? 0);
      return { status: answer.status, retryAfterS, body: await answer.json().catch(() => ({})) };
    },
    store: storage(),
    timers,
    random: Math.random,
    onStatus: () => {},
    onReceipt: (_, { rejected }) => {
      for (const { detail, pointer } of rejected) {
        console.warn(`recstream: an event was refused: ${detail}${pointer ? ` (at ${pointer})` : ""}`);
      }
    },
  });
  return outbox;
}

/** @returns {import("../connection/outbox.js").Store} */
function storage() {
  try {
    return localStorage;
  } catch {
    return { getItem: () => null, setItem: () => {}, removeItem: () => {}, key: () => null, length: 0 };
  }
}

/** Opens the connection that announces when the visitor's list has changed. */
function follow() {
  socket ??= new LiveSocket({
    open: (protocol) => new WebSocket(`${place.bridge.replace(/^http/, "ws")}/v1/ws`, protocol),
    identity: () => (place.token ? { token: place.token } : { user: identity() }),
    subs: [{ ch: "recs" }],
    onMessage: (message) => {
      if (message.type === "recs") for (const list of lists) list.drawSoon();
    },
    onStatus: () => {},
    onExpired: () => void renew().then((isNew) => isNew && void outbox?.flush()),
    timers,
    random: Math.random,
  });
  socket.start();
}

export const recstream = {
  /**
   * Says who visits; call it again after a login. Lists are drawn anew. `renew` returns a new token
   * when the one in use has expired.
   *
   * @param {{bridge?: string, user?: string, token?: string, renew?: () => Promise<string>}} changes
   */
  configure({ renew: given, ...changes }) {
    getToken = given ?? getToken;
    for (const list of lists) list.leave();
    Object.assign(place, changes);
    place.bridge = (place.bridge ?? "").replace(/\/+$/, "");
    place.user = String(place.user ?? "");
    void outbox?.flush();
    if (socket !== null) {
      socket.stop();
      socket = null;
      follow();
    }
    for (const list of lists) list.drawSoon();
  },

  /** The id of the user, or of the visitor. */
  get user() {
    return identity();
  },

  /**
   * Sends an event of the visitor: `recstream.send({ type: "purchase", item: "p9" })`.
   *
   * @param {Partial<ShopEvent> & {type: string}} event
   */
  send(event) {
    const { id = newEventId(), user = identity(), ts = new Date().toISOString(), ...more } = event;
    const { item, items } = more;
    // Shops number their products; ids are texts.
    if (item !== undefined && item !== null) more.item = String(item);
    if (Array.isArray(items)) more.items = items.map(String);
    return events().add({ id, user: String(user), ts, ...more });
  },

  /**
   * Returns a list; the options are those of `POST /v1/users/{user}/recommendations`.
   *
   * @param {Record<string, any>} [options]
   * @returns {Promise<List>}
   */
  recommend(options = {}) {
    return ask(`/v1/users/${encodeURIComponent(identity())}/recommendations`, options);
  },

  /**
   * Returns candidates in the visitor's order, such as the results of a search.
   *
   * @param {string[]} items
   * @param {Record<string, any>} [options]
   */
  rank(items, options = {}) {
    return ask("/v1/rank", { user: identity(), candidates: items.map(String), ...options });
  },
};

const Element = globalThis.HTMLElement ?? class {};

/**
 * A list. Attributes: `placement`, `n`, `link` (address of a product, with `{item}`), `label` (its name
 * for screen readers), `click` (type of the event of a click, by default `view`). With a `<template>`
 * inside, each item is a copy of it, in which elements with `data-field` are filled. Without one, style it
 * by `::part(items|item|link|image|title|price)`. It dispatches `recstream-list` when it has been drawn.
 */
class RecstreamList extends Element {
  static observedAttributes = ["placement", "n", "link", "label", "click"];
  /** @type {Map<string, HTMLElement>} */
  #entries = new Map();
  /** @type {(() => void)[]} what ends it */
  #ends = [];
  #asked = 0;
  #timer = 0;
  #impressions = new Impressions({ timers, send: (shown) => recstream.send({ type: "impression", ...shown }) });

  connectedCallback() {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const items = document.createElement("ol");
    items.part.add("items");
    root.replaceChildren(items);
    this.#entries.clear();
    items.addEventListener("click", (event) => this.#clicked(event));
    lists.add(this);
    const leave = () => this.leave();
    addEventListener("pagehide", leave);
    this.#ends = [
      watchImpressions(items, (rec, item) => this.#impressions.seen(rec, item)),
      () => lists.delete(this),
      () => removeEventListener("pagehide", leave),
    ];
    follow();
    void events().start();
    this.drawSoon();
  }

  disconnectedCallback() {
    this.leave();
    clearTimeout(this.#timer);
    this.#timer = 0;
    for (const end of this.#ends) end();
    this.#ends = [];
  }

  attributeChangedCallback() {
    if (this.isConnected && this.shadowRoot !== null) this.drawSoon();
  }

  /** Sends what was seen, as the present visitor; what another one sees is reported anew. */
  leave() {
    this.#impressions.flush();
    this.#impressions.renew();
  }

  drawSoon() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      void this.#draw();
    }, GATHER_MS);
  }

  async #draw() {
    const asked = (this.#asked += 1);
    const placement = this.getAttribute("placement");
    const n = Number(this.getAttribute("n") ?? 0);
    /** @type {Record<string, any>} */
    const options = { fields: ["rank", "details"] };
    if (placement) options.placement = placement;
    if (n > 0) options.n = n;
    /** @type {List} */
    let list;
    try {
      list = await recstream.recommend(options);
    } catch (error) {
      // The list on the page stays; the next push or event asks again.
      console.warn(String(error));
      return;
    }
    if (asked !== this.#asked || !this.isConnected) return;
    this.#show(list);
    this.dispatchEvent(new CustomEvent("recstream-list", { detail: list, bubbles: true }));
  }

  /** @param {List} list */
  #show(list) {
    const items = /** @type {HTMLElement} */ (this.shadowRoot?.querySelector("ol"));
    items.setAttribute("aria-label", this.getAttribute("label") ?? "Recommended for you");
    const focused = this.shadowRoot?.activeElement;
    const entries = new Map();
    for (const entry of list.items) {
      const element = this.#entries.get(entry.item) ?? document.createElement("li");
      this.#fill(element, entry);
      element.dataset.rec = list.rec_id;
      element.dataset.key = entry.item;
      entries.set(entry.item, element);
    }
    this.#entries = entries;
    items.replaceChildren(...entries.values());
    if (focused instanceof HTMLElement && focused.isConnected) focused.focus({ preventScroll: true });
  }

  /**
   * @param {HTMLElement} element
   * @param {Entry} entry
   */
  #fill(element, entry) {
    const template = this.querySelector("template");
    if (element.childElementCount === 0) {
      element.part.add("item");
      element.append(template === null ? plain() : template.content.cloneNode(true));
    }
    const details = { title: entry.item, ...entry.details, item: entry.item, rank: entry.rank };
    for (const part of /** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll("[data-field]"))) {
      const value = /** @type {any} */ (details)[part.dataset.field ?? ""] ?? "";
      if (part instanceof HTMLImageElement) {
        part.hidden = !/^(https?:|\/|data:image\/)/.test(value);
        if (!part.hidden && part.src !== value) part.src = value;
      } else if (part.textContent !== String(value)) part.textContent = String(value);
    }
    const link = this.getAttribute("link");
    for (const anchor of element.querySelectorAll("a")) {
      if (link) anchor.href = link.replaceAll("{item}", encodeURIComponent(entry.item));
    }
  }

  /** @param {Event} event */
  #clicked(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const entry = /** @type {HTMLElement | null} */ (target.closest("[data-key]"));
    if (entry === null || target.closest("a, button") === null) return;
    const { rec: rec_id, key: item } = entry.dataset;
    this.#impressions.renew();
    void recstream.send({ type: this.getAttribute("click") ?? "view", item, rec_id });
  }
}

/** Returns the parts of an item that are drawn when the shop has no template. */
function plain() {
  const link = document.createElement("a");
  for (const [tag, field] of [["img", "image"], ["span", "title"], ["span", "price"]]) {
    const part = document.createElement(tag);
    part.part.add(field);
    part.dataset.field = field;
    if (part instanceof HTMLImageElement) {
      part.alt = "";
      part.loading = "lazy";
    }
    link.append(part);
  }
  link.part.add("link");
  return link;
}

globalThis.customElements?.define("recstream-list", /** @type {any} */ (RecstreamList));
