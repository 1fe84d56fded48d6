// @ts-check
/** Results of an A/B test: each measure with its 95 % interval, and a verdict when the intervals part. */

import { html } from "../vendor/preact.js";
import { count } from "../elements/format.js";
import { wilson, winner } from "../state/intervals.js";
import { Term } from "./facts.js";

/** @typedef {import("../connection/protocol.js").ArmResult} ArmResult */

/** @type {{name: string, about: string, unit: string, value: (arm: ArmResult) => number, n: (arm: ArmResult) => number}[]} */
const MEASURES = [
  {
    ...{ name: "Hit@10", unit: "events", about: "Share of new events whose item was among the first ten of the user's list before the event." },
    ...{ value: (arm) => arm.hit10, n: (arm) => arm.events },
  },
  {
    ...{ name: "MRR", unit: "events", about: "Mean of one divided by the item's place in the list before the event; 0 if it was not listed." },
    ...{ value: (arm) => arm.mrr, n: (arm) => arm.events },
  },
  {
    ...{ name: "Clicks", unit: "shown", about: "Share of listed products that were clicked after they were shown." },
    ...{ value: (arm) => (arm.shown > 0 ? arm.clicked / arm.shown : 0), n: (arm) => arm.shown },
  },
];

const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(1)} %`;

/** @param {{arms: ArmResult[]}} props */
export function Arms({ arms }) {
  if (arms.length === 0) return html`<p class="muted" data-part="arms-note">Nobody has done anything in the test yet.</p>`;
  return html`<div class="arms">${MEASURES.map((measure) => html`<${Measure} key=${measure.name} arms=${arms} measure=${measure} />`)}</div>`;
}

/** @param {{arms: ArmResult[], measure: typeof MEASURES[number]}} props */
function Measure({ arms, measure }) {
  const rows = arms.map((arm) => {
    const [value, n] = [measure.value(arm), measure.n(arm)];
    return { name: arm.name, value, n, ...wilson(value, n) };
  });
  const known = rows.filter(({ n }) => n > 0);
  const most = Math.max(0.01, ...known.map(({ high }) => high));
  const best = known.length === rows.length ? winner(rows) : null;
  const verdict = best === null ? "Too early to say: the intervals overlap." : `“${best}” is better.`;
  return html`<section class="measure">
    <h3 class="measure-name"><${Term} about=${measure.about}>${measure.name}<//></h3>
    <ul role="list">
      ${rows.map(({ name, value, n, low, high }) => {
        const style = { "--low": (low / most).toFixed(4), "--high": (Math.min(1, high / most)).toFixed(4), "--at": (value / most).toFixed(4) };
        return html`<li class="arm" key=${name}>
          <span class="arm-name">${name}</span>
          ${n > 0
            ? html`<span class="interval" style=${style} aria-hidden="true"></span>
                <span class="arm-value">${percent(value)}</span>
                <span class="arm-of">${percent(low)} to ${percent(high)}, ${count(n)} ${measure.unit}</span>`
            : html`<span class="arm-of">no ${measure.unit === "shown" ? "products shown" : measure.unit} yet</span>`}
        </li>`;
      })}
    </ul>
    <p class="measure-verdict" data-verdict=${best === null ? "open" : "clear"}>${verdict}</p>
  </section>`;
}
