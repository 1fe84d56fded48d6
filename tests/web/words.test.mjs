// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import { cut, commonFeaturesText, reasonText } from "../../web/elements/format.js";
import { sourcesOf } from "../../web/state/explanation.js";
import { freshnessOf } from "../../web/state/history.js";
import { wilson, winner } from "../../web/state/intervals.js";
import { newestFirst } from "../../web/elements/time.js";
import { heldOutRecall, hyperparameter } from "../../web/state/model-words.js";
import { predictedText, preparingText } from "../../web/state/pipeline-words.js";
import { effectText, shelfWords } from "../../web/state/shelf-words.js";
import { actionsOf, hasRatings } from "../../web/state/vocabulary.js";
import { arrival, clicked, places, play, recs } from "./samples.mjs";

test("one event of one says nothing: its interval is wide", () => {
  const { low, high } = wilson(1, 1);

  assert.ok(low < 0.25 && high === 1, `${low} to ${high}`);
  assert.deepEqual(wilson(0, 0), { low: 0, high: 1 });
});

test("the interval of 40 of 100 is that of the textbook", () => {
  const { low, high } = wilson(0.4, 100);

  assert.ok(Math.abs(low - 0.3094) < 0.0005 && Math.abs(high - 0.498) < 0.0005, `${low} to ${high}`);
});

test("an arm wins when its interval is above all others", () => {
  assert.equal(winner([{ name: "a", low: 0.1, high: 0.3 }, { name: "b", low: 0.2, high: 0.4 }]), null);
  assert.equal(winner([{ name: "a", low: 0.1, high: 0.3 }, { name: "b", low: 0.31, high: 0.4 }]), "b");
  assert.equal(winner([{ name: "a", low: 0.1, high: 0.3 }]), null);
});

test("actions are those that the log has; films have no cart", () => {
  const types = (/** @type {string[] | null} */ known) => actionsOf(known).map(({ type }) => type);

  assert.deepEqual(types(["rate", "view"]), ["like", "dislike"]);
  assert.deepEqual(types(["view", "purchase"]), ["like", "cart", "purchase", "dislike"]);
  assert.deepEqual(types(null), ["like", "cart", "purchase", "dislike"]);
});

test("a shared attribute reads as words; common words are no reason", () => {
  assert.equal(commonFeaturesText(["attribute: genres=animation"], "Toy Story"), "same genres: animation, as Toy Story");
  assert.equal(commonFeaturesText(["word: to", "word: teapot"], ""), "shares ‘teapot’");
  assert.equal(commonFeaturesText(["word: to"], ""), "similar to what you looked at");
  const why = [{ kind: "because", item: "p1", event: "cart" }];
  assert.equal(reasonText(why, { p1: { item: "p1", title: "Mug" } }, ""), "because you put Mug in the cart");
});

test("sources add up to the score, whatever they leave out", () => {
  const explanation = { score: 1.25, prior: 0, because: [], verdict: "listed", sources: { factors: 1.5, popularity: -0.3 } };
  const lines = sourcesOf(explanation);

  assert.deepEqual(lines.map(({ value }) => value), [1.5, -0.3, 0.05]);
});

test("a click is tied to what it did to the list", () => {
  const items = { a: { item: "a", title: "A" }, z: { item: "z", title: "Z" } };
  const first = arrival(recs({ offset: 1, items: places(["a", "b", "c"]) }));
  const click = clicked("e1", 5, { type: "like", item: "z" });
  const lineage = { event_id: "e1", event_ts: 0, appended_ts: 0, folded_ts: 0, published_ts: 0 };
  const after = (/** @type {string[]} */ ids) => {
    const state = play([first, click, arrival(recs({ offset: 2, items: places(ids), lineage }), 9)]);
    return effectText(state.effect, state.unchanged, items);
  };

  assert.equal(after(["a", "x", "y"]), "You liked Z → 2 new, first: A");
  assert.equal(after(["b", "a", "c"]), "You liked Z → 2 moved, first: b");
  assert.match(after(["a", "b", "c"]), /^You liked Z → the same products in the same order/);
});

