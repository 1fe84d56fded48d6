// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import { Impressions } from "../../web/connection/impressions.js";

function world() {
  /** @type {any[]} */
  const sent = [];
  /** @type {(() => void)[]} */
  const timers = [];
  const impressions = new Impressions({
    timers: {
      setTimeout: (run) => timers.push(run),
      clearTimeout: (id) => void (timers[id - 1] = () => {}),
    },
    send: (shown) => void sent.push(shown),
  });
  return { impressions, sent, timers, pass: () => timers.splice(0).forEach((run) => run()) };
}

test("what is seen in one pause is one event for each list", () => {
  const { impressions, sent, timers, pass } = world();
  impressions.seen("r-1", "p1");
  impressions.seen("r-1", "p2");
  impressions.seen("shelves-1", "p3");

  assert.equal(timers.length, 1);
  pass();

  assert.deepEqual(sent, [
    { rec_id: "r-1", items: ["p1", "p2"] },
    { rec_id: "shelves-1", items: ["p3"] },
  ]);
});

test("an item that stays on the screen is reported once, whatever list it is in", () => {
  const { impressions, sent, pass } = world();
  impressions.seen("r-1", "p1");
  pass();
  impressions.seen("r-1", "p1");
  impressions.seen("r-2", "p1");
  pass();

  assert.equal(sent.length, 1);
});

test("once the visitor did something, what is shown then is reported again", () => {
  const { impressions, sent, pass } = world();
  impressions.seen("r-1", "p1");
  pass();
  impressions.renew();
  impressions.seen("r-2", "p1");
  pass();

  assert.deepEqual(sent[1], { rec_id: "r-2", items: ["p1"] });
});

test("leaving sends what waits, and nothing twice", () => {
  const { impressions, sent, pass } = world();
  impressions.seen("r-1", "p1");
  impressions.flush();
  pass();

  assert.equal(sent.length, 1);
});

test("what has no list or no item is nobody's impression", () => {
  const { impressions, sent } = world();
  impressions.seen("", "p1");
  impressions.seen("r-1", "");
  impressions.flush();

  assert.deepEqual(sent, []);
});
