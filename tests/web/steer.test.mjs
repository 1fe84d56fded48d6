// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import { PRESETS, sentences, withRule } from "../../web/state/steering.js";
import { linesOf, roundedSum } from "../../web/state/explanation.js";
import { commonFeaturesText, reasonText } from "../../web/elements/format.js";
import { play } from "./samples.mjs";

const ITEMS = {
  p1: { item: "p1", title: "Acme Teapot", brand: "Acme" },
  p2: { item: "p2", title: "Steel strings" },
};

test("every preset is told in a sentence and can be taken back", () => {
  const choices = { push: "Garden", hide: "Acme", pin: "p1" };
  for (const [name, preset] of Object.entries(PRESETS)) {
    const said = preset({}, choices[name] ?? "");
    const [sentence, ...more] = sentences(said, ITEMS);

    assert.deepEqual(more, [], name);
    assert.ok(sentence.text.length > 10, name);
    assert.deepEqual(sentences(sentence.without, ITEMS), [], name);
  }
});

test("presets add up, and a rule of the same name takes the other's place", () => {
  const both = PRESETS.hide(PRESETS.pin({}, "p1"), "Acme");
  const again = withRule(both, { action: "exclude", name: "hide Acme", where: { brand: "Zed" } });

  assert.deepEqual(
    sentences(again, ITEMS).map(({ text }) => text),
    ["Pinned at place 1: Acme Teapot", "Excluded: brand Zed"],
  );
});

test("a document that others wrote is told too", () => {
  const texts = sentences(
    {
      rules: [
        {
          ...{ action: "boost", name: "b", by: -1 },
          where: { any: [{ category: ["A", "B"] }, { not: { items: ["p2"] } }], price: { max: 5 } },
        },
        { action: "only", name: "o", where: {} },
      ],
      min_relevance: 0.2,
      blend: { content: 2 },
      dislikes: { strength: 0.5 },
      placements: [{ name: "cart" }, { name: "mail" }],
      rotation: null,
    },
    ITEMS,
  ).map(({ text }) => text);

  assert.deepEqual(texts, [
    "Lowered: (category A or B or not (Steel strings)), price 0 to 5 (-1)",
    "Nothing but everything",
    "Nothing below 20 % of the best match",
    "What is similar to something disliked loses score",
    "Own rules for “cart”, “mail”",
    "Blend: content × 2",
  ]);
});

test("the text of what two items share names the strongest fact", () => {
  assert.equal(commonFeaturesText(["brand: Acme", "word: tea"], "Teapot"), "same brand as Teapot");
  assert.equal(commonFeaturesText(["word: steel", "word: strings"], "X"), "shares ‘steel’, ‘strings’ with X");
  assert.equal(commonFeaturesText(["category: Tea"], ""), "same category");
  assert.equal(commonFeaturesText([], "X"), "similar to X");
});

test("each kind of reason has words of its own", () => {
  const text = (/** @type {any} */ reason) => reasonText([reason], ITEMS, "Tea");

  assert.equal(text({ kind: "because", item: "p1", event: "cart" }), "because you put Teapot in the cart");
  assert.equal(text({ kind: "content", item: "p1", shared: ["brand: Acme"] }), "same brand as Teapot");
  assert.equal(text({ kind: "popular" }), "popular now");
  assert.equal(text({ kind: "pinned", rule: "x" }), "pinned by the shop");
  assert.equal(text({ kind: "boosted", rule: "x" }), "boosted by the shop");
  assert.equal(text({ kind: "boosted", rule: "request: boost 1" }), "popular with people like you");
  assert.equal(reasonText([], ITEMS, "Tea"), "Tea");
});

test("a reason that makes most of the score goes before the first one", () => {
  const because = { kind: "because", item: "p1", event: "cart", share: 0.2 };
  const text = (/** @type {any[]} */ ...why) => reasonText(why, ITEMS, "Tea");

  assert.equal(text(because, { kind: "popular", share: 0.6 }), "popular now");
  assert.equal(text(because, { kind: "popular", share: 0.4 }), "because you put Teapot in the cart");
  assert.equal(text({ kind: "pinned", rule: "x" }, { kind: "popular", share: 0.9 }), "pinned by the shop");
});

test("the lines of a sum add up to the score, however long the history is", () => {
  const because = Array.from({ length: 9 }, (_, at) => ({ item: `q${at}`, event: "view", score: 0.1 }));
  const lines = linesOf(
    { score: 1.5, prior: 0.2, because, boosts: [{ rule: "push", score: 0.4 }], verdict: "listed" },
    {},
  );

  assert.ok(Math.abs(lines.reduce((sum, { value }) => sum + value, 0) - 1.5) < 1e-9);
  assert.deepEqual(
    lines.slice(-3).map(({ key }) => key),
    ["others", "prior", "rule push"],
  );
});

test("what is shown of a sum adds up to the digit", () => {
  const rounded = roundedSum([0.3334, 0.3334, 0.3334, -0.0005]);

  assert.deepEqual(rounded, [0.334, 0.333, 0.333, 0]);
  assert.deepEqual(roundedSum([]), []);
  assert.deepEqual(roundedSum([-0.0534, 0.7024]), [-0.053, 0.702]);
});

test("a product that was added leads the products and is marked as new", () => {
  const added = { type: "item-added", item: ITEMS.p2, atMs: 7 };
  const state = play([
    { type: "catalogue-loading", query: "", category: "", isMore: false },
    { type: "catalogue-page", query: "", category: "", isMore: false, next: null, items: [ITEMS.p1] },
    added,
    added,
  ]);

  assert.deepEqual(state.catalogue.items, ["p2", "p1"]);
  assert.deepEqual(state.fresh, { p2: 7 });
});

test("shelves of somebody else are not shown, and steering outlives a change of user", () => {
  const shelves = { rec_id: "s", user: "u1", generation: 1, shelves: [] };
  const steering = { type: "steering", status: "ready", document: { rotation: { after: 3 } } };
  const state = play([{ type: "shelves", shelves }, steering, { type: "user", user: "u2" }]);

  assert.equal(state.shelves, null);
  assert.deepEqual(play([{ type: "shelves", shelves }], state).shelves, null);
  assert.deepEqual(state.steer.document, { rotation: { after: 3 } });
});

test("an impression of another window is no line among one's events", () => {
  const value = { id: "e1", type: "impression", items: ["p1"], ts: "2026-11-22T10:00:00Z" };
  const message = { topic: "t", partition: 0, offset: 1, ts: 1, key: "u1", value };

  assert.deepEqual(play([{ type: "log", message }]).activity, []);
});
