// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import { LiveSocket, backoffMs } from "../../web/connection/socket.js";
import { recs } from "./samples.mjs";

/** A clock that moves when told, a network that does what the test says. */
/** @param {() => {user?: string, token?: string}} [identity] */
function world(identity = () => ({ user: "u1" })) {
  let nowMs = 0;
  /** @type {{id: number, atMs: number, run: () => void}[]} */
  let waiting = [];
  /** @type {any[]} */
  const opened = [];
  /** @type {any[]} */
  const statuses = [];
  /** @type {any[]} */
  const messages = [];
  let serial = 0;
  let expired = 0;
  const socket = new LiveSocket({
    open: () => {
      const transport = {
        ...{ sent: /** @type {any[]} */ ([]), closedWith: /** @type {any} */ (null) },
        ...{ onopen: () => {}, onmessage: (/** @type {any} */ _) => {} },
        ...{ onclose: (/** @type {any} */ _) => {}, onerror: () => {} },
        send(/** @type {string} */ data) {
          this.sent.push(JSON.parse(data));
        },
        close(/** @type {number} */ code) {
          this.closedWith = code;
        },
      };
      opened.push(transport);
      return transport;
    },
    identity,
    subs: [{ ch: "recs" }, { ch: "log", user: "u1" }],
    onMessage: (message) => messages.push(message),
    onStatus: (status) => statuses.push(status),
    onExpired: () => void (expired += 1),
    timers: {
      setTimeout: (run, ms) => {
        serial += 1;
        waiting.push({ id: serial, atMs: nowMs + ms, run });
        return serial;
      },
      clearTimeout: (id) => {
        waiting = waiting.filter((timer) => timer.id !== id);
      },
    },
    random: () => 1,
  });
  return {
    socket,
    opened,
    statuses,
    messages,
    get last() {
      return opened[opened.length - 1];
    },
    get phase() {
      return statuses[statuses.length - 1].phase;
    },
    get expired() {
      return expired;
    },
    get timers() {
      return waiting.length;
    },
    /** @param {number} ms */
    pass(ms) {
      nowMs += ms;
      for (const timer of waiting.filter(({ atMs }) => atMs <= nowMs)) {
        waiting = waiting.filter(({ id }) => id !== timer.id);
        timer.run();
      }
    },
    /** @param {Record<string, any>} message */
    say(message) {
      this.last.onmessage({ data: JSON.stringify(message) });
    },
    goLive() {
      this.last.onopen();
      this.say({ type: "welcome", ping_s: 25, epoch: "A", subs: [] });
    },
  };
}

test("it says hello first, and is live once it is welcome", () => {
  const w = world();
  w.socket.start();
  assert.equal(w.phase, "connecting");

  w.goLive();

  assert.deepEqual(w.last.sent, [
    { type: "hello", user: "u1", subs: [{ ch: "recs" }, { ch: "log", user: "u1" }] },
  ]);
  assert.equal(w.phase, "live");
});

test("silence is asked about, and an answer keeps the connection without a second welcome", () => {
  const w = world();
  w.socket.start();
  w.goLive();
  const welcomes = () => w.messages.filter(({ type }) => type === "welcome").length;

  w.pass(25_000);
  assert.deepEqual(w.last.sent[1], { type: "sub", ch: "pipeline" });
  w.say({ type: "welcome", ping_s: 25, epoch: "A", subs: [] });
  w.pass(10_000);

  assert.equal(w.phase, "live");
  assert.equal(welcomes(), 1);
});

test("a bridge that stays silent is left and tried again: not every dead connection is closed", () => {
  const w = world();
  w.socket.start();
  w.goLive();
  w.pass(25_000);
  w.pass(10_000);

  assert.equal(w.phase, "stale");
  w.pass(250);
  assert.equal(w.opened.length, 2);
});

test("while messages come nothing is asked", () => {
  const w = world();
  w.socket.start();
  w.goLive();
  for (let i = 0; i < 10; i += 1) {
    w.pass(20_000);
    w.say({ type: "pipeline", epoch: "A", offset: i });
  }

  assert.equal(w.last.sent.length, 1);
});

