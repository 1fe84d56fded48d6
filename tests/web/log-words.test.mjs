/** Records of the log in words, filters of the live tail, and the order of what is shown. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { admits, joined, momentOf, sizeText, wordsOf } from "../../web/state/log-words.js";

const record = (value, more = {}) => ({ topic: "recstream.interactions", partition: 0, offset: 1, ts: 5, key: "u1", value, ...more });

test("an event says who did what", () => {
  const { what, user, item } = wordsOf(record({ type: "rate", user: "u1", item: "p9", value: 4 }));
  assert.deepEqual([what, user, item], ["rate p9, value 4", "u1", "p9"]);
});

test("a list says its model and its first items, whichever way items are written", () => {
  const list = { rec_id: "r-1", user: "u1", generation: 3, items: [{ item: "a" }, { item: "b" }] };
  assert.equal(wordsOf(record(list)).what, "list by generation 3.0: a, b");
  assert.equal(wordsOf(record({ ...list, items: ["a", "b", "c", "d", "e"] })).what, "list by generation 3.0: a, b, c, d …");
  assert.equal(wordsOf(record(list)).recId, "r-1");
});

test("an impression is no list, although it names one", () => {
  const { what, recId } = wordsOf(record({ type: "impression", user: "u1", items: ["a", "b"], rec_id: "r-1" }));
  assert.deepEqual([what, recId], ["was shown 2 items", "r-1"]);
});

test("batches, tombstones, erased and unreadable records have words", () => {
  assert.equal(wordsOf(record([{ user: "a" }, { user: "b" }, null])).what, "3 events of 2 users");
  assert.equal(wordsOf(record(null)).what, "deleted");
  assert.equal(wordsOf(record(null, { key: null })).what, "erased");
  assert.equal(wordsOf(record(undefined, { text: "\ufffd" })).what, "\ufffd");
  assert.match(wordsOf(record(undefined, { is_cut: true, n_bytes: 20000 })).what, /20.0 kB/);
});

test("the live tail is filtered as the search is", () => {
  const seen = record({ type: "view", user: "u1", item: "p9", id: "e1" });
  assert.ok(admits(seen, { user: "u1", item: "p9", type: "view", id: "e1", partition: "0" }));
  for (const filter of [{ user: "u2" }, { item: "p1" }, { type: "like" }, { id: "e2" }, { partition: "1" }]) {
    assert.ok(!admits(seen, filter), JSON.stringify(filter));
  }
  assert.ok(admits(record([{ user: "a", item: "x" }, { user: "b", item: "y" }], { key: null }), { user: "b", item: "y" }));
  assert.ok(!admits(record([{ user: "a", item: "x" }, { user: "b", item: "y" }], { key: null }), { user: "b", item: "x" }));
  assert.ok(admits(record({ rec_id: "r", items: [{ item: "p9" }] }), { item: "p9" }));
});

test("records are shown once, in the order of time, the newest of them", () => {
  const at = (partition, offset, ts) => ({ topic: "t", partition, offset, ts });
  const both = joined([at(0, 1, 10)], [at(1, 7, 5), at(0, 1, 10), at(0, 2, 12)], 2);
  assert.deepEqual(both.map(({ offset }) => offset), [1, 2]);
  const before = [at(0, 1, 10)];
  assert.equal(joined(before, [at(0, 1, 10)], 9), before);
});

test("a moment is an offset or a time with a zone", () => {
  assert.equal(momentOf(" 42 "), "42");
  assert.equal(momentOf("2026-11-22T10:42:00Z"), "2026-11-22T10:42:00.000Z");
  assert.match(momentOf("2026-11-22 10:42"), /^2026-11-2\dT\d\d:42:00.000Z$/);
  assert.equal(momentOf("soon"), "soon");
  assert.equal(sizeText(999), "999 B");
});
