// @ts-check
/** One visit: who is shopping, the connection to the bridge, and what the visitor can do. */

import { Api } from "../connection/api.js";
import { Impressions } from "../connection/impressions.js";
import { Loading, words } from "../connection/loading.js";
import { Outbox } from "../connection/outbox.js";
import { LiveSocket } from "../connection/socket.js";
import { newEventId, newVisitor } from "../elements/ids.js";
import { TIMERS, debounce, oneAtATime } from "../elements/timing.js";
import { durableStore, recall, remember } from "../state/preferences.js";
import { UNCHANGED_AFTER_MS, initialState } from "../state/state.js";
import { address, setQuery } from "./router.js";
import { Store } from "./store.js";

/** Entries of the main list. The shelves below it show other items. */
const ABOVE = 10;
/** Delay before shelves are requested, so that a burst of lists causes one request. */
const SHELVES_AFTER_MS = 300;
const SHELVES_AT_LATEST_MS = 1500;
/** Delays after which a list is requested over REST when no WebSocket is open. */
const PULL_AFTER_MS = [250, 1500, 5000];
const VISITOR = "visitor-";

let token = takeToken();
const session = newEventId();
export const store = new Store(initialState(firstUser()), { now: () => performance.now() });
export const shown = store.shown;
export const dispatch = store.dispatch;
export const api = new Api({ token });
export const loading = new Loading({ api, state: () => store.state, dispatch });
/** Whether this page acts with a token: its user can't be chosen. */
export const hasToken = () => token !== "";

/** Reads a token from the fragment (`#token=…`) and removes it from the address. A fragment is not sent to servers. */
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  if (found) history.replaceState(null, "", location.pathname + location.search);
  return found;
}

function firstUser() {
  const user = address.value.query.user || recall("user") || newVisitor();
  remember("user", user);
  return user;
}

/** @param {string} user */
export const isVisitor = (user) => user.startsWith(VISITOR);

// --- What the visitor does -----------------------------------------------------------------------

const outbox = new Outbox({
  post: (events) => api.post(events),
  store: durableStore(),
  timers: TIMERS,
  random: Math.random,
  onStatus: (status) => dispatch({ type: "outbox", status }),
  onReceipt: (events, receipt) => {
    const refused = Object.fromEntries(
      receipt.rejected.map(({ id, index, detail }) => [id || events[index]?.id, detail]),
    );
    const ids = events.map(({ id }) => id);
    dispatch({ type: "acknowledged", ids, position: receipt.position, refused });
    if (store.state.connection.phase !== "live") {
      for (const delayMs of PULL_AFTER_MS) setTimeout(() => void pull(), delayMs);
    }
    const [reason] = Object.values(refused);
    if (reason !== undefined) dispatch({ type: "notice", text: `The log refused this: ${reason}` });
  },
});

export const impressions = new Impressions({
  timers: TIMERS,
  send: ({ rec_id: recId, items }) =>
    void outbox.add({
      ...{ id: newEventId(), type: "impression", user: store.state.user, items, session },
      ...{ ts: new Date().toISOString(), rec_id: recId },
    }),
});

/**
 * Sends an event of the visitor.
 *
 * @param {string} type
 * @param {string} item
 * @param {{recId?: string, value?: number}} [more] the list that the item was taken from; the rating
 */
export function record(type, item, { recId = "", value } = {}) {
  const [atMs, wallMs] = [performance.now(), Date.now()];
  const event = {
    ...{ id: newEventId(), type, user: store.state.user, item, session },
    ts: new Date(wallMs).toISOString(),
    ...(recId ? { rec_id: recId } : {}),
    ...(value === undefined ? {} : { value }),
  };
  dispatch({ type: "clicked", event, atMs, wallMs });
  impressions.renew();
  setTimeout(
    () => dispatch({ type: "waited", atMs: performance.now() }),
    UNCHANGED_AFTER_MS + 50,
  );
  void outbox.add(event);
}

/**
 * Opens a product: its address, and an event.
 *
 * @param {string} item
 * @param {"grid" | "shelf" | "because" | "similar"} from
 */
export function open(item, from) {
  const lists = { shelf: store.state.recs?.rec_id, because: store.state.shelves?.rec_id };
  const recId = from === "shelf" || from === "because" ? (lists[from] ?? "") : "";
  // Requested before the click is sent: a clicked item leaves the list, and has no explanation then.
  void show(item);
  record(recId ? "click" : "view", item, { recId });
  setQuery({ item });
}

