// @ts-check
import assert from "node:assert/strict";
import test from "node:test";

import { UNKNOWN_CLOCK, formatMs, narrow, quantile, trace } from "../../web/state/latency.js";

const click = { id: "e1", item: "p1", kind: "view", atMs: 100, wallMs: 50_100 };

/** @param {number} skew */
const lineage = (skew) => ({
  ...{ event_id: "e1", event_ts: 50_100 },
  ...{ appended_ts: 50_104 + skew, folded_ts: 50_107 + skew, published_ts: 50_109 + skew },
});

test("steps follow one another from the click to the paint", () => {
  const { steps, totalMs } = trace(click, lineage(0), {
    ...{ receivedMs: 112, paintedMs: 118, clock: UNKNOWN_CLOCK },
  });

  assert.equal(totalMs, 18);
  assert.deepEqual(
    steps.map(({ name, fromMs, toMs }) => [name, fromMs, toMs]),
    [["log", 0, 4], ["fold", 4, 7], ["publish", 7, 9], ["push", 9, 12], ["paint", 12, 18]],
  );
});

test("a server clock that is an hour off still gives steps inside the measured whole", () => {
  for (const skew of [-3_600_000, 3_600_000]) {
    const clock = narrow(UNKNOWN_CLOCK, click, lineage(skew), 50_112);
    const { steps } = trace(click, lineage(skew), { receivedMs: 112, paintedMs: 118, clock });
    const [log, fold, publish] = steps;

    assert.ok(clock.low <= skew && skew <= clock.high);
    assert.ok(steps.every(({ fromMs, toMs }) => fromMs >= 0 && fromMs <= toMs && toMs <= 18));
    assert.equal(fold.toMs - fold.fromMs, 3);
    assert.ok(log.toMs <= 7 && publish.toMs <= 12);
  }
});

test("bounds of the clock only get narrower, and start anew when a clock was set", () => {
  const first = narrow(UNKNOWN_CLOCK, click, lineage(0), 50_112);
  const second = narrow(first, click, lineage(0), 50_110);
  const reset = narrow(second, click, lineage(-9_000), 50_112);

  assert.deepEqual(first, { low: -3, high: 5 });
  assert.deepEqual(second, { low: -1, high: 5 });
  assert.deepEqual(reset, { low: -9_003, high: -8_995 });
});

test("the quantile is a value that was seen, by nearest rank", () => {
  assert.equal(quantile([], 0.5), null);
  assert.equal(quantile([7], 0.5), 7);
  assert.equal(quantile([4, 1, 3, 2], 0.5), 2);
  assert.equal(quantile([4, 1, 3, 2], 0.99), 4);
});

test("durations are short to read", () => {
  assert.deepEqual([0.42, 9.96, 38.4, 1234, 12_340].map(formatMs), [
    ...["0.4 ms", "10 ms", "38 ms", "1.2 s", "12 s"],
  ]);
});
