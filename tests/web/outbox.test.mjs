// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import { Outbox } from "../../web/connection/outbox.js";
import { ulid } from "../../web/elements/ids.js";

/** localStorage, as far as the queue uses it. */
function memory() {
  /** @type {Map<string, string>} */
  const entries = new Map();
  return {
    entries,
    get length() {
      return entries.size;
    },
    key: (/** @type {number} */ index) => [...entries.keys()][index] ?? null,
    getItem: (/** @type {string} */ key) => entries.get(key) ?? null,
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => void entries.set(key, value),
    removeItem: (/** @type {string} */ key) => void entries.delete(key),
  };
}

/** @param {string} id */
const event = (id) => ({ id, type: "view", user: "u1", item: "p1", ts: "2026-01-01T00:00:00Z" });
const accepted = { status: 202, retryAfterS: 0, body: { accepted: 1, duplicates: 0, rejected: [] } };

/**
 * @param {(batch: any[]) => any} answer
 * @param {any} [store]
 */
function outbox(answer, store = memory()) {
  /** @type {{run: () => void, ms: number}[]} */
  const timers = [];
  /** @type {string[][]} */
  const posted = [];
  /** @type {any[]} */
  const statuses = [];
  /** @type {any[]} */
  const receipts = [];
  const box = new Outbox({
    post: async (batch) => {
      posted.push(batch.map(({ id }) => id));
      return answer(batch);
    },
    store,
    timers: {
      setTimeout: (run, ms) => timers.push({ run, ms }),
      clearTimeout: (id) => void timers.splice(id - 1, 1),
    },
    random: () => 1,
    onStatus: (status) => statuses.push(status),
    onReceipt: (events, receipt) => receipts.push({ ids: events.map(({ id }) => id), receipt }),
  });
  return { box, store, timers, posted, statuses, receipts };
}

test("a Retry-After that is a date, or longer than a timer can be, does not end the pauses", async () => {
  for (const retryAfterS of [NaN, 1e9]) {
    const { box, timers } = outbox(() => ({ status: 503, retryAfterS, body: {} }));
    await box.add(event("e1"));

    assert.ok(timers[0].ms > 0 && timers[0].ms < 2 ** 31, `${timers[0].ms}`);
  }
});

test("an event is stored until the bridge has answered for it", async () => {
  const { box, store, receipts } = outbox(() => {
    assert.equal(store.length, 1);
    return accepted;
  });
  await box.add(event("e1"));

  assert.equal(store.length, 0);
  assert.deepEqual(receipts[0].ids, ["e1"]);
});

