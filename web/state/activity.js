// @ts-check
/** The user's events as the page lists them: from this page, from the log, from before. */

/**
 * @typedef {import("./state.js").State} State
 * @typedef {import("./state.js").Activity} Activity
 * @typedef {import("../connection/protocol.js").LogMessage} LogMessage
 */

export const ACTIVITY_KEPT = 40;

/**
 * Returns the state after a record of the user's events was read from the log. It may come from this
 * page, another tab or another program.
 *
 * @param {State} state
 * @param {LogMessage} message
 */
export function withLogged(state, { key, partition, offset, ts, value }) {
  if (key !== state.user || typeof value?.id !== "string") return state;
  if (value.type === "impression") return state;
  const { id, type, item } = value;
  const entry = state.activity.find((known) => known.id === id);
  if (entry !== undefined) {
    if (entry.status === "logged") return state;
    const logged = { ...entry, partition, offset, status: /** @type {const} */ ("logged") };
    return {
      ...state,
      activity: state.activity.map((known) => (known.id === id ? logged : known)),
    };
  }
  const reactions = withReaction(state.reactions, { type, item: item ?? "" });
  return withHistory({ ...state, reactions }, [
    {
      ...{ id, type, item: item ?? "", tsMs: Date.parse(value.ts) || ts, partition, offset },
      ...{ status: /** @type {const} */ ("logged"), detail: "" },
    },
  ]);
}

/**
 * @param {Record<string, string>} reactions what the visitor said last about an item
 * @param {{type: string, item: string}} event
 */
export function withReaction(reactions, { type, item }) {
  if (type === "click" || type === "view") return reactions;
  if (type === "remove") {
    const { [item]: _, ...rest } = reactions;
    return rest;
  }
  return { ...reactions, [item]: type };
}

/**
 * @param {State} state
 * @param {Activity[]} events newest first
 */
export function withHistory(state, events) {
  const here = new Set(state.activity.map(({ id }) => id));
  const before = events.filter(({ id, type }) => type !== "impression" && !here.has(id));
  const logged = new Map(events.filter(({ status }) => status === "logged").map((e) => [e.id, e]));
  const activity = [...state.activity.map((entry) => logged.get(entry.id) ?? entry), ...before]
    .sort((a, b) => b.tsMs - a.tsMs)
    .slice(0, ACTIVITY_KEPT);
  const reactions = [...before].reverse().reduce(withReaction, {});
  return { ...state, activity, reactions: { ...reactions, ...state.reactions } };
}