/**
 * Shows a product without an event, as after a reload.
 *
 * @param {string} item
 */
export async function show(item) {
  dispatch({ type: "opened", item, atMs: performance.now() });
  void loading.items([item]);
  explainPlace(item);
  try {
    const { items, likeness } = await api.similar(item);
    dispatch({ type: "similar", item, status: "ready", items, likeness });
  } catch (error) {
    dispatch({ type: "similar", item, status: "failed", items: [], detail: words(error) });
  }
}

/**
 * Explains an item of the list.
 *
 * @param {string} item
 */
function explainPlace(item) {
  const place = store.state.recs?.items.find((candidate) => candidate.item === item);
  if (place === undefined) return;
  dispatch({ type: "explained", item, reasons: place.why });
  void explain(item);
  void loading.items(place.why.flatMap((reason) => reason.item ?? []));
}

/** Closes the product. */
export function close() {
  if (store.state.opened !== null) dispatch({ type: "closed" });
  if (address.value.query.item) setQuery({ item: null });
}

/** @param {string} item */
async function explain(item) {
  try {
    const explanation = await api.explanation(store.state.user, item);
    dispatch({ type: "explained", item, explanation });
    void loading.items(
      explanation.because.slice(0, ABOVE).map((/** @type {any} */ part) => part.item),
    );
  } catch {
    // Optional: the reasons of the list are already shown.
  }
}

const loadShelves = oneAtATime(async () => {
  try {
    const shelves = await api.shelves(store.state.user, ABOVE);
    const mentions = shelves.shelves.flatMap(({ item, items }) => [item, ...items.map((one) => one.item)]);
    await loading.items(mentions);
    dispatch({ type: "shelves", shelves });
  } catch {
    // The next list requests shelves again.
  }
});

const shelvesSoon = debounce(() => void loadShelves(), SHELVES_AFTER_MS, SHELVES_AT_LATEST_MS);

/** Shows the events that an earlier visit could not send. */
function showQueue() {
  const events = outbox.events
    .filter(({ user, type }) => user === store.state.user && type !== "impression")
    .map(({ id, type, item, ts }) => ({
      ...{ id, type, item, tsMs: Date.parse(ts), partition: null, offset: null },
      ...{ status: "queued", detail: "" },
    }));
  dispatch({ type: "history", user: store.state.user, events: events.reverse() });
}

/** @param {string} user */
async function loadHistory(user) {
  try {
    dispatch({ type: "history", user, events: await api.events(user) });
  } catch {
    // Optional: new events arrive over the socket.
  }
}

/**
 * @param {string} user
 * @param {boolean} isMerging whether the visitor's events become the user's
 */
export async function chooseUser(user, isMerging) {
  if (user === store.state.user) return;
  if (token) {
    dispatch({ type: "notice", text: "The user is set by the token in use." });
    return;
  }
  impressions.flush();
  if (isMerging) await merge(user, store.state.user);
  remember("user", user);
  socket.stop();
  dispatch({ type: "user", user });
  socket = connect(user);
  // The id of a visitor is a secret: who knows it may merge it.
  setQuery({ user: isVisitor(user) ? null : user, item: null });
}

/**
 * @param {string} user
 * @param {string} visitor
 */
async function merge(user, visitor) {
  try {
    await outbox.flush();
    const merged = await api.merge(user, visitor);
    if (merged === 0) return;
    const what = merged === 1 ? "The click" : `The ${merged} clicks`;
    dispatch({ type: "notice", text: `${what} you made as a visitor now belong to this user.` });
  } catch (error) {
    dispatch({ type: "notice", text: `Your events as a visitor could not be moved: ${words(error)}` });
  }
}

/** Requests a training run. */
export async function train() {
  try {
    await api.train();
    dispatch({ type: "notice", text: "Training requested." });
  } catch (error) {
    dispatch({ type: "notice", text: `The training can't be started: ${words(error)}` });
  }
}

/** Connects now and sends what waits. */
export function retry() {
  socket.retryNow();
  void outbox.flush();
}

// --- The bridge ----------------------------------------------------------------------------------

