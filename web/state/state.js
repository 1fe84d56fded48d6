// @ts-check
/**
 * The state of the page, and `reduce`, the one function that changes it.
 *
 * `reduce` is pure: no clock, no network, no DOM. Messages of the bridge and actions of the user are both
 * actions; an unknown type throws.
 */

import { ACTIVITY_KEPT, withHistory, withLogged, withReaction } from "./activity.js";
import { NOTHING, reduceCatalogue } from "./catalogue.js";
import { UNKNOWN_CLOCK, narrow, trace } from "./latency.js";
import { effectOf } from "./shelf-words.js";
import { NO_STEERING, reduceSteering } from "./steering.js";

/**
 * @typedef {import("../connection/protocol.js").Recs} Recs
 * @typedef {import("../connection/protocol.js").Message} Message
 * @typedef {import("./latency.js").Click} Click
 * @typedef {import("./latency.js").Trace} Trace
 * @typedef {import("../connection/socket.js").Status} SocketStatus
 * @typedef {import("../connection/messages.d.ts").Item & {isMissing?: boolean}} Item
 * @typedef {"idle" | "loading" | "ready" | "failed"} LoadStatus
 * @typedef {{status: LoadStatus, items: string[], error: string}} Loaded
 * @typedef {Loaded & {query: string, category: string, next: string | null}} Catalogue
 * @typedef {{id: string, type: string, item: string, tsMs: number, partition: number | null,
 *   offset: number | null, index?: number, status: "queued" | "logged" | "refused", detail: string}} Activity
 * @typedef {import("./steering.js").Steer} Steer
 * @typedef {import("../connection/protocol.js").Shelves} Shelves
 * @typedef {Click & {user: string, position: {partition: number, offset: number} | null,
 *   before: string[], isDelayed: boolean}} Pending `before`: the entries shown when it was made;
 *   `isDelayed`: it waited for a connection, so its latency says nothing about the pipeline
 * @typedef {{click: Pending, recs: Recs, receivedMs: number, receivedWallMs: number}} Arrival
 * @typedef {{item: string, similar: Loaded, likeness: Record<string, Likeness[]>,
 *   reasons: import("../connection/protocol.js").Reason[] | null, explanation: import("./explanation.js").Explanation | null}} Opened
 * @typedef {{kind: string, share: number, shared?: string[]}} Likeness
 * @typedef {import("../connection/protocol.js").Pipeline} Pipeline
 * @typedef {{
 *   user: string,
 *   connection: SocketStatus,
 *   recs: Recs | null,
 *   isFirstList: boolean,
 *   pending: Pending[],
 *   arrival: Arrival | null,
 *   lastTrace: Trace | null,
 *   unchanged: Pending | null,
 *   effect: import("./shelf-words.js").Effect | null,
 *   totalsMs: number[],
 *   clock: import("./latency.js").Clock,
 *   outbox: import("../connection/outbox.js").OutboxStatus,
 *   pipeline: Pipeline | null,
 *   activity: Activity[],
 *   nMissed: number,
 *   reactions: Record<string, string>,
 *   items: Record<string, Item>,
 *   categories: {name: string, nItems: number}[],
 *   eventTypes: string[] | null,
 *   catalogue: Catalogue,
 *   popular: Loaded,
 *   opened: Opened | null,
 *   shelves: Shelves | null,
 *   steer: Steer,
 *   fresh: Record<string, number>,
 *   notice: {text: string, serial: number},
 * }} State
 */

/** How many clicks the page's median is taken over. */
const TOTALS_KEPT = 200;
const PENDING_KEPT = 50;
/** Entries of a list on the screen. */
const SHOWN = 10;

/** A click whose list has not come after this long changed nothing that is shown. */
export const UNCHANGED_AFTER_MS = 3000;

/**
 * Returns the initial state.
 *
 * @param {string} user
 * @returns {State}
 */
