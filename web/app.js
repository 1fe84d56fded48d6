// @ts-check
/** Wires the page: what happens becomes actions, actions become state, state becomes the page. */

import { Api } from "./api.js";
import { Outbox } from "./feedback.js";
import { newEventId, newVisitor } from "./ids.js";
import { durableStore, recall, remember } from "./prefs.js";
import { LiveSocket } from "./socket.js";
import { UNCHANGED_AFTER_MS, initialState, reduce } from "./state.js";
import { View } from "./view.js";

/** @typedef {import("./state.js").State} State */

const PAGE = 24;
const POPULAR = 36;
const FETCHES_AT_ONCE = 6;
const RETRY_MS = 4000;

/** When to ask for the list that an event leads to, where it can't be pushed. */
const PULL_AFTER_MS = [250, 1500, 5000];

const token = takeToken();
const api = new Api({ token });
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
  if (next.recs !== before.recs) void ensureItems(mentioned(next));
  if (next.activity !== before.activity) void ensureItems(next.activity.map(({ item }) => item));
  if (hasFirstModel(next) && !hasFirstModel(before)) void refreshWindow();
  if (next.arrival !== null && next.arrival !== before.arrival) measurePaint();
}

/** @param {State} shown */
function hasFirstModel({ pipeline }) {
  return (pipeline?.model?.nInteractions ?? 0) > 0;
}

