// @ts-check
/** Draws the whole page from the state. Holds no state of the application. */

import { Because } from "./because-shelves.js";
import { ProductDialog } from "./dialog.js";
import { find, setAttribute, setText } from "../elements/dom.js";
import { Engine } from "../panels/pipeline.js";
import { icon } from "../elements/icons.js";
import { Personas } from "./personas.js";
import { recall, remember } from "../state/preferences.js";
import { Products } from "./products.js";
import { Shelf, announcement } from "./list.js";
import { SteerPanel } from "../panels/steering.js";
import { offerTheme } from "./theme.js";

/**
 * @typedef {import("../state/state.js").State} State
 * @typedef {import("./products.js").Handlers & import("./dialog.js").Handlers
 *   & import("../panels/pipeline.js").Handlers & {chooseUser: (user: string, isMerging: boolean) => void,
 *   steer: import("../panels/steering-actions.js").Steering, retry: () => void}} Handlers
 */

/** Delay of screen-reader announcements, so that a burst of lists is announced once. */
const ANNOUNCE_AFTER_MS = 1500;
const TOAST_MS = 5000;

export class View {
  /** @type {State | null} */
  #state = null;
  /** @type {any} */
  #announcing = null;
  /** @type {any} */
  #toasting = null;

  /**
   * @param {HTMLElement} page
   * @param {Handlers} handlers
   */
  constructor(page, handlers) {
    this.page = page;
    this.shelf = new Shelf(find(page, "shelf"), handlers);
    this.because = new Because(find(page, "because"), handlers);
    this.products = new Products(page, handlers);
    this.steering = new SteerPanel(page, handlers.steer);
    this.engine = new Engine(find(page, "engine"), handlers);
    this.dialog = new ProductDialog(find(page, "product"), handlers);
    this.personas = new Personas(page, { choose: handlers.chooseUser });
    offerTheme(find(page, "theme"));
    find(page, "search-icon").append(icon("search"));
    find(page, "banner-retry").addEventListener("click", handlers.retry);
    this.#offerHint();
  }

  /** Elements whose entries count as impressions. */
  get lists() {
    return [this.shelf.list, this.because.row];
  }

  #offerHint() {
    find(this.page, "hint-close").addEventListener("click", () => {
      remember("hint", "seen");
      find(this.page, "hint").hidden = true;
      find(this.page, "search").focus({ preventScroll: true });
    });
  }

  /**
   * @param {State} state
   * @param {State} before the state drawn last; equal to `state` to draw everything
   */
  render(state, before) {
    this.#state = state;
    this.shelf.render(state, before);
    this.because.render(state, before);
    this.products.render(state, before);
    this.steering.render(state, before);
    this.engine.render(state, before);
    this.dialog.render(state, before);
    if (state.user !== before.user || state.activity !== before.activity || state === before) {
      this.personas.render(state);
    }
    this.#renderBanner(state);
    this.#renderHint(state.catalogue);
    if (state.recs !== before.recs) this.#announce();
    if (state.notice !== before.notice) this.#toast(state.notice.text);
  }

  /** @param {State} state */
  #renderBanner(state) {
    const text = bannerText(state);
    const banner = find(this.page, "banner");
    banner.hidden = text === "";
    setText(find(this.page, "banner-text"), text);
    setAttribute(banner, "data-phase", state.connection.phase);
  }

  /** @param {import("../state/state.js").Catalogue} catalogue */
  #renderHint({ items, query, category }) {
    const isShop = items.length > 0 || query !== "" || category !== "";
    find(this.page, "hint").hidden = !isShop || recall("hint") === "seen";
  }

  #announce() {
    clearTimeout(this.#announcing);
    this.#announcing = setTimeout(() => {
      if (this.#state !== null) setText(find(this.page, "announcer"), announcement(this.#state));
    }, ANNOUNCE_AFTER_MS);
  }

  /** @param {string} text */
  #toast(text) {
    const toast = find(this.page, "toast");
    setText(toast, text);
    setAttribute(toast, "data-shown", text ? "" : null);
    clearTimeout(this.#toasting);
    this.#toasting = setTimeout(() => setAttribute(toast, "data-shown", null), TOAST_MS);
  }
}

/**
 * Returns the text of the connection problem, or an empty text.
 *
 * @param {State} state
 */
export function bannerText({ connection, outbox }) {
  const kept =
    outbox.queued === 0
      ? ""
      : ` ${outbox.queued === 1 ? "One click is" : `${outbox.queued} clicks are`} kept and sent later.`;
  switch (connection.phase) {
    case "failed":
      return `No live connection: ${connection.detail}.${kept}`;
    case "stale":
      return `Connection lost, so this list may be old: ${connection.detail}.${kept}`;
    case "connecting":
      return connection.attempt > 1 ? `The bridge does not answer yet.${kept}` : "";
    default:
      return outbox.trouble === "" || outbox.queued === 0
        ? ""
        : `Your clicks can't be stored at the moment (${outbox.trouble}).${kept}`;
  }
}
