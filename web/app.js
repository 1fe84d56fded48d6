// @ts-check
/** Wires the page: what happens becomes actions, actions become state, state becomes the page. */

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

/** Places of the list above the shelves: those are of what comes after them. */
const ABOVE = 10;
/** Lists that come in a burst ask for one set of shelves. */
const SHELVES_AFTER_MS = 300;

/** When to ask for the list that an event leads to, where it can't be pushed. */
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
/** What the page shows now; the first drawing draws everything. */
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

/** Measures when the new order is on the screen: after the frame in which it was drawn. */
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

/** Takes a token out of the address (`#token=…`), where it reaches no server and no history. */
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
  // Asked before the click is sent: with the click in the history, the item has no place any more.
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
    // The reasons of the list are there; the sum behind them is an extra.
  }
}

/** @type {any} */
let shelvesTimer = null;

/** Asks for the shelves that go with the list shown, once lists stop coming. */
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
    // Shelves come again with the next list.
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

/** Shows what an earlier visit could not send: it is on its way. */
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
    // What happens from now on comes over the socket; the past is not worth an alarm.
  }
}

/**
 * @param {string} user
 * @param {boolean} isMerging what was done so far becomes the user's
 */
async function chooseUser(user, isMerging) {
  if (user === state.user) return;
  if (token) {
    dispatch({ type: "notice", text: "The token in use says who is shopping." });
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
    dispatch({ type: "notice", text: `${what} you made as a visitor came along.` });
  } catch (error) {
    dispatch({ type: "notice", text: `What you did as a visitor stays there: ${words(error)}` });
  }
}

async function train() {
  try {
    await api.train();
    dispatch({ type: "notice", text: "Training was asked for; the trainer picks it up." });
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
      // A token says who its bearer is, whoever shopped here before.
      if (token && message.user !== null) dispatch({ type: "user", user: message.user });
      // Only now: what is appended from here on is pushed, what was appended before is read.
      void loadHistory(state.user);
      void outbox.flush();
      break;
    case "pipeline":
    case "log":
    case "gap":
      dispatch({ type: message.type, message });
      break;
    case "error":
      // What ends the connection is told by the connection; the rest concerns one subscription.
      if (message.ch === null) break;
      dispatch({ type: "error", code: message.code, detail: message.detail });
      break;
    default:
      throw new TypeError(`unknown message ${JSON.stringify(message)}`);
  }
}

/** Asks for the list where nothing is pushed: events get through, but no WebSocket does. */
async function pull() {
  try {
    const list = await api.recommendations(state.user);
    const received = { atMs: performance.now(), wallMs: Date.now() };
    dispatch({ type: "recs", list, received });
  } catch {
    // The banner already says that the connection is down.
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
// A newer token comes the way the first one did; the connection goes on, or comes back, with it.
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