/** @param {import("../connection/protocol.js").Message} message */
function receive(message) {
  switch (message.type) {
    case "recs":
      dispatch({
        ...{ type: "recs", list: message },
        received: { atMs: performance.now(), wallMs: Date.now() },
      });
      break;
    case "welcome":
      // The token determines the user.
      if (token && message.user !== null) dispatch({ type: "user", user: message.user });
      // After the welcome: later events are pushed, earlier ones are read here.
      void loadHistory(store.state.user);
      void outbox.flush();
      break;
    case "pipeline":
    case "log":
    case "gap":
      dispatch({ type: message.type, message });
      break;
    case "error":
      // Errors without a channel end the connection and are reported by its status.
      if (message.ch === null) break;
      dispatch({ type: "error", code: message.code, detail: message.detail });
      break;
    default:
      throw new TypeError(`unknown message ${JSON.stringify(message)}`);
  }
}

/** Requests the list over REST when no WebSocket is open. */
async function pull() {
  try {
    const list = await api.recommendations(store.state.user);
    const received = { atMs: performance.now(), wallMs: Date.now() };
    dispatch({ type: "recs", list, received });
  } catch {
    // The banner already shows that the connection is down.
  }
}

/** @param {import("../connection/socket.js").Status} status */
function connectionChanged(status) {
  dispatch({ type: "connection", status });
  const isLost = status.phase === "failed" || status.retryInMs > 0;
  if (isLost && store.state.recs === null) void pull();
}

/**
 * Opens a WebSocket of its own, for a page that follows something else than the shop does.
 *
 * @param {Pick<import("../connection/socket.js").Options, "subs" | "onMessage" | "onStatus">} options
 */
export function openSocket({ subs, onMessage, onStatus }) {
  return new LiveSocket({
    open: (protocol) => {
      const { protocol: scheme, host } = location;
      return new WebSocket(`${scheme === "https:" ? "wss" : "ws"}://${host}/v1/ws`, protocol);
    },
    identity: () => (token ? { token } : { user: store.state.user }),
    ...{ subs, onMessage, onStatus, timers: TIMERS, random: Math.random },
  });
}

/** @param {string} user */
function connect(user) {
  /** @type {LiveSocket} */
  const made = openSocket({
    subs: [{ ch: "recs" }, { ch: "pipeline" }, ...(token ? [] : [/** @type {const} */ ({ ch: "log", user })])],
    onMessage: (message) => made === socket && receive(message),
    onStatus: (status) => made === socket && connectionChanged(status),
  });
  queueMicrotask(() => made.start());
  return made;
}

/** @type {LiveSocket} */
let socket;

/** Loads what a newly drawn list mentions. */
function follow() {
  let drawn = store.state;
  store.published.subscribe((next) => {
    const before = drawn;
    drawn = next;
    if (next.recs !== null && before.recs === null && next.opened !== null && !next.opened.reasons?.length) {
      // A product's address was opened before the first list came.
      explainPlace(next.opened.item);
    }
    if (next.recs !== before.recs && next.recs !== null) {
      void loading.items(mentioned(next));
      if (next.recs.source !== "popular") shelvesSoon();
    }
    if (next.activity !== before.activity) void loading.items(next.activity.map(({ item }) => item));
    if (hasFirstModel(next) && !hasFirstModel(before)) void loading.window();
  });
}

/** @param {import("../state/state.js").State} state */
function hasFirstModel({ pipeline }) {
  return (pipeline?.model?.nInteractions ?? 0) > 0;
}

/** @param {import("../state/state.js").State} state */
function mentioned({ recs }) {
  return (recs?.items ?? []).slice(0, 12).flatMap(({ item, why }) => [
    item,
    ...why.slice(0, 1).flatMap((reason) => reason.item ?? []),
  ]);
}

/** Connects, sends what an earlier visit left behind, and follows the network. */
export function startSession() {
  follow();
  socket = connect(store.state.user);
  showQueue();
  void loading.eventTypes();
  void outbox.start();
  addEventListener("pagehide", () => impressions.flush());
  // A newer token arrives in the fragment, like the first one.
  addEventListener("hashchange", () => {
    const newer = takeToken();
    if (!newer) return;
    token = newer;
    api.token = newer;
    socket.refresh();
    void outbox.flush();
  });
  addEventListener("online", () => {
    socket.reconnect();
    void outbox.flush();
  });
}
