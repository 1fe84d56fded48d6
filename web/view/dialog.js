// @ts-check
/** The product dialog: one product, what can be said about it, why it is in the list, what is like it. */

import { actionButtons, createMini, updateActions, updateMini, updatePicture } from "./cards.js";
import { find, html, keyed, setAttribute, setText } from "../elements/dom.js";
import { icon } from "../elements/icons.js";
import { formatMs } from "../state/latency.js";
import { createSum, drawSum } from "./explanation.js";
import { likenessText, priceOf, titleOf, verb } from "../elements/format.js";

/**
 * @typedef {import("../state/state.js").State} State
 * @typedef {import("./cards.js").Handlers & {close: () => void}} Handlers
 */

/** Reasons shown. */
const REASONS_SHOWN = 4;

/** @type {Record<string, string>} */
const OTHER_REASONS = {
  popular: "popular now",
  pinned: "the shop pinned it",
  boosted: "the shop boosts it",
  newcomer: "new item: this place is reserved for items without events",
};

/**
 * @param {import("../connection/protocol.js").Reason} reason
 * @param {State["items"]} items
 */
function whyText({ kind, item = "", event = "", shared = [] }, items) {
  if (kind === "because") return `you ${verb(event)} ${titleOf(items, item)}`;
  if (kind === "content") return likenessText(shared, item ? titleOf(items, item) : "");
  return OTHER_REASONS[kind] ?? kind;
}

/**
 * Returns the reason why an item is similar to the one shown.
 *
 * @param {import("../state/state.js").Likeness[]} likeness
 */
function alikeText(likeness) {
  const [first] = likeness;
  if (first === undefined) return "";
  return first.kind === "content" ? likenessText(first.shared ?? [], "") : "often goes with it";
}

export class ProductDialog {
  #shown = "";

  /**
   * @param {HTMLDialogElement} dialog
   * @param {Handlers} handlers
   */
  constructor(dialog, handlers) {
    this.dialog = dialog;
    this.handlers = handlers;
    dialog.addEventListener("close", () => this.#closed());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }

  #closed() {
    this.#shown = "";
    this.handlers.close();
  }

  /** @param {string} id */
  #build(id) {
    const close = html(
      "button",
      {
        ...{ type: "button", class: "product-close", "aria-label": "Close" },
        onclick: () => this.dialog.close(),
      },
      icon("close"),
    );
    this.dialog.replaceChildren(
      html(
        "article",
        { class: "product-inner" },
        html("div", { class: "product-picture", "data-part": "picture" }),
        html(
          "div",
          { class: "product-text" },
          html("p", { class: "card-category", "data-part": "category" }),
          html("h2", { class: "product-title", id: "product-title", "data-part": "title" }),
          html("p", { class: "product-price", "data-part": "price" }),
          html("p", { class: "product-description", "data-part": "description" }),
          actionButtons(id, this.handlers, true),
          html("p", { class: "product-live", "data-part": "live" }),
        ),
        html(
          "section",
          { class: "why", "aria-labelledby": "why-title", "data-part": "why" },
          html("h3", { class: "row-title", id: "why-title", text: "Why it is in your list" }),
          html("ul", { class: "why-list", role: "list", "data-part": "why-list" }),
          createSum(),
        ),
        html(
          "section",
          { class: "similar", "aria-labelledby": "similar-title" },
          html("h3", { class: "row-title", id: "similar-title", text: "Similar products" }),
          html("p", { class: "muted", "data-part": "similar-note" }),
          html("ul", { class: "row", role: "list", "data-part": "similar" }),
        ),
      ),
      close,
    );
  }

  /**
   * @param {State} state
   * @param {State} before
   */
  render(state, before) {
    const { opened } = state;
    if (opened === null) {
      if (this.dialog.open) this.dialog.close();
      return;
    }
    const isSame =
      state.opened === before.opened &&
      state.items === before.items &&
      state.reactions === before.reactions &&
      state.recs === before.recs &&
      state.lastTrace === before.lastTrace;
    if (isSame) return;
    if (this.#shown !== opened.item) {
      this.#shown = opened.item;
      this.#build(opened.item);
      if (!this.dialog.open) this.dialog.showModal();
      this.dialog.scrollTo({ top: 0 });
    }
    this.#update(state, opened);
  }

  /**
   * @param {State} state
   * @param {NonNullable<State["opened"]>} opened
   */
  #update(state, opened) {
    const id = opened.item;
    const item = state.items[id] ?? { item: id };
    const title = titleOf(state.items, id);
    updatePicture(find(this.dialog, "picture"), item);
    setText(find(this.dialog, "category"), [item.category, item.brand].filter(Boolean).join(" · "));
    setText(find(this.dialog, "title"), title);
    setText(find(this.dialog, "price"), priceOf(item));
    setText(find(this.dialog, "description"), item.description ?? "");
    updateActions(this.dialog, title, state.reactions[id]);
    setText(find(this.dialog, "live"), liveText(state));
    this.#updateWhy(state, opened);
    const { similar } = opened;
    const note = find(this.dialog, "similar-note");
    setText(note, similarNote(similar));
    note.hidden = note.textContent === "";
    keyed(
      find(this.dialog, "similar"),
      similar.items,
      (other) => createMini(other, this.handlers),
      (card, other) => updateMini(card, other, state, alikeText(opened.likeness[other] ?? [])),
    );
  }

  /**
   * @param {State} state
   * @param {NonNullable<State["opened"]>} opened
   */
  #updateWhy(state, opened) {
    const reasons = (opened.reasons ?? []).filter(
      ({ kind, share }) => (share ?? 0) > 0 || kind === "pinned" || kind === "newcomer",
    );
    find(this.dialog, "why").hidden = reasons.length === 0;
    const shown = reasons.slice(0, REASONS_SHOWN);
    drawSum(find(this.dialog, "sum"), opened.explanation, state.items);
    keyed(
      find(this.dialog, "why-list"),
      shown.map(({ kind, item, rule }) => `${kind} ${item ?? rule}`),
      () =>
        html(
          "li",
          { class: "why-reason" },
          html("span", { "data-part": "why-text" }),
          html("span", { class: "why-bar" }),
          html("span", { class: "why-share", "data-part": "why-share" }),
        ),
      (element, _, index) => {
        const { kind, share = 0 } = shown[index];
        setText(find(element, "why-text"), whyText(shown[index], state.items));
        setText(find(element, "why-share"), share > 0 ? `${Math.round(share * 100)} %` : "");
        element.style.setProperty("--share", String(Math.min(1, share)));
        setAttribute(element, "data-kind", kind);
      },
    );
  }
}

/** @param {State} state */
function liveText({ lastTrace, pending, connection }) {
  if (connection.phase !== "live") return "Your list is updated when the connection is back.";
  if (pending.length > 0) return "Updating your list …";
  return lastTrace === null ? "" : `“For you” was updated in ${formatMs(lastTrace.totalMs)}.`;
}

/** @param {import("../state/state.js").Loaded} similar */
function similarNote({ status, items, error }) {
  if (status === "loading") return "Loading …";
  if (status === "failed") return `Similar products can't be loaded: ${error}`;
  return items.length === 0 ? "None yet: the model does not know this product." : "";
}