test("without a network events queue, and all are sent in order once it is back", async () => {
  let isUp = false;
  const { box, posted, statuses, timers } = outbox(() => {
    if (!isUp) throw new TypeError("Failed to fetch");
    return accepted;
  });
  await box.add(event("e1"));
  await box.add(event("e2"));
  assert.equal(statuses[statuses.length - 1].queued, 2);
  assert.match(statuses[statuses.length - 1].trouble, /can't be reached/);

  isUp = true;
  timers[timers.length - 1].run();
  await box.flush();

  assert.deepEqual(posted[posted.length - 1], ["e1", "e2"]);
  assert.equal(box.size, 0);
  assert.equal(statuses[statuses.length - 1].trouble, "");
});

test("what an earlier page left behind is sent by the next one, with the same ids", async () => {
  const store = memory();
  const before = outbox(() => {
    throw new TypeError("Failed to fetch");
  }, store);
  await before.box.add(event("e1"));

  const after = outbox(() => accepted, store);
  await after.box.start();

  assert.deepEqual(after.posted, [["e1"]]);
  assert.equal(store.length, 0);
});

test("what earlier pages left behind is sent in the order in which it happened, whatever its ids", async () => {
  const store = memory();
  const before = outbox(() => {
    throw new TypeError("Failed to fetch");
  }, store);
  await before.box.add({ ...event("z"), ts: "2026-01-01T00:00:01Z" });
  await before.box.add({ ...event("a"), ts: "2026-01-01T00:00:02Z" });

  const after = outbox(() => accepted, store);
  await after.box.start();

  assert.deepEqual(after.posted, [["z", "a"]]);
});

test("a log that can't be written is tried again, not before the time the bridge names", async () => {
  const body = { title: "Log unwritable", detail: "the disk is full" };
  const { box, statuses, timers } = outbox(() => ({ status: 503, retryAfterS: 7, body }));
  await box.add(event("e1"));

  assert.equal(box.size, 1);
  assert.equal(timers[0].ms, 7000);
  assert.deepEqual(statuses[statuses.length - 1], {
    ...{ queued: 1, trouble: "the disk is full", retryInMs: 7000 },
  });
});

test("a refused event leaves the queue and is reported", async () => {
  const rejected = [{ index: 0, id: "e1", code: "invalid-enum", detail: "no such type" }];
  const { box, receipts } = outbox(() => ({ status: 422, retryAfterS: 0, body: { rejected } }));
  await box.add(event("e1"));

  assert.equal(box.size, 0);
  assert.equal(receipts[0].receipt.rejected[0].detail, "no such type");
});

test("one unreadable event does not keep the others from the log", async () => {
  const store = memory();
  for (const id of ["e1", "e2", "e3", "e4"]) {
    store.setItem(`recstream.outbox.${id}`, JSON.stringify(event(id)));
  }
  /** @type {string[]} */
  const logged = [];
  const { box, receipts } = outbox((batch) => {
    if (batch.some(({ id }) => id === "e3")) return { status: 413, retryAfterS: 0, body: {} };
    logged.push(...batch.map(({ id }) => id));
    return accepted;
  }, store);
  await box.start();

  assert.deepEqual(logged, ["e1", "e2", "e4"]);
  assert.deepEqual(
    receipts.flatMap(({ receipt }) => receipt.rejected.map((/** @type {any} */ r) => r.id)),
    ["e3"],
  );
});

test("events added while a request is under way go with the next one, never twice at once", async () => {
  /** @type {(value: any) => void} */
  let release = () => {};
  const gate = new Promise((resolve) => {
    release = resolve;
  });
  const { box, posted } = outbox(() => gate);
  const first = box.add(event("e1"));
  void box.add(event("e2"));
  void box.add(event("e3"));
  release(accepted);
  await first;

  assert.deepEqual(posted, [["e1"], ["e2", "e3"]]);
});

test("storage that throws loses nothing while the page lives", async () => {
  const broken = {
    length: 0,
    key: () => null,
    getItem: () => null,
    setItem: () => {
      throw new DOMException("full", "QuotaExceededError");
    },
    removeItem: () => {
      throw new DOMException("denied", "SecurityError");
    },
  };
  const { box, posted } = outbox(() => accepted, broken);
  await box.add(event("e1"));

  assert.deepEqual(posted, [["e1"]]);
  assert.equal(box.size, 0);
});

test("stored text that is no event is deleted, and other keys are left alone", async () => {
  const store = memory();
  store.setItem("recstream.outbox.e1", "{broken");
  store.setItem("recstream.outbox.e2", JSON.stringify(event("other")));
  store.setItem("theme", "dark");
  const { box } = outbox(() => accepted, store);

  assert.equal(box.size, 0);
  assert.deepEqual([...store.entries.keys()], ["theme"]);
});

test("event ids sort by time and have the form of a ULID", () => {
  const bytes = new Uint8Array(16).fill(31);

  assert.equal(ulid(0, bytes), "0000000000ZZZZZZZZZZZZZZZZ");
  assert.equal(ulid(1469918176385, bytes).slice(0, 10), "01ARYZ6S41");
  assert.ok(ulid(1_000, bytes) < ulid(1_001, new Uint8Array(16)));
});

test("impressions are no clicks to worry about, and give way while many events wait", async () => {
  const { box, statuses } = outbox(() => ({ status: 503, retryAfterS: 1, body: null }));
  const shown = (/** @type {string} */ id) => ({ ...event(id), type: "impression", items: ["p1"] });

  await box.add(shown("i0"));
  assert.equal(statuses.at(-1).queued, 0);
  for (let at = 0; at < 60; at += 1) await box.add(event(`e${at}`));
  await box.add(shown("i1"));

  assert.equal(statuses.at(-1).queued, 60);
  assert.equal(box.size, 61);
});

test("events of another user than the token's leave the queue, and newer ones are sent", async () => {
  const { box, posted, receipts } = outbox((batch) => {
    if (batch.some(({ user }) => user === "visitor-1")) {
      const rejected = batch.map(({ id }, index) => ({ index, id, code: "forbidden", detail: "another user" }));
      return { status: 403, retryAfterS: 0, body: { detail: "another user", rejected } };
    }
    return accepted;
  });
  await box.add({ ...event("e1"), user: "visitor-1" });
  await box.add(event("e2"));

  assert.deepEqual(posted, [["e1"], ["e2"]]);
  assert.equal(receipts[0].receipt.rejected[0].code, "forbidden");
  assert.equal(box.size, 0);
});

test("events stay while the bridge refuses the page's origin", async () => {
  const { box, timers } = outbox(() => ({ status: 403, retryAfterS: 0, body: { code: "origin-not-allowed" } }));
  await box.add(event("e1"));

  assert.equal(box.size, 1);
  assert.equal(timers.length, 1);
});

test("after a refused token events wait for the next flush, without a timer", async () => {
  let token = "old";
  const { box, posted, timers } = outbox(() =>
    token === "old" ? { status: 401, retryAfterS: 0, body: { detail: "expired" } } : accepted,
  );
  await box.add(event("e1"));
  assert.equal(box.size, 1);
  assert.equal(timers.length, 0);

  token = "new";
  await box.flush();

  assert.deepEqual(posted, [["e1"], ["e1"]]);
  assert.equal(box.size, 0);
});
