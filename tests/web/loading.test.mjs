// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import { Loading } from "../../web/connection/loading.js";
import { initialState, reduce } from "../../web/state/state.js";

/** @param {(ids: string[]) => any} answer */
function world(answer) {
  let state = initialState("u1");
  /** @type {string[][]} */
  const asked = [];
  const api = { named: async (/** @type {string[]} */ ids) => (asked.push(ids), answer(ids)) };
  const loading = new Loading({
    api: /** @type {any} */ (api),
    state: () => state,
    dispatch: (action) => {
      state = reduce(state, action);
    },
  });
  return { loading, asked, items: () => Object.keys(state.items) };
}

test("what is wanted in one turn is one request, and nothing is asked for twice", async () => {
  const { loading, asked, items } = world((ids) => ids.map((item) => ({ item })));

  await Promise.all([loading.items(["a", "b", ""]), loading.items(["b", "c"])]);
  await loading.items(["a", "c"]);

  assert.deepEqual(asked, [["a", "b", "c"]]);
  assert.deepEqual(items(), ["a", "b", "c"]);
});

test("what the catalogue lacks, or could not be asked for, is asked for again next time", async () => {
  let isAway = true;
  const { loading, asked, items } = world((ids) => {
    if (isAway) throw new TypeError("no network");
    return ids.filter((id) => id !== "gone").map((item) => ({ item }));
  });

  await loading.items(["a", "gone"]);
  isAway = false;
  await loading.items(["a", "gone"]);
  await loading.items(["gone"]);

  assert.deepEqual(asked, [["a", "gone"], ["a", "gone"], ["gone"]]);
  assert.deepEqual(items(), ["a"]);
});

test("a hundred ids and more are divided into requests", async () => {
  const { loading, asked } = world((ids) => ids.map((item) => ({ item })));

  await loading.items(Array.from({ length: 150 }, (_, at) => `p${at}`));

  assert.deepEqual(asked.map(({ length }) => length), [100, 50]);
});

test("while a request runs, what is wanted waits, and is the next request", async () => {
  /** @type {((items: any[]) => void)[]} */
  const answers = [];
  const { loading, asked } = world(() => new Promise((resolve) => answers.push(resolve)));
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  const all = [loading.items(["a"])];
  await turn();
  all.push(loading.items(["b"]), loading.items(["c", "a"]));
  await turn();
  assert.deepEqual(asked, [["a"]]);
  answers[0]([{ item: "a" }]);
  await turn();
  answers[1]([{ item: "b" }, { item: "c" }]);
  await Promise.all(all);

  assert.deepEqual(asked, [["a"], ["b", "c"]]);
});
