// @ts-check
/** Messages and actions for the tests, with every field in place. */

import { initialState, reduce } from "../../web/state/state.js";

/** @param {Record<string, any>} [change] */
export function recs(change = {}) {
  return {
    type: "recs",
    rec_id: "r-1",
    user: "u1",
    epoch: "A",
    partition: 0,
    offset: 10,
    generation: 3,
    delta: 0,
    as_of: { partition: 0, offset: 100 },
    source: "fold-in",
    items: [{ item: "p1", rank: 1, was: 0, score: 1, why: [] }],
    lineage: { event_id: "", event_ts: 0, appended_ts: 0, folded_ts: 0, published_ts: 0 },
    ...change,
  };
}

/** @param {string[]} ids */
export const places = (ids) => ids.map((item, at) => ({ item, rank: at + 1, was: 0, score: 1, why: [] }));

/**
 * @param {Record<string, any>} list
 * @param {number} [atMs]
 */
export function arrival(list, atMs = 0) {
  return { type: "recs", list, received: { atMs, wallMs: 1_000_000 + atMs } };
}

/**
 * @param {string} id
 * @param {number} atMs
 * @param {Record<string, any>} [change]
 */
export function clicked(id, atMs, change = {}) {
  const event = { id, type: "view", user: "u1", item: "p9", ts: "", ...change };
  return { type: "clicked", event, atMs, wallMs: 1_000_000 + atMs };
}

/**
 * @param {Record<string, any>[]} actions
 * @param {import("../../web/state/state.js").State} [state]
 */
export function play(actions, state = live(initialState("u1"))) {
  return actions.reduce(reduce, state);
}

/** @param {import("../../web/state/state.js").State} state */
function live(state) {
  return { ...state, connection: { ...state.connection, phase: /** @type {const} */ ("live") } };
}
