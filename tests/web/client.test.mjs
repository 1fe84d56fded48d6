// @ts-check
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { recstream } from "../../web/client/recstream.js";

/** @type {{url: string, token: string | undefined, keepalive: boolean, body: any}[]} */
let sent = [];
/** The token that the bridge accepts. */
let valid = "new";
/** @type {string[]} */
let warnings = [];

globalThis.fetch = /** @type {any} */ (
  async (/** @type {string} */ url, /** @type {any} */ { headers, body, keepalive }) => {
    const token = headers.authorization?.replace("Bearer ", "");
    sent.push({ url, token, keepalive, body: JSON.parse(new TextDecoder().decode(body)) });
    if (token !== valid) return Response.json({ detail: "the token has expired" }, { status: 401 });
    return Response.json({ accepted: 1, duplicates: 0, rejected: [], items: [] }, { status: 202 });
  }
);
console.warn = (/** @type {string} */ text) => void warnings.push(text);

beforeEach(() => {
  sent = [];
  warnings = [];
  valid = "new";
  recstream.configure({ user: "u1", token: "old", renew: async () => "new" });
});

test("a refused token is renewed, and the request sent again", async () => {
  await recstream.recommend({ n: 3 });

  assert.deepEqual(sent.map(({ token }) => token), ["old", "new"]);
  assert.deepEqual(warnings, []);
});

test("requests at the same time renew the token once", async () => {
  let n = 0;
  const renew = async () => {
    n += 1;
    return "new";
  };
  recstream.configure({ renew });
  await Promise.all([recstream.recommend(), recstream.recommend(), recstream.send({ type: "view", item: "p1" })]);

  assert.equal(n, 1);
  assert.equal(sent.filter(({ token }) => token === "new").length, 3);
});

test("without a new token the page says so, and events wait for one", async () => {
  recstream.configure({ renew: async () => "" });
  await recstream.send({ type: "view", item: "p1" });
  assert.match(warnings[0], /wait for a new token/);
  assert.deepEqual(sent.map(({ token }) => token), ["old"]);

  recstream.configure({ token: "new" });
  await new Promise((resolve) => setImmediate(resolve));

  assert.deepEqual(sent.map(({ token }) => token), ["old", "new"]);
});

test("the reason of an event that the bridge refuses is in the browser's console", async () => {
  const usual = globalThis.fetch;
  const rejected = [{ index: 0, id: "", pointer: "/0/type", code: "invalid-enum", detail: "Invalid enum value 'return'" }];
  recstream.configure({ token: "new" });
  globalThis.fetch = async () => Response.json({ accepted: 0, duplicates: 0, rejected }, { status: 422 });
  await recstream.send({ type: "return", item: "p1" });
  globalThis.fetch = usual;

  assert.deepEqual(warnings, ["recstream: an event was refused: Invalid enum value 'return' (at /0/type)"]);
});

test("a bridge that can't be reached is named, with the setting that may be missing", async () => {
  const usual = globalThis.fetch;
  globalThis.fetch = async () => Promise.reject(new TypeError("Failed to fetch"));
  recstream.configure({ bridge: "https://recs.example" });
  const refused = await recstream.recommend().catch(String);
  globalThis.fetch = usual;
  recstream.configure({ bridge: "" });

  assert.match(refused, /https:\/\/recs\.example can't be reached.*allowed_origins/);
});

test("only a body that browsers accept may outlive the page", async () => {
  recstream.configure({ token: "new" });
  await recstream.rank(["p1"]);
  await recstream.rank(Array.from({ length: 1000 }, (_, at) => `${at}`.padStart(60, "ä")));

  assert.deepEqual(sent.map(({ keepalive }) => keepalive), [true, false]);
});

test("ids to exclude may be numbers", async () => {
  recstream.configure({ token: "new" });
  const options = /** @type {any} */ ({ n: 3, exclude: [7, "p8"] });
  await recstream.recommend(options);
  await recstream.rank(["p1"], options);
  await recstream.recommend({ exclude: "p1" });

  assert.deepEqual(sent.map(({ body }) => body.exclude), [["7", "p8"], ["7", "p8"], "p1"]);
  assert.deepEqual([sent[0].body.n, options.exclude], [3, [7, "p8"]]);
});

test("ids may be numbers, and the bridge's address may end with a slash", async () => {
  recstream.configure(/** @type {any} */ ({ bridge: "https://recs.example/", user: 42, token: "new" }));
  await recstream.send(/** @type {any} */ ({ type: "purchase", item: 7, id: undefined }));
  await recstream.send(/** @type {any} */ ({ type: "impression", items: [7, "p8"], user: 43 }));
  await recstream.rank(/** @type {any} */ ([7, "p8"]));
  await recstream.recommend();
  recstream.configure(/** @type {any} */ ({ bridge: "", user: null }));

  const [[bought], [shown], ranked] = sent.map(({ body }) => body);
  assert.deepEqual([bought.user, bought.item], ["42", "7"]);
  assert.equal(typeof bought.id, "string");
  assert.deepEqual([shown.user, shown.items], ["43", ["7", "p8"]]);
  assert.deepEqual([ranked.user, ranked.candidates], ["42", ["7", "p8"]]);
  assert.equal(sent[0].url, "https://recs.example/v1/events");
  assert.equal(sent[3].url, "https://recs.example/v1/users/42/recommendations");
  assert.match(recstream.user, /^visitor-/);
});
