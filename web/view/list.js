// @ts-check
/** The "For you" list. A new order is animated. */

import { updatePicture } from "./cards.js";
import { find, glide, html, keyed, prefersStillness, setAttribute, setText } from "../elements/dom.js";
import { icon } from "../elements/icons.js";
import { formatMs } from "../state/latency.js";
import { movement, plural, reasonText, titleOf } from "../elements/format.js";

/**
 * @typedef {import("../state/state.js").State} State
 * @typedef {import("./cards.js").Handlers} Handlers
 */

/** Entries shown. */
const SHOWN = 10;

/**
 * @param {string} id
 * @param {Handlers} handlers
 */
function createPlace(id, handlers) {
  return html(
    "li",
    { class: "place" },
    html("span", { class: "place-rank", "data-part": "rank" }),
    html("div", { class: "place-picture", "data-part": "picture" }),
    html(
      "div",
      { class: "place-text" },
      html("button", {
        ...{ type: "button", class: "place-open", "data-part": "open" },
        onclick: () => handlers.open(id, "shelf"),
      }),
      html("p", { class: "place-reason", "data-part": "reason" }),
    ),
    html("span", { class: "mark", "data-part": "mark" }),
    html(
      "button",
      {
        ...{ type: "button", class: "place-hide", title: "Not for me", "data-part": "hide" },
        onclick: (/** @type {Event} */ event) => {
          const place = /** @type {HTMLElement} */ (event.currentTarget).closest("li");
          handlers.act("dislike", id, place?.dataset.rec);
        },
      },
      icon("close"),
      html("span", { class: "visually-hidden", "data-part": "hide-text" }),
    ),
  );
}

/**
 * @param {HTMLElement} element
 * @param {import("../connection/protocol.js").Place} place
 * @param {State} state
 */
function updatePlace(element, place, state) {
  const item = state.items[place.item] ?? { item: place.item };
  const title = titleOf(state.items, place.item);
  const reason = reasonText(place.why, state.items, item.category ?? "");
  setAttribute(element, "data-rec", state.recs?.rec_id ?? null);
  setText(find(element, "rank"), String(place.rank));
  updatePicture(find(element, "picture"), item);
  setText(find(element, "open"), title);
  setText(find(element, "reason"), reason);
  setAttribute(find(element, "reason"), "title", reason);
  setText(find(element, "hide-text"), `Not for me: ${title}`);
  const moved = movement(place, state.isFirstList);
  const mark = find(element, "mark");
  setText(mark, moved.text);
  setAttribute(mark, "data-kind", moved.kind || null);
  setAttribute(mark, "aria-label", moved.label || null);
  setAttribute(mark, "role", moved.label ? "img" : null);
}

/**
 * Returns the title of the list and the note below it.
 *
 * @param {State} state
 * @returns {{title: string, note: string}}
 */
export function shelfWords({ recs, connection, catalogue }) {
  if (recs === null) {
    const isWaiting = connection.phase === "connecting" || connection.phase === "live";
    const note = isWaiting
      ? "Waiting for the first list …"
      : "No list yet: the connection is down. Your clicks are kept and sent later.";
    return { title: "For you", note };
  }
  if (recs.items.length === 0) {
    const note =
      catalogue.items.length > 0
        ? "There is no model yet. The list appears after the first training."
        : "The shop has no products yet.";
    return { title: "For you", note };
  }
  if (recs.source === "popular") {
    const why =
      recs.generation === 0
        ? "No training has finished yet. These products are popular."
        : "You have no events yet. Click a product to get your own list.";
    return { title: "Popular now", note: why };
  }
  return { title: "For you", note: `from your events, model generation ${recs.generation}` };
}

export class Shelf {
  /**
   * @param {HTMLElement} root
   * @param {Handlers} handlers
   */
  constructor(root, handlers) {
    this.root = root;
    this.handlers = handlers;
    this.list = find(root, "shelf-list");
    this.list.append(
      ...Array.from({ length: 6 }, () => html("li", { class: "place place-empty", "aria-hidden": "true" })),
    );
  }

  /**
   * @param {State} state
   * @param {State} before
   */
  render(state, before) {
    const { title, note } = shelfWords(state);
    setText(find(this.root, "shelf-title"), title);
    setText(find(this.root, "shelf-note"), note);
    const { lastTrace } = state;
    setText(
      find(this.root, "shelf-fresh"),
      lastTrace === null ? "" : `updated in ${formatMs(lastTrace.totalMs)}`,
    );
    setAttribute(this.root, "data-phase", state.connection.phase);
    setAttribute(this.root, "aria-busy", state.recs === null);
    if (state.recs === null && before.recs === null) return;
    const places = (state.recs?.items ?? []).slice(0, SHOWN);
    const byItem = new Map(places.map((place) => [place.item, place]));
    const show = () => {
      for (const empty of this.list.querySelectorAll(".place-empty")) empty.remove();
      keyed(
        this.list,
        [...byItem.keys()],
        (id) => createPlace(id, this.handlers),
        (element, id) => updatePlace(element, /** @type {any} */ (byItem.get(id)), state),
      );
    };
    const hasMoved = state.recs !== before.recs && before.recs !== null && state.recs !== null;
    if (!hasMoved) show();
    else {
      glide(this.list, show);
      for (const element of this.list.children) flash(element);
    }
  }
}

/**
 * Highlights the marks of a new list.
 *
 * @param {Element} element
 */
function flash(element) {
  const mark = element.querySelector(".mark[data-kind]");
  if (mark === null) return;
  const [from, to] = [{ transform: "scale(1.6)" }, { transform: "none" }];
  if (!prefersStillness()) mark.animate([from, to], { duration: 500, easing: "ease-out" });
}

/**
 * Returns the screen-reader announcement of a new list.
 *
 * @param {State} state
 */
export function announcement(state) {
  const places = (state.recs?.items ?? []).slice(0, SHOWN);
  if (places.length === 0) return "";
  const first = `first is ${titleOf(state.items, places[0].item)}`;
  if (state.isFirstList) return `Your list is ready: ${first}.`;
  const kinds = places.map((place) => movement(place, false).kind);
  const nNew = kinds.filter((kind) => kind === "new").length;
  const nMoved = kinds.filter((kind) => kind === "up" || kind === "down").length;
  if (nNew + nMoved === 0) return "";
  const changes = [nNew > 0 && plural(nNew, "new product"), nMoved > 0 && `${nMoved} moved`];
  return `Your list changed: ${changes.filter(Boolean).join(", ")}; ${first}.`;
}
