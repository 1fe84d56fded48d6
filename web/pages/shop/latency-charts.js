// @ts-check
/** Two charts: the steps of one click as a waterfall, the latencies of a session as bars. */

import { html } from "../../vendor/preact.js";
import { formatMs } from "../../state/latency.js";

/**
 * @typedef {import("../../state/latency.js").Trace} Trace
 * @typedef {import("../../state/latency.js").StepName} StepName
 */

/** @type {[StepName, string, string][]} */
const STEPS = [
  ["log", "Event → log", "from the click until the event is stored in the log"],
  ["fold", "Fold in", "the worker folds the event in and solves your factors"],
  ["publish", "Publish", "the new list is ranked and appended to its topic"],
  ["push", "Push", "over the WebSocket to this page"],
  ["paint", "Paint", "until the new order is on the screen"],
];

/**
 * One bar for each step: its start and its duration.
 *
 * @param {{trace: Trace | null}} props
 */
export function Waterfall({ trace }) {
  const total = Math.max(trace?.totalMs ?? 0, 0.1);
  const steps = new Map((trace?.steps ?? []).map((step) => [step.name, step]));
  return html`<ol class="waterfall" role="list" data-part="waterfall">
    ${STEPS.map(([name, label, about]) => {
      const step = steps.get(name);
      const [from, to] = step === undefined ? [0, 0] : [step.fromMs / total, step.toMs / total];
      const style = { "--from": from.toFixed(4), "--length": (to - from).toFixed(4) };
      return html`<li class="step" data-step=${name} key=${name} title=${about} style=${style} data-empty=${step === undefined ? "" : null}>
        <span class="step-name">${label}</span>
        <span class="step-track"><span class="step-bar" /></span>
        <span class="step-ms">${step === undefined ? "–" : stepText(step)}</span>
      </li>`;
    })}
  </ol>`;
}

/**
 * Returns the duration of a step as text. Server times are whole milliseconds.
 *
 * @param {import("../../state/latency.js").Step} step
 */
function stepText({ name, fromMs, toMs }) {
  const ms = toMs - fromMs;
  return ms < 1 && (name === "fold" || name === "publish") ? "< 1 ms" : formatMs(ms);
}

const BARS = 32;

/**
 * The newest latencies of the session as bars, the newest on the right.
 *
 * @param {{totalsMs: readonly number[]}} props
 */
export function Spark({ totalsMs }) {
  const shown = totalsMs.slice(-BARS);
  if (shown.length <= 4) return null;
  const most = Math.max(...shown, 1);
  const bars = shown.map((ms, i) => {
    const height = Math.max(1.5, (ms / most) * 24);
    const name = i === shown.length - 1 ? "spark-bar spark-last" : "spark-bar";
    return html`<rect class=${name} x=${i * 4} y=${24 - height} width="3" height=${height} rx="1" />`;
  });
  const label = `The last ${shown.length} clicks, the slowest ${formatMs(most)}`;
  return html`<svg viewBox=${`0 0 ${BARS * 4} 24`} class="spark" role="img" aria-label=${label}>${bars}</svg>`;
}