test("after a loss it is stale, comes back by itself and resumes from epoch and offset", () => {
  const w = world();
  w.socket.start();
  w.goLive();
  w.say(recs({ epoch: "A", offset: 12 }));
  w.last.onclose({ code: 1006 });
  assert.equal(w.phase, "stale");

  w.pass(backoffMs(1, 1));
  w.last.onopen();

  assert.equal(w.opened.length, 2);
  assert.deepEqual(w.last.sent[0].subs[0], { ch: "recs", since: { epoch: "A", offset: 12 } });
  w.goLive();
  assert.equal(w.phase, "live");
});

test("the log resumes in the epoch of the welcome", () => {
  const w = world();
  w.socket.start();
  w.goLive();
  w.say({ type: "log", topic: "t", partition: 0, offset: 7, ts: 1, key: "u1", value: {} });
  w.last.onclose({ code: 1012 });
  w.pass(20_000);
  w.last.onopen();

  assert.deepEqual(w.last.sent[0].subs[1], {
    ...{ ch: "log", user: "u1", since: { epoch: "A", offset: 7 } },
  });
});

test("waits grow to a cap and start over once it was live", () => {
  const waits = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((attempt) => backoffMs(attempt, 1));
  assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  assert.equal(backoffMs(3, 0), 500);

  const w = world();
  w.socket.start();
  for (let i = 1; i <= 4; i += 1) {
    w.last.onclose({ code: 1006 });
    assert.equal(w.statuses[w.statuses.length - 1].retryInMs, backoffMs(i, 1));
    w.pass(20_000);
  }
  w.goLive();
  w.last.onclose({ code: 1006 });

  assert.equal(w.statuses[w.statuses.length - 1].retryInMs, 250);
});

test("before the first welcome a loss is still connecting, not stale", () => {
  const w = world();
  w.socket.start();
  w.last.onclose({ code: 1006 });

  assert.equal(w.phase, "connecting");
});

test("a bridge that never says welcome is left and tried again", () => {
  const w = world();
  w.socket.start();
  w.last.onopen();
  const first = w.last;

  w.pass(10_000);
  assert.equal(first.closedWith, 1000);
  w.pass(250);

  assert.equal(w.opened.length, 2);
});

test("what can't be recovered is asked for anew, without a position", () => {
  const w = world();
  w.socket.start();
  w.goLive();
  w.say(recs({ offset: 12 }));
  w.last.onclose({ code: 4010 });
  w.pass(1000);
  w.last.onopen();

  assert.deepEqual(w.last.sent[0].subs[0], { ch: "recs" });
});

test("being told to slow down waits at least ten seconds", () => {
  const w = world();
  w.socket.start();
  w.goLive();
  w.last.onclose({ code: 4013 });

  assert.ok(w.statuses[w.statuses.length - 1].retryInMs >= 10_000);
});

test("being refused fails with the bridge's words, until somebody asks again", () => {
  const w = world();
  w.socket.start();
  w.last.onopen();
  w.say({ type: "error", code: "forbidden", detail: "a token is needed" });
  w.last.onclose({ code: 4503 });
  assert.equal(w.phase, "failed");
  assert.equal(w.statuses[w.statuses.length - 1].detail, "a token is needed");
  w.pass(60_000);
  assert.equal(w.opened.length, 1);

  w.socket.retryNow();

  assert.equal(w.opened.length, 2);
});

test("an expired token is announced, and a newer one connects again", () => {
  const w = world(() => ({ token: "t" }));
  w.socket.start();
  w.goLive();
  w.last.onclose({ code: 1012 });
  assert.equal(w.expired, 0);
  w.pass(60_000);
  w.goLive();
  w.last.onclose({ code: 4001 });
  assert.equal(w.expired, 1);

  w.socket.refresh();

  assert.equal(w.opened.length, 3);
});