test("long titles are cut after a word in the line about a click", () => {
  const title = "Printer Filament, Real Black PLA, Dimensional Accuracy of 0.03 mm, 1.1 LBS";
  const items = { z: { item: "z", title } };
  const unchanged = /** @type {any} */ ({ kind: "like", item: "z" });

  assert.match(effectText(null, unchanged, items), /^You liked Printer Filament, Real Black PLA, Dimensional Accuracy of… →/);
  assert.equal(cut("exactly", 7), "exactly");
  assert.equal(cut("😀".repeat(9), 8), `${"😀".repeat(7)}…`);
});

test("a share of few events is not shown", () => {
  const of = (/** @type {number} */ events) => predictedText(/** @type {any} */ ({ predicted: { events, hit10: 0.5 } }));

  assert.deepEqual([1, 29, 30].map(of), ["too early (1 event)", "too early (29 events)", "50 % of 30"]);
  assert.equal(predictedText(null), "–");
});

test("an empty list says what the bridge prepares", () => {
  const pipeline = /** @type {any} */ ({ roles: [{ name: "bridge", state: "degraded", reason: "bridge: preparing 9 products, 4 %" }] });
  const of = (/** @type {string} */ preparing) =>
    shelfWords(/** @type {any} */ ({ recs: recs({ items: [] }), connection: {}, hasProducts: true, preparing })).note;

  assert.match(of(preparingText(pipeline)), /preparing 9 products, 4 %/);
  assert.doesNotMatch(of("compiling kernels; lists come when the kernels are compiled"), /in a moment/);
  assert.match(of(preparingText(null)), /There is no model yet/);
});

test("a click that waited for the connection is not in the median", () => {
  const lineage = { event_id: "e1", event_ts: 1_000_005, appended_ts: 1_030_000, folded_ts: 1_030_001, published_ts: 1_030_002 };
  const lost = { type: "connection", status: { phase: "stale", attempt: 1, retryInMs: 0, detail: "" } };
  const back = { type: "connection", status: { phase: "live", attempt: 0, retryInMs: 0, detail: "" } };
  const state = play([clicked("e1", 5), lost, back, arrival(recs({ lineage }), 30_010), { type: "painted", atMs: 30_012 }]);

  assert.equal(state.lastTrace?.id, "e1");
  assert.deepEqual(state.totalsMs, []);
});

test("freshness beyond the last bound is not called within it", () => {
  const of = (/** @type {number[]} */ freshness) => freshnessOf([{ freshness }], [100, 60_000]).words;

  assert.equal(of([3, 1, 0]), "4 lists; half of them within 100 ms");
  assert.equal(of([0, 0, 9]), "9 lists; half of them later than 60 s");
});

test("a generation without held-out events has no score, and its numbers have names", () => {
  const judged = (/** @type {number} */ items) => ({ judgement: { items, candidate: 0, popular: 0, serving: null } });

  assert.equal(heldOutRecall(judged(0), "candidate"), "–");
  assert.equal(heldOutRecall(judged(5), "candidate"), "0.000");
  assert.equal(heldOutRecall({ judgement: { items: 5, candidate: 0.1234 } }, "candidate"), "0.123");
  assert.equal(heldOutRecall({ judgement: null }, "serving"), "–");
  assert.deepEqual(hyperparameter("half_life_ms", 5_184_000_000).text, "60 days");
  assert.deepEqual(hyperparameter("positive_exponents", [0, 0.5]).text, "0 and 0.5");
  assert.deepEqual(hyperparameter("unheard_of", 0.123456), { label: "unheard_of", about: "", text: "0.1235" });
});

test("stars are offered where the log has ratings", () => {
  assert.equal(hasRatings(["rate"]), true);
  assert.equal(hasRatings(["purchase"]), false);
  assert.equal(hasRatings(null), false);
});

test("a share below ten percent keeps a decimal, so that it is not shown as none", () => {
  const of = (hit10) => predictedText({ predicted: { events: 1000, hit10, mrr: 0 } });
  assert.deepEqual([0, 0.003, 0.0996, 0.25].map(of), ["0 % of 1,000", "0.3 % of 1,000", "10 % of 1,000", "25 % of 1,000"]);
});

test("events are ordered by their own time, not by the time of their import", () => {
  const at = (ts) => ({ event: { ts }, appended_ts: 1 });
  const [old, middle, late] = ["2026-11-05T21:37:57Z", "2026-11-16T17:12:19Z", "2026-11-30T12:59:35Z"].map(at);

  assert.deepEqual(newestFirst([late, old, middle]), [late, middle, old]);
});
