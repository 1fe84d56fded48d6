// @ts-check
/** Entry point. Events become actions, `reduce` turns actions into state, `View` draws the state. */

import { Api } from "./connection/api.js";
import { Outbox } from "./connection/outbox.js";
import { newEventId, newVisitor } from "./elements/ids.js";
import { Impressions, watchImpressions } from "./connection/impressions.js";
import { Loading, words } from "./connection/loading.js";
import { durableStore, recall, remember } from "./state/preferences.js";
import { LiveSocket } from "./connection/socket.js";
import { UNCHANGED_AFTER_MS, initialState, reduce } from "./state/state.js";
import { Steering } from "./panels/steering-actions.js";
import { View } from "./view/view.js";

/** @typedef {import("./state/state.js").State} State */

/** Entries of the main list. The shelves below it show other items. */
const ABOVE = 10;
/** Delay before shelves are requested, so that a burst of lists causes one request. */
const SHELVES_AFTER_MS = 300;

/** Delays after which a list is requested over REST when no WebSocket is open. */
const PULL_AFTER_MS = [250, 1500, 5000];

let token = takeToken();
const api = new Api({ token });
const loading = new Loading({ api, state: () => state, dispatch });
const session = newEventId();
const timers = {
  setTimeout: (/** @type {() => void} */ run, /** @type {number} */ ms) => setTimeout(run, ms),
  clearTimeout: (/** @type {any} */ id) => clearTimeout(id),
};

let state = initialState(firstUser());
/** The state drawn last. The first call of `draw` draws everything. */
let drawn = state;
let isDrawing = false;

/** @param {Record<string, any>} action */
function dispatch(action) {
  state = reduce(state, action);
  if (isDrawing) return;
  isDrawing = true;
  queueMicrotask(draw);
}

function draw() {
  isDrawing = false;
  const [next, before] = [state, drawn];
  drawn = next;
  view.render(next, before);
  if (next.recs !== before.recs) {
    void loading.items(mentioned(next));
    shelvesSoon();
  }
  if (next.activity !== before.activity) void loading.items(next.activity.map(({ item }) => item));
  if (hasFirstModel(next) && !hasFirstModel(before)) void loading.window();
  if (next.arrival !== null && next.arrival !== before.arrival) measurePaint();
}

/** @param {State} shown */
function hasFirstModel({ pipeline }) {
  return (pipeline?.model?.nInteractions ?? 0) > 0;
}

/** Measures the time of the frame after the new order was drawn. */
function measurePaint() {
  const painted = () => dispatch({ type: "painted", atMs: performance.now() });
  if (document.hidden) {
    painted();
    return;
  }
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = painted;
    channel.port2.postMessage(null);
  });
}

/** @param {State} shown */
function mentioned({ recs }) {
  return (recs?.items ?? []).slice(0, 12).flatMap(({ item, why }) => [
    item,
    ...why.slice(0, 1).flatMap((reason) => reason.item ?? []),
  ]);
}

/** Reads a token from the fragment (`#token=…`) and removes it from the address. A fragment is not sent to servers. */
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  if (found) history.replaceState(null, "", location.pathname + location.search);
  return found;
}

function firstUser() {
  const asked = new URLSearchParams(location.search).get("user");
  const user = asked || recall("user") || newVisitor();
  remember("user", user);
  return user;
}

// --- What the visitor does -----------------------------------------------------------------------

const outbox = new Outbox({
  post: (events) => api.post(events),
  store: durableStore(),
  timers,
  random: Math.random,
  onStatus: (status) => dispatch({ type: "outbox", status }),
  onReceipt: (events, receipt) => {
    const refused = Object.fromEntries(
      receipt.rejected.map(({ id, index, detail }) => [id || events[index]?.id, detail]),
    );
    const ids = events.map(({ id }) => id);
    dispatch({ type: "acknowledged", ids, position: receipt.position, refused });
    if (state.connection.phase !== "live") {
      for (const delayMs of PULL_AFTER_MS) setTimeout(() => void pull(), delayMs);
    }
    const [reason] = Object.values(refused);
    if (reason !== undefined) dispatch({ type: "notice", text: `The log refused this: ${reason}` });
  },
});

/**
 * @param {string} type
 * @param {string} item
 * @param {string} [recId] the list that the item was taken from
 */
