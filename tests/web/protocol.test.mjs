// @ts-check
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { ProtocolError, decode, encode, readClose, readShelves } from "../../web/connection/protocol.js";
import { recs } from "./samples.mjs";

test("an unknown message type throws and names it", () => {
  assert.throws(() => decode('{"type":"mystery"}'), /unknown message type "mystery"/);
  assert.throws(() => encode(/** @type {any} */ ({ type: "mystery" })), ProtocolError);
});

test("what is not an object in JSON throws", () => {
  for (const text of ["", "{", "null", "[]", '"recs"', "3"]) {
    assert.throws(() => decode(text), ProtocolError, text);
  }
});

test("a field of the wrong type throws and names the field", () => {
  const message = JSON.stringify(recs({ generation: "3" }));

  assert.throws(() => decode(message), /expected number at .generation of a "recs", got "3"/);
});

test("a full list is read as it is", () => {
  const list = recs();

  assert.deepEqual(decode(JSON.stringify(list)), list);
});

test("fields left out of a list get the value they stand for", () => {
  const list = decode(
    '{"type":"recs","rec_id":"r","user":"u","generation":0,"source":"popular","items":[{"item":"p","rank":1,"score":0}]}',
  );

  assert.ok(list.type === "recs");
  assert.equal(list.as_of, null);
  assert.deepEqual(list.items, [{ item: "p", rank: 1, was: 0, score: 0, why: [] }]);
});

test("a pipeline before the first generation is read", () => {
  const message = decode('{"type":"pipeline","epoch":"A","offset":-1}');

  assert.ok(message.type === "pipeline");
  assert.equal(message.generation, null);
  assert.equal(message.training, null);
});

test("only refusals end the wish to connect", () => {
  const codes = [1000, 1003, 1006, 1008, 1009, 1011, 1012, 4001, 4003, 4008, 4010, 4013, 4503, 4504];

  assert.deepEqual(
    codes.filter((code) => !readClose(code).retry),
    [1003, 1008, 1009, 4001, 4503],
  );
});

test("every example that the bridge produces is read, and what the page says is among them", () => {
  const examples = new URL("../snapshots/messages.json", import.meta.url);
  const { server, client } = JSON.parse(readFileSync(examples, "utf8"));

  const types = server.map((/** @type {any} */ message) => decode(JSON.stringify(message)).type);

  assert.deepEqual([...new Set(types)].sort(), [
    ...["error", "gap", "log", "pipeline", "recs", "welcome"],
  ]);
  for (const message of client) assert.deepEqual(JSON.parse(encode(message)), message);
});

test("results by arm come together from what was predicted and what was clicked", () => {
  const score = { events: 4, hits: { 5: 0, 10: 0.25, 20: 1 }, mrr: 0.1 };
  const message = decode(
    JSON.stringify({
      ...{ type: "pipeline", epoch: "A", offset: 1 },
      prequential: { all: score, "arm:b": score },
      clicks: { all: { shown: 9 }, "arm:a": { shown: 8, clicked: 2 } },
    }),
  );

  assert.ok(message.type === "pipeline");
  assert.deepEqual(message.arms, [
    { name: "a", events: 0, hit10: 0, mrr: 0, shown: 8, clicked: 2 },
    { name: "b", events: 4, hit10: 0.25, mrr: 0.1, shown: 0, clicked: 0 },
  ]);
});

test("shelves are read, and what is none is refused", () => {
  const body = {
    ...{ rec_id: "s", user: "u", generation: 1 },
    shelves: [{ item: "p1", event: "view", items: [{ item: "p2", rank: 11, score: 1, share: 0.5 }] }],
  };

  assert.deepEqual(readShelves(body).shelves[0].items, [{ item: "p2", share: 0.5, shared: [] }]);
  assert.throws(() => readShelves({ ...body, shelves: [{ item: 1 }] }), ProtocolError);
});
