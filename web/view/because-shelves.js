// @ts-check
/** "Because you viewed X": one row for each event that contributes most to the list. */

import { createMini, updateMini } from "./cards.js";
import { find, html, keyed, setAttribute, setText } from "../elements/dom.js";
import { likenessText, shortTitleOf, verb } from "../elements/format.js";

/**
 * @typedef {import("../state/state.js").State} State
 * @typedef {import("./cards.js").Handlers} Handlers
 */

export class Because {
  /** The item whose row is shown; the first one until the user chooses. */
  #chosen = "";
  /** @type {State | null} */
  #state = null;

  /**
   * @param {HTMLElement} root
   * @param {Handlers} handlers
   */
  constructor(root, handlers) {
    this.root = root;
    this.handlers = handlers;
    this.tabs = find(root, "because-tabs");
    this.row = find(root, "because-row");
    this.tabs.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#move(event));
  }

  /**
   * @param {State} state
   * @param {State} before
   */
  render(state, before) {
    this.#state = state;
    const isSame =
      state.shelves === before.shelves &&
      state.items === before.items &&
      state.reactions === before.reactions;
    if (isSame && state !== before) return;
    const shelves = state.shelves?.shelves ?? [];
    this.root.hidden = shelves.length === 0;
    if (shelves.length === 0) return;
    const shown = shelves.find(({ item }) => item === this.#chosen) ?? shelves[0];
    const byItem = new Map(shelves.map((shelf) => [shelf.item, shelf]));
    keyed(
      this.tabs,
      [...byItem.keys()],
      (item) =>
        html("button", {
          ...{ type: "button", class: "chip", role: "tab", "aria-controls": "because-panel" },
          onclick: () => this.#choose(item),
        }),
      (tab, item) => {
        const event = byItem.get(item)?.event ?? "view";
        setText(tab, `${verb(event)} ${shortTitleOf(state.items, item)}`);
        setAttribute(tab, "aria-selected", String(item === shown.item));
        setAttribute(tab, "tabindex", item === shown.item ? "0" : "-1");
      },
    );
    const what = `${verb(shown.event)} ${shortTitleOf(state.items, shown.item)}`;
    setAttribute(find(this.root, "because-panel"), "aria-label", `More, because you ${what}`);
    const places = new Map(shown.items.map((place) => [place.item, place]));
    keyed(
      this.row,
      [...places.keys()],
      (id) => createMini(id, this.handlers, "because"),
      (card, id) => {
        const shared = places.get(id)?.shared ?? [];
        setAttribute(card, "data-rec", state.shelves?.rec_id ?? null);
        updateMini(card, id, state, shared.length > 0 ? likenessText(shared, "") : "");
      },
    );
  }

  /** @param {string} item */
  #choose(item) {
    this.#chosen = item;
    this.row.scrollTo({ left: 0 });
    if (this.#state !== null) this.render(this.#state, this.#state);
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const tabs = [...this.tabs.children];
    const at = tabs.indexOf(/** @type {any} */ (document.activeElement));
    const next = tabs[(at + step + tabs.length) % tabs.length];
    this.#choose(next.dataset.key ?? "");
    next.focus();
  }
}