function record(type, item, recId = "") {
  const [atMs, wallMs] = [performance.now(), Date.now()];
  const event = {
    ...{ id: newEventId(), type, user: state.user, item, session },
    ts: new Date(wallMs).toISOString(),
    ...(recId ? { rec_id: recId } : {}),
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
 * @param {string} item
 * @param {import("./view/cards.js").From} from
 */
async function open(item, from) {
  const place = state.recs?.items.find((candidate) => candidate.item === item);
  const lists = { shelf: state.recs?.rec_id, because: state.shelves?.rec_id };
  const recId = from === "shelf" || from === "because" ? (lists[from] ?? "") : "";
  // Requested before the click is sent: a clicked item leaves the list, and has no explanation then.
  if (place !== undefined) void explain(item);
  record(recId ? "click" : "view", item, recId);
  dispatch({ type: "opened", item });
  if (place !== undefined) dispatch({ type: "explained", item, reasons: place.why });
  void loading.items([item, ...(place?.why ?? []).flatMap((reason) => reason.item ?? [])]);
  try {
    const { items, likeness } = await api.similar(item);
    dispatch({ type: "similar", item, status: "ready", items, likeness });
  } catch (error) {
    dispatch({ type: "similar", item, status: "failed", items: [], detail: words(error) });
  }
}

/** @param {string} item */
async function explain(item) {
  try {
    const explanation = await api.explanation(state.user, item);
    dispatch({ type: "explained", item, explanation });
    void loading.items(
      explanation.because.slice(0, ABOVE).map((/** @type {any} */ part) => part.item),
    );
  } catch {
    // Optional: the reasons of the list are already shown.
  }
}

/** @type {any} */
let shelvesTimer = null;

/** Requests the shelves of the list shown, after the last list of a burst. */
function shelvesSoon() {
  clearTimeout(shelvesTimer);
  if (state.recs === null || state.recs.source === "popular") return;
  shelvesTimer = setTimeout(() => void loadShelves(), SHELVES_AFTER_MS);
}

async function loadShelves() {
  try {
    const shelves = await api.shelves(state.user, ABOVE);
    const mentions = shelves.shelves.flatMap(({ item, items }) => [item, ...items.map((one) => one.item)]);
    await loading.items(mentions);
    dispatch({ type: "shelves", shelves });
  } catch {
    // The next list requests shelves again.
  }
}

const impressions = new Impressions({
  timers,
  send: ({ rec_id: recId, items }) =>
    void outbox.add({
      ...{ id: newEventId(), type: "impression", user: state.user, items, session },
      ...{ ts: new Date().toISOString(), rec_id: recId },
    }),
});

/** Shows the events that an earlier visit could not send. */
function showQueue() {
  const events = outbox.events
    .filter(({ user, type }) => user === state.user && type !== "impression")
    .map(({ id, type, item, ts }) => ({
      ...{ id, type, item, tsMs: Date.parse(ts), partition: null, offset: null },
      ...{ status: "queued", detail: "" },
    }));
  dispatch({ type: "history", user: state.user, events: events.reverse() });
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
async function chooseUser(user, isMerging) {
  if (user === state.user) return;
  if (token) {
    dispatch({ type: "notice", text: "The user is set by the token in use." });
    return;
  }
  impressions.flush();
  if (isMerging) await merge(user, state.user);
  remember("user", user);
  socket.stop();
  dispatch({ type: "user", user });
  socket = connect(user);
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

async function train() {
  try {
    await api.train();
    dispatch({ type: "notice", text: "Training requested." });
  } catch (error) {
    dispatch({ type: "notice", text: `The training can't be started: ${words(error)}` });
  }
}

// --- The bridge ----------------------------------------------------------------------------------

/** @param {import("./connection/protocol.js").Message} message */
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
      void loadHistory(state.user);
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
    const list = await api.recommendations(state.user);
    const received = { atMs: performance.now(), wallMs: Date.now() };
    dispatch({ type: "recs", list, received });
  } catch {
    // The banner already shows that the connection is down.
  }
}

/** @param {import("./connection/socket.js").Status} status */
function connectionChanged(status) {
  dispatch({ type: "connection", status });
  const isStuck = status.phase === "failed" || status.attempt === 2;
  if (isStuck && state.recs === null) void pull();
}

/** @param {string} user */
function connect(user) {
  /** @type {LiveSocket} */
  const made = new LiveSocket({
    open: (protocol) => {
      const { protocol: scheme, host } = location;
      return new WebSocket(`${scheme === "https:" ? "wss" : "ws"}://${host}/v1/ws`, protocol);
    },
    identity: () => (token ? { token } : { user }),
    subs: [{ ch: "recs" }, { ch: "pipeline" }, ...(token ? [] : [{ ch: "log", user }])],
    onMessage: (message) => made === socket && receive(message),
    onStatus: (status) => made === socket && connectionChanged(status),
    timers,
    random: Math.random,
  });
  queueMicrotask(() => made.start());
  return made;
}

const view = new View(document.body, {
  open: (item, from) => void open(item, from),
  act: (type, item, recId) => record(type, item, recId),
  close: () => state.opened !== null && dispatch({ type: "closed" }),
  search: (query) => {
    if (query === state.catalogue.query) return;
    void loading.page({ query, category: state.catalogue.category, isMore: false });
  },
  choose: (category) =>
    void loading.page({ query: state.catalogue.query, category, isMore: false }),
  more: () => {
    const { query, category } = state.catalogue;
    void loading.page({ query, category, isMore: true });
  },
  steer: new Steering({ api, state: () => state, dispatch, now: () => performance.now() }),
  train: () => void train(),
  forget: (item) => record("remove", item),
  chooseUser: (user, isMerging) => void chooseUser(user, isMerging),
  retry: () => {
    socket.retryNow();
    void outbox.flush();
  },
});

/** @type {LiveSocket} */
let socket = connect(state.user);
view.render(state, state);
void loading.catalogue();
showQueue();
watchImpressions(view.lists, (recId, item) => impressions.seen(recId, item));
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
void outbox.start();
addEventListener("online", () => {
  socket.reconnect();
  void outbox.flush();
});
