// @ts-check
/** The product grid with its search, category chips and paging. */

import { createCard, updateCard } from "./cards.js";
import { find, html, keyed, setAttribute, setText } from "../elements/dom.js";
import { count, plural } from "../elements/format.js";

/**
 * @typedef {import("../state/state.js").State} State
 * @typedef {import("./cards.js").Handlers & {search: (query: string) => void,
 *   choose: (category: string) => void, more: () => void}} Handlers
 */

/** More chips than this are noise; the rest is reached by searching. */
const MOST_CHIPS = 24;
const TYPING_PAUSE_MS = 180;

export class Products {
  /** What each card shows, so that a click redraws one card and not the grid. */
  /** @type {WeakMap<Element, {item: any, reaction: string | undefined}>} */
  #shown = new WeakMap();

  /**
   * @param {HTMLElement} root
   * @param {Handlers} handlers
   */
  constructor(root, handlers) {
    this.root = root;
    this.handlers = handlers;
    this.grid = find(root, "grid");
    this.chips = find(root, "chips");
    this.more = find(root, "more");
    this.#listen();
  }

  #listen() {
    const search = find(this.root, "search");
    /** @type {any} */
    let pause = null;
    search.addEventListener("input", () => {
      clearTimeout(pause);
      pause = setTimeout(() => this.handlers.search(search.value.trim()), TYPING_PAUSE_MS);
    });
    find(this.root, "search-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      clearTimeout(pause);
      this.handlers.search(search.value.trim());
    });
    this.more.addEventListener("click", () => this.handlers.more());
    const watcher = new IntersectionObserver(
      (entries) => entries.some(({ isIntersecting }) => isIntersecting) && this.handlers.more(),
      { rootMargin: "600px" },
    );
    watcher.observe(this.more);
  }

  /**
   * @param {State} state
   * @param {State} before
   */
  render(state, before) {
    if (state.catalogue !== before.catalogue || state.categories !== before.categories) {
      this.#renderFrame(state);
    }
    const isSame =
      state.catalogue === before.catalogue &&
      state.items === before.items &&
      state.reactions === before.reactions &&
      state.fresh === before.fresh;
    if (isSame && this.grid.childElementCount > 0) return;
    keyed(
      this.grid,
      state.catalogue.items,
      (id) => createCard(id, this.handlers),
      (card, id) => {
        const shown = this.#shown.get(card);
        const [item, reaction] = [state.items[id], state.reactions[id]];
        if (shown !== undefined && shown.item === item && shown.reaction === reaction) return;
        this.#shown.set(card, { item, reaction });
        updateCard(card, id, state);
      },
    );
  }

  /** @param {State} state */
  #renderFrame({ catalogue, categories }) {
    const { status, items, query, category, next, error } = catalogue;
    const where = category === "" ? "all products" : category;
    setText(
      find(this.root, "products-title"),
      query ? `“${query}” in ${where}` : category || "All products",
    );
    setText(
      find(this.root, "products-note"),
      status === "ready" && query ? plural(items.length, next ? "result so far" : "result") : "",
    );
    setAttribute(this.grid, "aria-busy", status === "loading");
    this.more.hidden = next === null || status === "failed";
    const empty = find(this.root, "empty");
    empty.hidden = !(status === "failed" || (status === "ready" && items.length === 0));
    setText(empty, emptyText(catalogue, error));
    this.#renderChips(categories, category);
  }

  /**
   * @param {{name: string, nItems: number}[]} categories
   * @param {string} chosen
   */
  #renderChips(categories, chosen) {
    this.chips.hidden = categories.length < 2;
    const shown = categories.slice(0, MOST_CHIPS);
    const sizes = new Map(shown.map(({ name, nItems }) => [name, nItems]));
    if (chosen !== "" && !sizes.has(chosen)) sizes.set(chosen, 0);
    keyed(
      this.chips,
      ["", ...sizes.keys()],
      (name) =>
        html(
          "button",
          { type: "button", class: "chip", onclick: () => this.handlers.choose(name) },
          html("span", { text: name || "All" }),
          html("span", { class: "chip-count", "data-part": "count" }),
        ),
      (chip, name) => {
        setAttribute(chip, "aria-pressed", name === chosen);
        const nItems = sizes.get(name) ?? 0;
        setText(find(chip, "count"), nItems > 0 ? count(nItems) : "");
      },
    );
  }
}

/**
 * @param {import("../state/state.js").Catalogue} catalogue
 * @param {string} error
 */
function emptyText({ status, query, category }, error) {
  if (status === "failed") return `The products can't be loaded: ${error}. The list is tried again.`;
  if (query) return `Nothing here is called “${query}”. Try fewer letters, or another category.`;
  if (category) return "This category is empty.";
  return (
    "No products yet. Add one under “Steer the shop”, import yours with recstream\u00a0import, " +
    "or start over with a made-up shop: recstream\u00a0up\u00a0--shop\u00a0synthetic."
  );
}
