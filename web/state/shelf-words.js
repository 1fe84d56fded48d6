// @ts-check
/** The words above the list: what it is, and what the last click did to it. */

import { cut, did, movement, plural, titleOf } from "../elements/format.js";

/**
 * @typedef {import("./state.js").State} State
 * @typedef {{kind: string, item: string, isSame: boolean, nNew: number, nMoved: number, first: string,
 *   totalMs: number | null, clickId: string}} Effect
 */

/** Entries compared: those on the screen. */
const SHOWN = 10;
/** Characters of a title in a sentence. */
const MAX_TITLE = 60;

/**
 * Returns the title of the list and the note below it.
 *
 * @param {{recs: State["recs"], connection: State["connection"], hasProducts: boolean, preparing?: string}} shown
 *   `preparing`: what the bridge does before it can make lists
 * @returns {{title: string, note: string}}
 */
export function shelfWords({ recs, connection, hasProducts, preparing = "" }) {
  if (recs === null) {
    const isWaiting = connection.phase === "connecting" || connection.phase === "live";
    const note = isWaiting
      ? "Waiting for the first list …"
      : "No list yet: the connection is down. Your clicks are kept and sent later.";
    return { title: "For you", note };
  }
  if (recs.items.length === 0) {
    if (preparing !== "") return { title: "For you", note: `No list yet. The shop is still ${preparing}.` };
    const note = hasProducts
      ? "There is no model yet. The list appears after the first training."
      : "The shop has no products yet.";
    return { title: "For you", note };
  }
  if (recs.source === "popular") {
    const why =
      recs.generation === 0
        ? "These products are popular. Click a product to get your own list."
        : "You have no events yet. Click a product to get your own list.";
    return { title: "Popular now", note: why };
  }
  return { title: "For you", note: `from your events, model generation ${recs.generation}` };
}

/**
 * Compares the entries shown before a click with those after it.
 *
 * @param {import("./state.js").Pending} click
 * @param {import("../connection/protocol.js").Recs} list
 * @returns {Effect}
 */
export function effectOf({ id, kind, item, before }, list) {
  const after = list.items.slice(0, SHOWN).map((place) => place.item);
  const fresh = after.filter((each) => !before.includes(each));
  const moved = after.filter((each, at) => before.includes(each) && before.indexOf(each) !== at);
  const isSame = before.length === after.length && fresh.length === 0 && moved.length === 0;
  return {
    ...{ kind, item, isSame, nNew: fresh.length, nMoved: moved.length, first: after[0] ?? "" },
    ...{ totalMs: null, clickId: id },
  };
}

/**
 * Returns the line that ties a click to what it did: "You liked X → 7 new, first: Y".
 *
 * @param {Effect | null} effect
 * @param {State["unchanged"]} unchanged
 * @param {State["items"]} items
 */
export function effectText(effect, unchanged, items) {
  const shown = (/** @type {string} */ id) => cut(titleOf(items, id), MAX_TITLE);
  if (unchanged !== null) {
    return `You ${did(unchanged.kind, shown(unchanged.item))} → your list is the same: this event has no weight, or the model does not know the product.`;
  }
  if (effect === null) return "";
  const cause = `You ${did(effect.kind, shown(effect.item))}`;
  if (effect.isSame) return `${cause} → the same products in the same order: the change of their scores was too small.`;
  if (effect.nNew === 0) return `${cause} → ${effect.nMoved} moved, first: ${shown(effect.first)}`;
  return `${cause} → ${effect.nNew} new, first: ${shown(effect.first)}`;
}

/**
 * Returns the screen-reader announcement of a new list.
 *
 * @param {Pick<State, "recs" | "isFirstList" | "items">} state
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