test("tokens that have expired already are asked for ever more rarely, until one is welcome", () => {
  const w = world(() => ({ token: "stale" }));
  const renewMs = [];
  let before = 0;
  w.socket.start();
  for (let passedMs = 0; passedMs < 120_000; passedMs += 50) {
    if (w.last.closedWith === null && w.opened.length > before) {
      before = w.opened.length;
      const { expired } = w;
      w.last.onclose({ code: 4001 });
      if (w.expired > expired) w.socket.refresh();
    }
    w.pass(50);
    if (w.expired > renewMs.length) {
      renewMs.push(passedMs);
      if (w.opened.length === before) w.socket.refresh();
    }
  }

  assert.equal(renewMs[0], 0);
  assert.ok(renewMs.length < 16, `${renewMs}`);
  assert.ok(renewMs.length > 6, `${renewMs}`);

  const { expired } = w;
  w.goLive();
  w.last.onclose({ code: 4001 });
  assert.equal(w.expired, expired + 1, "one that lived is replaced at once");
});

test("it is one connection however often it is started", () => {
  const w = world();
  w.socket.start();
  w.socket.start();
  w.goLive();
  w.socket.start();
  assert.equal(w.opened.length, 1);

  w.last.onclose({ code: 1006 });
  w.socket.start();
  assert.equal(w.opened.length, 1, "it waits before it connects again");
  w.pass(60_000);
  assert.equal(w.opened.length, 2);

  w.last.onclose({ code: 4503 });
  w.socket.start();
  assert.equal(w.opened.length, 3, "what was refused may be tried anew");
});

test("after stop no token is asked for", () => {
  const w = world(() => ({ token: "stale" }));
  w.socket.start();
  w.last.onclose({ code: 4001 });
  w.socket.refresh();
  w.last.onclose({ code: 4001 });
  w.socket.stop();
  w.pass(60_000);

  assert.equal(w.expired, 1);
  assert.equal(w.timers, 0);
});

test("a connection that can't be opened at all is tried again later", () => {
  const w = world();
  let refusals = 2;
  const { open } = w.socket.options;
  w.socket.options.open = (protocol) => {
    refusals -= 1;
    if (refusals >= 0) throw new DOMException("blocked by the page's policy", "SecurityError");
    return open(protocol);
  };

  w.socket.start();
  assert.match(w.statuses.at(-1).detail, /blocked by the page's policy/);
  w.pass(250);
  w.pass(500);
  w.goLive();

  assert.equal(w.phase, "live");
});

test("a message that the bridge does not understand is not sent again for ever", () => {
  for (const code of [1003, 1008, 1009]) {
    const w = world();
    w.socket.start();
    w.goLive();
    w.last.onclose({ code });

    assert.equal(w.phase, "failed", `${code}`);
    w.pass(60_000);
    assert.equal(w.opened.length, 1);
  }
});

test("a message of an unknown type ends the connection and throws", () => {
  const w = world();
  w.socket.start();
  w.goLive();

  assert.throws(() => w.say({ type: "mystery" }), /mystery/);
  assert.equal(w.phase, "failed");
});

test("after stop nothing connects, whatever happens", () => {
  const w = world();
  w.socket.start();
  w.goLive();
  w.last.onclose({ code: 1006 });
  w.socket.stop();
  w.pass(60_000);
  w.socket.retryNow();
  w.socket.reconnect();

  assert.equal(w.opened.length, 1);
  assert.equal(w.timers, 0);
});

test("a changed network gives the old connection up at once", () => {
  const w = world();
  w.socket.start();
  w.goLive();
  const old = w.last;
  w.socket.reconnect();
  w.pass(250);

  assert.equal(old.closedWith, 1000);
  assert.equal(w.opened.length, 2);
});

test("a newer token is told while the connection lives, and brings back one that has expired", () => {
  let token = "old";
  const here = world(() => ({ token }));
  here.socket.start();
  here.last.onopen();
  here.say({ type: "welcome", ping_s: 25, epoch: "A", subs: [] });
  token = "newer";
  here.socket.refresh();
  assert.deepEqual(here.last.sent.at(-1), { type: "refresh", token: "newer" });

  here.last.onclose({ code: 4001 });
  assert.equal(here.phase, "failed");
  token = "newest";
  here.socket.refresh();
  here.last.onopen();

  assert.equal(here.opened.length, 2);
  assert.equal(here.last.sent[0].token, "newest");
});
