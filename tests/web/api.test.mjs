// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import { Api } from "../../web/connection/api.js";

const LIMIT = 64 * 1024;

/** A browser's fetch, as far as it limits bodies that may outlive their page. */
function browser() {
  /** @type {{keepalive: boolean, bytes: number}[]} */
  const requests = [];
  globalThis.fetch = /** @type {any} */ (
    async (/** @type {string} */ _path, /** @type {any} */ { keepalive, body }) => {
      const bytes = typeof body === "string" ? Buffer.byteLength(body) : body.length;
      if (keepalive && bytes > LIMIT) throw new TypeError("Failed to fetch");
      requests.push({ keepalive, bytes });
      return { status: 202, headers: new Headers(), json: async () => ({}) };
    }
  );
  return requests;
}

/** @param {number} n @param {string} text */
const events = (n, text) =>
  Array.from({ length: n }, (_, at) => ({ id: `${at}`, type: "view", user: "u", item: text, ts: "" }));

test("a small body outlives its page, and a large one is sent all the same", async () => {
  const requests = browser();
  const api = new Api({ token: "" });

  await api.post(events(1, "i"));
  await api.post(events(100, "x".repeat(2000)));
  await api.post(events(100, "ü".repeat(310)));

  assert.deepEqual(
    requests.map(({ keepalive }) => keepalive),
    [true, false, false],
  );
});

test("an id with a comma that the catalogue lacks keeps no other item from being shown", async () => {
  globalThis.fetch = /** @type {any} */ (
    async (/** @type {string} */ path) => {
      if (!path.startsWith("/v1/items?")) return Response.json({ detail: "no such item" }, { status: 404 });
      return Response.json({ items: [{ item: "p1" }, { item: "p2" }] });
    }
  );

  const items = await new Api({ token: "" }).named(["p1", "a,b", "p2"]);

  assert.deepEqual(items.map(({ item }) => item), ["p1", "p2"]);
});
