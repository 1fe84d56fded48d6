// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import { UNCHANGED_AFTER_MS, initialState, isNewer, reduce } from "../../web/state/state.js";
import { arrival, clicked, places, play, recs } from "./samples.mjs";

/** @param {any} value */
function freeze(value) {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(freeze);
  }
  return value;
}

test("an unknown action type throws and names it", () => {
  assert.throws(() => reduce(initialState("u1"), { type: "mystery" }), /"mystery"/);
});

test("an older offset never replaces a newer list", () => {
  const state = play([arrival(recs({ offset: 10 })), arrival(recs({ offset: 9, rec_id: "late" }))]);

  assert.equal(state.recs?.rec_id, "r-1");
});

test("an older generation never replaces a newer one, whatever its offset", () => {
  const state = play([
    arrival(recs({ generation: 4, offset: 10 })),
    arrival(recs({ generation: 3, offset: 11, rec_id: "late" })),
  ]);

  assert.equal(state.recs?.rec_id, "r-1");
});

test("lists in any order and any number end in the newest", () => {
  const lists = [1, 2, 3, 4].flatMap((generation) =>
    [0, 1, 2].map((i) => recs({ generation, offset: generation * 10 + i })),
  );
  for (let seed = 1; seed <= 200; seed += 1) {
    const order = lists
      .concat(lists.slice(0, seed % 7))
      .map((list, i) => ({ list, key: Math.imul(seed * 31 + i, 2654435761) >>> 0 }))
      .sort((a, b) => a.key - b.key)
      .map(({ list }) => arrival(list));

    assert.equal(play(order).recs?.offset, 42);
  }
});

test("a list of another epoch replaces the one shown: the log was wiped", () => {
  assert.ok(isNewer(/** @type {any} */ (recs()), /** @type {any} */ (recs({ epoch: "B", offset: 0 }))));
});

test("a list that is sent again is shown if its items differ", () => {
  const first = arrival(recs({ offset: -1, items: [] }));
  const again = arrival(recs({ offset: -1, items: places(["a", "b"]) }), 5);
  const shown = play([first, again]);

  assert.deepEqual(shown.recs?.items.map(({ item }) => item), ["a", "b"]);
  assert.equal(reduce(shown, again), shown);
});

test("a list of another user changes nothing", () => {
  const state = initialState("u1");

  assert.equal(reduce(state, arrival(recs({ user: "u2" }))), state);
});

test("a snapshot and then live lists are shown as they come", () => {
  const state = play([arrival(recs({ offset: 5 })), arrival(recs({ offset: 6 }))]);

  assert.equal(state.recs?.offset, 6);
  assert.equal(state.isFirstList, false);
});

test("the same actions give the same state and change none of their inputs", () => {
  const actions = [
    clicked("e1", 5),
    { type: "acknowledged", ids: ["e1"], position: { epoch: "A", offsets: { 0: 101 } }, refused: {} },
    arrival(recs({ offset: 11, as_of: { partition: 0, offset: 101 } }), 20),
    { type: "painted", atMs: 22 },
    { type: "items", items: [{ item: "p1", title: "Mug", category: "kitchen" }] },
    { type: "opened", item: "p1" },
    { type: "similar", item: "p1", status: "ready", items: [{ item: "p2" }] },
    { type: "closed" },
    { type: "user", user: "u2" },
  ].map(freeze);
  let state = freeze(initialState("u1"));

  for (const action of actions) state = freeze(reduce(state, action));

  assert.deepEqual(state, play(actions, initialState("u1")));
});

test("the list of a click gives its trace once it is painted", () => {
  const lineage = {
    ...{ event_id: "e1", event_ts: 1_000_005 },
    ...{ appended_ts: 1_000_008, folded_ts: 1_000_010, published_ts: 1_000_011 },
  };
  const state = play([
    clicked("e1", 5),
    arrival(recs({ lineage }), 13),
    { type: "painted", atMs: 15 },
  ]);

  assert.equal(state.lastTrace?.totalMs, 10);
  assert.deepEqual(
    state.lastTrace?.steps.map(({ name, toMs }) => [name, toMs]),
    [["log", 3], ["fold", 5], ["publish", 6], ["push", 8], ["paint", 10]],
  );
  assert.deepEqual(state.totalsMs, [10]);
  assert.equal(state.pending.length, 0);
});

test("painting without an arrival measures nothing", () => {
  const state = play([arrival(recs()), { type: "painted", atMs: 9 }]);

  assert.deepEqual(state.totalsMs, []);
});

test("a list settles every click it knows of, not only the one that it names", () => {
  const position = { epoch: "A", offsets: { 0: 101 } };
  const state = play([
    clicked("e1", 1),
    { type: "acknowledged", ids: ["e1"], position, refused: {} },
    clicked("e2", 2),
    arrival(
      recs({ as_of: { partition: 0, offset: 102 }, lineage: { ...recs().lineage, event_id: "e2" } }),
      3,
    ),
  ]);

  assert.deepEqual(state.pending, []);
});

test("an answer that comes after its list still settles the click", () => {
  const position = { epoch: "A", offsets: { 0: 100 } };
  const state = play([
    clicked("e1", 1),
    arrival(recs({ as_of: { partition: 0, offset: 100 } }), 3),
    { type: "acknowledged", ids: ["e1"], position, refused: {} },
  ]);

  assert.deepEqual(state.pending, []);
});