export function initialState(user) {
  return {
    user,
    connection: { phase: "connecting", attempt: 0, retryInMs: 0, detail: "" },
    recs: null,
    isFirstList: true,
    pending: [],
    arrival: null,
    lastTrace: null,
    unchanged: null,
    effect: null,
    totalsMs: [],
    clock: UNKNOWN_CLOCK,
    outbox: { queued: 0, trouble: "", retryInMs: 0 },
    pipeline: null,
    activity: [],
    nMissed: 0,
    reactions: {},
    items: {},
    categories: [],
    eventTypes: null,
    catalogue: { ...NOTHING, query: "", category: "", next: null },
    popular: NOTHING,
    opened: null,
    shelves: null,
    steer: NO_STEERING,
    fresh: {},
    notice: { text: "", serial: 0 },
  };
}

/**
 * Returns whether a list replaces the one shown: same user, and newer. Offsets of two epochs can't be
 * compared; the bridge sends lists of its current log only.
 *
 * @param {Recs | null} shown
 * @param {Recs} list
 */
export function isNewer(shown, list) {
  if (shown === null || shown.epoch !== list.epoch) return true;
  if (list.generation !== shown.generation) return list.generation > shown.generation;
  if (list.offset !== shown.offset) return list.offset > shown.offset;
  // Sent again: a product has left the list, or the bridge could not make one before.
  return list.items.length !== shown.items.length || list.items.some(({ item }, at) => item !== shown.items[at].item);
}

/**
 * Returns the clicks that a list includes.
 *
 * @param {Recs} list
 * @param {Pending} click
 */
function answers(list, click) {
  if (click.user !== list.user) return false;
  if (list.lineage.event_id === click.id) return true;
  return (
    click.position !== null &&
    list.as_of !== null &&
    list.as_of.partition === click.position.partition &&
    list.as_of.offset >= click.position.offset
  );
}

/**
 * @param {State} state
 * @param {Recs} list
 * @param {{atMs: number, wallMs: number}} received
 * @returns {State}
 */
function receive(state, list, received) {
  if (list.user !== state.user || !isNewer(state.recs, list)) return state;
  const click = state.pending.find(({ id }) => id === list.lineage.event_id);
  const answered = state.pending.filter((pending) => answers(list, pending)).at(-1);
  const isMeasurable = click !== undefined && list.lineage.published_ts > 0;
  return {
    ...state,
    recs: list,
    isFirstList: state.recs === null,
    pending: state.pending.filter((pending) => !answers(list, pending)),
    unchanged: null,
    effect: answered === undefined ? state.effect : effectOf(answered, list),
    clock: isMeasurable
      ? narrow(state.clock, click, list.lineage, received.wallMs)
      : state.clock,
    arrival: isMeasurable
      ? { click, recs: list, receivedMs: received.atMs, receivedWallMs: received.wallMs }
      : state.arrival,
  };
}

/**
 * @param {State} state
 * @param {number} paintedMs
 * @returns {State}
 */
function painted(state, paintedMs) {
  if (state.arrival === null) return state;
  const { click, recs, receivedMs } = state.arrival;
  const lastTrace = trace(click, recs.lineage, { receivedMs, paintedMs, clock: state.clock });
  return {
    ...state,
    arrival: null,
    lastTrace,
    totalsMs: click.isDelayed
      ? state.totalsMs
      : [...state.totalsMs, lastTrace.totalMs].slice(-TOTALS_KEPT),
  };
}

/**
 * @param {State} state
 * @param {string[]} ids
 * @param {{epoch: string, offsets: Record<string, number>} | null} position
 * @param {Record<string, string>} refused reason by id
 * @returns {State}
 */
function acknowledged(state, ids, position, refused) {
  const offsets = Object.entries(position?.offsets ?? {});
  const place =
    offsets.length === 1 ? { partition: Number(offsets[0][0]), offset: offsets[0][1] } : null;
  const known = new Set(ids);
  const pending = state.pending
    .filter(({ id }) => refused[id] === undefined)
    .map((click) => (known.has(click.id) ? { ...click, position: place } : click))
    .filter((click) => state.recs === null || !answers(state.recs, click));
  const activity = state.activity.map((entry) => {
    if (!known.has(entry.id)) return entry;
    if (refused[entry.id] !== undefined) {
      return { ...entry, status: /** @type {const} */ ("refused"), detail: refused[entry.id] };
    }
    return { ...entry, ...place, status: /** @type {const} */ ("logged") };
  });
  return { ...state, pending, activity };
}

