// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import { Store } from "../../web/app/store.js";
import { match } from "../../web/app/router.js";
import { debounce, oneAtATime, pace } from "../../web/elements/timing.js";
import { initialState } from "../../web/state/state.js";
import { arrival, recs } from "./samples.mjs";

/** A clock that tests move by hand. */
function clock() {
  let nowMs = 0;
  /** @type {{id: number, atMs: number, run: () => void}[]} */
  let waiting = [];
  let ids = 0;
  return {
    now: () => nowMs,
    timers: {
      setTimeout: (/** @type {() => void} */ run, /** @type {number} */ ms) => {
        waiting.push({ id: (ids += 1), atMs: nowMs + ms, run });
        return ids;
      },
      clearTimeout: (/** @type {number} */ id) => {
        waiting = waiting.filter((timer) => timer.id !== id);
      },
    },
    /** @param {number} ms */
    pass(ms) {
      const until = nowMs + ms;
      for (;;) {
        const [next] = waiting.filter(({ atMs }) => atMs <= until).sort((a, b) => a.atMs - b.atMs);
        if (next === undefined) break;
        waiting = waiting.filter((timer) => timer !== next);
        nowMs = next.atMs;
        next.run();
      }
      nowMs = until;
    },
  };
}

test("a debounce runs once after a burst, and during an endless one at its limit", () => {
  const { pass, timers } = clock();
  let runs = 0;
  const call = debounce(() => (runs += 1), 300, 1500, timers);

  call();
  pass(100);
  call();
  pass(299);
  assert.equal(runs, 0);
  pass(1);
  assert.equal(runs, 1);

  for (let i = 0; i < 60; i += 1) {
    call();
    pass(50);
  }
  assert.equal(runs, 3);
});

test("paced work runs at once, and then once in each gap", () => {
  const { pass, timers, now } = clock();
  /** @type {number[]} */
  const runs = [];
  const call = pace(() => runs.push(now()), 250, { now, timers });

  for (let i = 0; i < 20; i += 1) {
    call();
    pass(50);
  }

  assert.deepEqual(runs, [0, 250, 500, 750, 1000]);
});

test("at 20 lists a second the screen changes four times a second and ends with the newest", () => {
  const { pass, timers, now } = clock();
  const store = new Store(initialState("u1"), { now, timers });
  /** @type {any[]} */
  const drawn = [];
  store.published.subscribe(({ recs: list }) => list !== null && drawn.push(list.offset));

  for (let offset = 1; offset <= 40; offset += 1) {
    store.dispatch(arrival(recs({ offset }), now()));
    pass(50);
  }
  pass(300);

  assert.ok(drawn.length <= 9, `${drawn.length} redraws in 2 s`);
  assert.equal(drawn.at(-1), 40);
  assert.deepEqual(drawn, [...drawn].sort((a, b) => a - b));
});

test("a path matches its pattern, with decoded parameters", () => {
  assert.deepEqual(match("/users/:id", "/users/a%2Fb"), { id: "a/b" });
  assert.deepEqual(match("/users", "/users/"), {});
  assert.equal(match("/users/:id", "/users"), null);
  assert.equal(match("/users/:id", "/users/%"), null);
  assert.equal(match("/log/:topic", "/users/x"), null);
});

test("calls that come while a run goes on cause one more run, after it", async () => {
  /** @type {(() => void)[]} */
  const ends = [];
  const call = oneAtATime(() => new Promise((resolve) => ends.push(() => resolve(undefined))));
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  const first = call();
  void call();
  void call();
  await turn();
  assert.equal(ends.length, 1);
  ends[0]();
  await turn();
  assert.equal(ends.length, 2);
  ends[1]();
  await first;
  void call();

  assert.equal(ends.length, 3);
});