/** Puts what is popular in front, once a model knows; not under the eyes of somebody who reads. */
async function refreshWindow() {
  const { catalogue, popular } = state;
  const isWindow = !catalogue.query && !catalogue.category && scrollY < innerHeight;
  if (isWindow && popular.items.length === 0 && catalogue.status === "ready") {
    await loadPage({ query: "", category: "", isMore: false });
  }
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

// --- The catalogue -------------------------------------------------------------------------------

/** @type {Map<string, Promise<void>>} */
const fetching = new Map();
/** @type {(() => void)[]} */
const waiting = [];
let nFetching = 0;

/** @param {string[]} ids */
async function ensureItems(ids) {
  const missing = new Set(ids.filter((id) => id && !state.items[id] && !fetching.has(id)));
  await Promise.all(
    [...missing].map((id) => {
      const promise = fetchItem(id).finally(() => fetching.delete(id));
      fetching.set(id, promise);
      return promise;
    }),
  );
}

/** @param {string} id */
async function fetchItem(id) {
  if (nFetching >= FETCHES_AT_ONCE) {
    await new Promise((resolve) => waiting.push(() => resolve(undefined)));
  }
  nFetching += 1;
  try {
    dispatch({ type: "items", items: [await api.item(id)] });
  } catch {
    // Not in the catalogue, or not now: the id is shown, and asked for again with the next list.
  } finally {
    nFetching -= 1;
    waiting.shift()?.();
  }
}

/** The popular products lead where nothing was searched: an alphabet is no shop window. */
async function loadPopular() {
  const ids = await api.popular(POPULAR).catch(() => []);
  await ensureItems(ids);
  dispatch({ type: "popular", ids: ids.filter((id) => state.items[id] !== undefined) });
}

/** @param {{query: string, category: string, isMore: boolean}} page */
async function loadPage({ query, category, isMore }) {
  if (isMore && (state.catalogue.status === "loading" || state.catalogue.next === null)) return;
  const cursor = isMore ? state.catalogue.next : null;
  dispatch({ type: "catalogue-loading", query, category, isMore });
  const isWindow = !query && !category && !isMore;
  try {
    const [page] = await Promise.all([
      api.items({ query, category, cursor, limit: PAGE }),
      isWindow ? loadPopular() : null,
    ]);
    const leading = isWindow ? state.popular.items.map((id) => state.items[id]) : [];
    dispatch({
      ...{ type: "catalogue-page", query, category, isMore, next: page.next },
      items: [...leading, ...page.items],
    });
    const isFilling = isWindow && state.catalogue.items.length === 0;
    if (isFilling) setTimeout(() => void loadCatalogue(), RETRY_MS);
  } catch (error) {
    dispatch({ type: "catalogue-failed", detail: words(error) });
    setTimeout(() => {
      const { catalogue } = state;
      const isAsked = catalogue.query === query && catalogue.category === category;
      if (isAsked && catalogue.status === "failed") void loadPage({ query, category, isMore });
    }, RETRY_MS);
  }
}

async function loadCatalogue() {
  const { query, category } = state.catalogue;
  void loadPage({ query, category, isMore: false });
  try {
    const sizes = Object.entries(await api.categories());
    const categories = sizes
      .sort(([a, m], [b, n]) => n - m || a.localeCompare(b))
      .map(([name, nItems]) => ({ name, nItems }));
    dispatch({ type: "categories", categories });
  } catch {
    // The chips are a convenience; the products say if the catalogue can't be read.
  }
}

/** @param {unknown} error */
function words(error) {
  return error instanceof Error ? error.message : String(error);
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
 * @param {boolean} [isFromList]
 */
function record(type, item, isFromList = false) {
  const [atMs, wallMs] = [performance.now(), Date.now()];
  const event = {
    ...{ id: newEventId(), type, user: state.user, item, session },
    ts: new Date(wallMs).toISOString(),
    ...(isFromList && state.recs?.rec_id ? { rec_id: state.recs.rec_id } : {}),
  };
  dispatch({ type: "clicked", event, atMs, wallMs });
  setTimeout(
    () => dispatch({ type: "waited", atMs: performance.now() }),
    UNCHANGED_AFTER_MS + 50,
  );
  void outbox.add(event);
}

/**
 * @param {string} item
 * @param {"grid" | "shelf" | "similar"} from
 */
async function open(item, from) {
  const place = state.recs?.items.find((candidate) => candidate.item === item);
  record(from === "shelf" ? "click" : "view", item, from === "shelf");
  dispatch({ type: "opened", item });
  if (place !== undefined) dispatch({ type: "explained", item, reasons: place.why });
  void ensureItems([item, ...(place?.why ?? []).flatMap((reason) => reason.item ?? [])]);
  try {
    dispatch({ type: "similar", item, status: "ready", items: await api.similar(item) });
  } catch (error) {
    dispatch({ type: "similar", item, status: "failed", items: [], detail: words(error) });
  }
}

/** Shows what an earlier visit could not send: it is on its way. */
function showQueue() {
  const events = outbox.events
    .filter(({ user }) => user === state.user)
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

/** @param {string} user */
function chooseUser(user) {
  if (user === state.user) return;
  if (token) {
    dispatch({ type: "notice", text: "The token in use says who is shopping." });
    return;
  }
  remember("user", user);
  socket.stop();
  dispatch({ type: "user", user });
  socket = connect(user);
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

/** @param {import("./protocol.js").Message} message */
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

/** @param {import("./socket.js").Status} status */
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
  act: (type, item) => record(type, item),
  close: () => state.opened !== null && dispatch({ type: "closed" }),
  search: (query) => {
    if (query === state.catalogue.query) return;
    void loadPage({ query, category: state.catalogue.category, isMore: false });
  },
  choose: (category) => void loadPage({ query: state.catalogue.query, category, isMore: false }),
  more: () => {
    const { query, category } = state.catalogue;
    void loadPage({ query, category, isMore: true });
  },
  train: () => void train(),
  forget: (item) => record("remove", item),
  chooseUser,
  retry: () => {
    socket.retryNow();
    void outbox.flush();
  },
});

/** @type {LiveSocket} */
let socket = connect(state.user);
view.render(state, state);
void loadCatalogue();
showQueue();
void outbox.start();
addEventListener("online", () => {
  socket.reconnect();
  void outbox.flush();
});