/**
 * Returns the state after one action. Unchanged parts keep their identity, so that the view skips them.
 *
 * @param {State} state
 * @param {Record<string, any>} action
 * @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "welcome":
      return state;
    case "gap":
      return { ...state, nMissed: state.nMissed + action.message.to - action.message.from + 1 };
    case "log":
      return withLogged(state, action.message);
    case "recs":
      return receive(state, /** @type {Recs} */ (action.list), action.received);
    case "pipeline":
      return isOlder(action.message, state.pipeline)
        ? state
        : { ...state, pipeline: action.message };
    case "error":
      return notify(state, action.detail || action.code);

    case "connection": {
      const isLive = action.status.phase === "live";
      return { ...state, connection: action.status, pending: isLive ? state.pending : delayed(state.pending) };
    }
    case "outbox": {
      const isFlowing = action.status.trouble === "";
      return { ...state, outbox: action.status, pending: isFlowing ? state.pending : delayed(state.pending) };
    }
    case "event-types":
      return { ...state, eventTypes: action.types };
    case "user": {
      const { user } = action;
      if (user === state.user) return state;
      const { connection, items, categories, eventTypes, catalogue, popular, pipeline } = state;
      const { outbox, totalsMs, clock, steer, fresh } = state;
      return {
        ...initialState(user),
        connection,
        items,
        categories,
        eventTypes,
        catalogue,
        popular,
        pipeline,
        outbox,
        totalsMs,
        clock,
        steer,
        fresh,
        notice: state.notice,
      };
    }

    case "clicked": {
      const { event, atMs, wallMs } = action;
      const click = { id: event.id, item: event.item, kind: event.type, user: event.user };
      return {
        ...state,
        pending: [
          ...state.pending,
          {
            ...{ ...click, atMs, wallMs, position: null },
            before: (state.recs?.items ?? []).slice(0, SHOWN).map((place) => place.item),
            isDelayed: state.connection.phase !== "live" || state.outbox.trouble !== "",
          },
        ].slice(-PENDING_KEPT),
        reactions: withReaction(state.reactions, event),
        activity: [
          {
            ...{ id: event.id, type: event.type, item: event.item, tsMs: wallMs },
            ...{ partition: null, offset: null, status: /** @type {const} */ ("queued"), detail: "" },
          },
          ...state.activity,
        ].slice(0, ACTIVITY_KEPT),
      };
    }
    case "acknowledged":
      return acknowledged(state, action.ids, action.position, action.refused);
    case "painted":
      return painted(state, action.atMs);
    case "waited": {
      const isOver = (/** @type {Pending} */ click) =>
        click.position !== null && action.atMs - click.atMs >= UNCHANGED_AFTER_MS;
      const over = state.pending.filter(isOver);
      if (over.length === 0) return state;
      return {
        ...state,
        pending: state.pending.filter((click) => !isOver(click)),
        unchanged: over[over.length - 1],
      };
    }
    case "history":
      return action.user === state.user ? withHistory(state, action.events) : state;

    case "notice":
      return notify(state, action.text);
    case "shelves":
      return action.shelves.user === state.user ? { ...state, shelves: action.shelves } : state;
    default: {
      const next = reduceCatalogue(state, action) ?? reduceSteering(state, action);
      if (next !== undefined) return next;
      throw new TypeError(`unknown action type ${JSON.stringify(action.type)}`);
    }
  }
}

/**
 * @param {Pending[]} pending
 * @returns {Pending[]}
 */
function delayed(pending) {
  return pending.some(({ isDelayed }) => !isDelayed)
    ? pending.map((click) => ({ ...click, isDelayed: true }))
    : pending;
}

/**
 * @param {Pipeline} message
 * @param {Pipeline | null} shown
 */
function isOlder(message, shown) {
  return shown !== null && shown.epoch === message.epoch && message.offset < shown.offset;
}

/**
 * @param {State} state
 * @param {string} text
 */
function notify(state, text) {
  return { ...state, notice: { text, serial: state.notice.serial + 1 } };
}
