// @ts-check
/** A product as a card of the grid, and as a small card of a row; the actions that both offer. */

import { find, html, setAttribute, setText } from "../elements/dom.js";
import { icon } from "../elements/icons.js";
import { picture } from "../elements/picture.js";
import { priceOf, titleOf } from "../elements/format.js";

/**
 * @typedef {import("../state/state.js").State} State
 * @typedef {import("../state/state.js").Item} Item
 * @typedef {"grid" | "shelf" | "because" | "similar"} From
 * @typedef {{open: (item: string, from: From) => void,
 *   act: (type: string, item: string, recId?: string) => void}} Handlers
 */

/** @type {{type: string, name: string, label: string, done: string}[]} */
const ACTIONS = [
  { type: "like", name: "heart", label: "Like", done: "Liked" },
  { type: "cart", name: "cart", label: "Add to cart", done: "In your cart" },
  { type: "purchase", name: "bag", label: "Buy", done: "Bought" },
  { type: "dislike", name: "hide", label: "Not for me", done: "Not for you" },
];

/**
 * Draws the picture of an item again when more of it is known.
 *
 * @param {HTMLElement} frame
 * @param {Item} item
 */
export function updatePicture(frame, item) {
  const drawnFor = `${item.item}|${item.title ?? ""}|${item.category ?? ""}`;
  if (frame.dataset.drawnFor === drawnFor) return;
  frame.dataset.drawnFor = drawnFor;
  frame.replaceChildren(picture(item));
}

/**
 * Returns the action buttons of a product. Pressing a button again takes the action back.
 *
 * @param {string} id
 * @param {Handlers} handlers
 * @param {boolean} [isLarge] with words instead of icons alone
 */
export function actionButtons(id, handlers, isLarge = false) {
  const buttons = ACTIONS.map(({ type, name, label }) => {
    const button = html(
      "button",
      {
        ...{ type: "button", class: isLarge ? "button action-large" : "action", "data-action": type },
        onclick: () => {
          const isPressed = button.getAttribute("aria-pressed") === "true";
          handlers.act(isPressed && type !== "purchase" ? "remove" : type, id);
        },
      },
      icon(name),
      html("span", { class: isLarge ? "action-text" : "visually-hidden", text: label }),
    );
    return button;
  });
  return html("div", { class: isLarge ? "actions-large" : "actions" }, ...buttons);
}

/**
 * @param {Element} row
 * @param {string} title
 * @param {string | undefined} reaction
 */
export function updateActions(row, title, reaction) {
  for (const { type, label, done } of ACTIONS) {
    const button = row.querySelector(`[data-action="${type}"]`);
    if (button === null) continue;
    const isPressed = reaction === type;
    setAttribute(button, "aria-pressed", isPressed);
    const words = isPressed ? done : label;
    const text = button.querySelector("span");
    const isLarge = button.classList.contains("action-large");
    if (text !== null) setText(text, isLarge ? words : `${words}: ${title}`);
    if (!isLarge) setAttribute(button, "title", words);
  }
}

/**
 * Returns an empty card of the grid.
 *
 * @param {string} id
 * @param {Handlers} handlers
 */
export function createCard(id, handlers) {
  return html(
    "li",
    { class: "card" },
    html("div", { class: "card-picture", "data-part": "picture" }),
    html(
      "div",
      { class: "card-text" },
      html("p", { class: "card-category", "data-part": "category" }),
      html(
        "h3",
        { class: "card-title" },
        html("button", {
          ...{ type: "button", class: "card-open", "data-part": "open" },
          onclick: () => handlers.open(id, "grid"),
        }),
      ),
    ),
    html(
      "div",
      { class: "card-foot" },
      html("span", { class: "price", "data-part": "price" }),
      actionButtons(id, handlers),
    ),
  );
}

/**
 * @param {HTMLElement} card
 * @param {string} id
 * @param {State} state
 */
export function updateCard(card, id, state) {
  const item = state.items[id] ?? { item: id };
  const title = titleOf(state.items, id);
  updatePicture(find(card, "picture"), item);
  setText(find(card, "category"), item.category ?? "");
  setText(find(card, "open"), title);
  setText(find(card, "price"), priceOf(item));
  setAttribute(card, "data-reaction", state.reactions[id] ?? null);
  setAttribute(card, "data-new", id in state.fresh ? "" : null);
  updateActions(card, title, state.reactions[id]);
}

/**
 * Returns an empty card of a row.
 *
 * @param {string} id
 * @param {Handlers} handlers
 * @param {From} [from]
 */
export function createMini(id, handlers, from = "similar") {
  return html(
    "li",
    { class: "mini" },
    html("div", { class: "mini-picture", "data-part": "picture" }),
    html("button", {
      ...{ type: "button", class: "mini-open", "data-part": "open" },
      onclick: () => handlers.open(id, from),
    }),
    html("span", { class: "price", "data-part": "price" }),
    html("span", { class: "mini-why", "data-part": "why" }),
  );
}

/**
 * @param {HTMLElement} card
 * @param {string} id
 * @param {State} state
 * @param {string} [why]
 */
export function updateMini(card, id, state, why = "") {
  const item = state.items[id] ?? { item: id };
  updatePicture(find(card, "picture"), item);
  setText(find(card, "open"), titleOf(state.items, id));
  setText(find(card, "price"), priceOf(item));
  setText(find(card, "why"), why);
}
