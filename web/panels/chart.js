// @ts-check
/** Two charts: the steps of one click as a waterfall, the latencies of a session as bars. */

import { find, html, keyed, setAttribute, setText, svg } from "../elements/dom.js";
import { formatMs } from "../state/latency.js";

/**
 * @typedef {import("../state/latency.js").Trace} Trace
 * @typedef {import("../state/latency.js").StepName} StepName
 */

/** @type {Record<StepName, {name: string, about: string}>} */
const STEPS = {
  log: { name: "Event → log", about: "from the click until the event is stored in the log" },
  fold: { name: "Fold in", about: "the worker folds the event in and solves your factors" },
  publish: { name: "Publish", about: "the new list is ranked and appended to its topic" },
  push: { name: "Push", about: "over the WebSocket to this page" },
  paint: { name: "Paint", about: "until the new order is on the screen" },
};

/** @type {StepName[]} */
const ORDER = ["log", "fold", "publish", "push", "paint"];

/**
 * Draws one bar for each step: its start and its duration.
 *
 * @param {Element} list
 * @param {Trace | null} trace
 */
export function drawWaterfall(list, trace) {
  const total = Math.max(trace?.totalMs ?? 0, 0.1);
  const steps = new Map((trace?.steps ?? []).map((step) => [step.name, step]));
  keyed(
    list,
    ORDER,
    (name) => {
      const { name: label, about } = STEPS[/** @type {StepName} */ (name)];
      return html(
        "li",
        { class: "step", "data-step": name, title: about },
        html("span", { class: "step-name", text: label }),
        html("span", { class: "step-track" }, html("span", { class: "step-bar" })),
        html("span", { class: "step-ms", "data-part": "ms", text: "–" }),
      );
    },
    (element, name) => {
      const step = steps.get(/** @type {StepName} */ (name));
      const [from, to] = step === undefined ? [0, 0] : [step.fromMs / total, step.toMs / total];
      element.style.setProperty("--from", from.toFixed(4));
      element.style.setProperty("--length", (to - from).toFixed(4));
      setAttribute(element, "data-empty", step === undefined ? "" : null);
      setText(find(element, "ms"), step === undefined ? "–" : stepText(step));
    },
  );
}

/**
 * Returns the duration of a step as text. Server times are whole milliseconds.
 *
 * @param {import("../state/latency.js").Step} step
 */
function stepText({ name, fromMs, toMs }) {
  const ms = toMs - fromMs;
  return ms < 1 && (name === "fold" || name === "publish") ? "< 1 ms" : formatMs(ms);
}

const BARS = 32;

/**
 * Draws the newest latencies of the session as bars, the newest on the right.
 *
 * @param {Element} root
 * @param {readonly number[]} totalsMs
 */
export function drawSpark(root, totalsMs) {
  const shown = totalsMs.slice(-BARS);
  const most = Math.max(...shown, 1);
  const width = BARS * 4;
  const bars = shown.map((ms, i) => {
    const height = Math.max(1.5, (ms / most) * 24);
    const x = i * 4;
    const name = i === shown.length - 1 ? "spark-bar spark-last" : "spark-bar";
    return svg("rect", { class: name, x, y: 24 - height, width: 3, height, rx: 1 });
  });
  const image = svg("svg", { viewBox: `0 0 ${width} 24`, class: "spark", role: "img" }, ...bars);
  const label = `The last ${shown.length} clicks, the slowest ${formatMs(most)}`;
  setAttribute(image, "aria-label", label);
  root.replaceChildren(...(shown.length > 4 ? [image] : []));
}