test("a click that changed no list is called unchanged after a while, and only once it is in the log", () => {
  const waited = { type: "waited", atMs: 1 + UNCHANGED_AFTER_MS };
  const position = { epoch: "A", offsets: { 0: 101 } };

  const queued = play([clicked("e1", 1), waited]);
  const logged = play([
    clicked("e1", 1),
    { type: "acknowledged", ids: ["e1"], position, refused: {} },
    waited,
  ]);

  assert.equal(queued.pending.length, 1);
  assert.equal(logged.pending.length, 0);
  assert.equal(logged.unchanged?.id, "e1");
});

test("a refused event says why and waits for no list", () => {
  const state = play([
    clicked("e1", 1),
    { type: "acknowledged", ids: ["e1"], position: null, refused: { e1: "unknown item" } },
  ]);

  assert.deepEqual(state.pending, []);
  assert.equal(state.activity[0].status, "refused");
  assert.equal(state.activity[0].detail, "unknown item");
});

test("an event seen in the log gets its position, and shows once", () => {
  const message = {
    ...{ type: "log", topic: "recstream.interactions", partition: 2, offset: 77, ts: 1, key: "u1" },
    value: { id: "e1", type: "view", user: "u1", item: "p9", ts: "2026-01-01T00:00:00Z" },
  };
  const state = play([clicked("e1", 1), { type: "log", message }, { type: "log", message }]);

  assert.equal(state.activity.length, 1);
  assert.equal(state.activity[0].offset, 77);
  assert.equal(state.activity[0].status, "logged");
});

test("an event that waited gets its position from the history, wherever it was sent from", () => {
  const read = {
    ...{ id: "e1", type: "view", item: "p9", tsMs: 1_000_001, partition: 1, offset: 9 },
    ...{ status: "logged", detail: "" },
  };
  const state = play([clicked("e1", 1), { type: "history", user: "u1", events: [read] }]);

  assert.deepEqual(state.activity, [read]);
});

test("what was on the screen is no event of the visitor's, nor a reaction", () => {
  const read = {
    ...{ id: "e1", type: "impression", item: "p9", tsMs: 1_000_001, partition: 1, offset: 9 },
    ...{ status: "logged", detail: "" },
  };
  const state = play([{ type: "history", user: "u1", events: [read] }]);

  assert.deepEqual(state.activity, []);
  assert.deepEqual(state.reactions, {});
});

test("an event of another tab appears among the visitor's own", () => {
  const message = {
    ...{ type: "log", topic: "recstream.interactions", partition: 2, offset: 77, ts: 1, key: "u1" },
    value: { id: "e9", type: "like", user: "u1", item: "p9", ts: "2026-01-01T00:00:00Z" },
  };
  const state = play([{ type: "log", message }]);

  assert.equal(state.activity[0].id, "e9");
  assert.equal(state.reactions.p9, "like");
});

test("a gap counts the records left out, both ends included", () => {
  const gap = { type: "gap", ch: "log", topic: "t", partition: 0, from: 10, to: 12 };

  assert.equal(play([{ type: "gap", message: gap }]).nMissed, 3);
});

test("an older pipeline message changes nothing, one of a new epoch does", () => {
  const message = { type: "pipeline", epoch: "A", offset: 5, nEvents: 5 };
  const state = play([{ type: "pipeline", message }]);

  assert.equal(reduce(state, { type: "pipeline", message: { ...message, offset: 4 } }), state);
  const wiped = { ...message, epoch: "B", offset: 0 };
  assert.equal(reduce(state, { type: "pipeline", message: wiped }).pipeline, wiped);
});

test("removing an item takes back what was said about it", () => {
  const state = play([clicked("e1", 1, { type: "like" }), clicked("e2", 2, { type: "remove" })]);

  assert.deepEqual(state.reactions, {});
});

test("another user starts with an empty list and keeps the catalogue", () => {
  const state = play([
    { type: "items", items: [{ item: "p1", title: "Mug" }] },
    arrival(recs()),
    { type: "user", user: "u2" },
  ]);

  assert.equal(state.recs, null);
  assert.equal(state.items.p1.title, "Mug");
});

test("a page that answers an older search is dropped", () => {
  const loading = { type: "catalogue-loading", query: "mug", category: "", isMore: false };
  const page = { type: "catalogue-page", isMore: false, next: null };
  const state = play([
    loading,
    { ...page, query: "mu", category: "", items: [{ item: "old" }] },
    { ...page, query: "mug", category: "", items: [{ item: "p1" }] },
  ]);

  assert.deepEqual(state.catalogue.items, ["p1"]);
});

test("more pages are added behind the first, each item once", () => {
  const page = { type: "catalogue-page", query: "", category: "", next: "c" };
  const state = play([
    { ...page, isMore: false, items: [{ item: "p1" }, { item: "p2" }] },
    { ...page, isMore: true, items: [{ item: "p2" }, { item: "p3" }] },
  ]);

  assert.deepEqual(state.catalogue.items, ["p1", "p2", "p3"]);
});

test("items that are similar to another product than the open one are dropped", () => {
  const state = play([
    { type: "opened", item: "p1" },
    { type: "similar", item: "p2", status: "ready", items: [{ item: "p3" }] },
  ]);

  assert.deepEqual(state.opened?.similar.items, []);
});
