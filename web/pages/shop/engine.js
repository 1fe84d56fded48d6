// @ts-check
/** The panels at the bottom of the shop: latency by step, model, the user's events. */

import { html, useState } from "../../vendor/preact.js";
import { record, shown, train } from "../../app/session.js";
import { Facts } from "../../components/facts.js";
import { count, plural, titleOf, did } from "../../elements/format.js";
import { Icon } from "../../elements/icons.js";
import { formatMs, quantile } from "../../state/latency.js";
import { modelLine, predictedText, trainingText } from "../../state/pipeline-words.js";
import { recall, remember } from "../../state/preferences.js";
import { Spark, Waterfall } from "./latency-charts.js";

/** Event types whose item can be removed from the history. */
const FORGETTABLE = new Set(["view", "click", "cart", "purchase", "rate", "like", "dislike"]);

export function Engine() {
  const isRoomy = matchMedia("(min-width: 1100px) and (min-height: 760px)").matches;
  const [isOpen, setOpen] = useState(recall("engine", isRoomy ? "open" : "closed") === "open");
  document.body.dataset.engine = isOpen ? "open" : "closed";
  const toggle = () => {
    remember("engine", isOpen ? "closed" : "open");
    setOpen(!isOpen);
  };
  return html`<footer class="engine" aria-label="Under the hood" data-part="engine">
    <div class="engine-bar">
      <span class="engine-fact engine-latency" data-part="bar-latency"><${BarLatency} /></span>
      <span class="engine-fact engine-model" data-part="bar-model">${modelLine(shown.pipeline.value)}</span>
      <${BarQueue} />
      <a class="engine-link" href="/pipeline">The whole pipeline</a>
      <button class="engine-toggle" type="button" aria-controls="engine-panels" aria-expanded=${String(isOpen)}
          data-part="engine-toggle" onClick=${toggle}>
        <span>Under the hood</span><${Icon} name="chevron" />
      </button>
    </div>
    <div class="engine-panels" id="engine-panels" data-part="engine-panels" hidden=${!isOpen}>
      <${Latency} /><${Model} /><${Activity} />
    </div>
  </footer>`;
}

function BarLatency() {
  const trace = shown.lastTrace.value;
  const median = quantile(shown.totalsMs.value, 0.5);
  if (trace === null) return "Click a product to measure";
  return `${formatMs(trace.totalMs)}${median === null ? "" : ` · median ${formatMs(median)}`}`;
}

function BarQueue() {
  const { queued, trouble } = shown.outbox.value;
  const isHidden = queued === 0 || (trouble === "" && queued < 3);
  return html`<span class="engine-queue" data-part="bar-queue" hidden=${isHidden} title=${trouble || null}>${plural(queued, "event")} queued</span>`;
}

function Latency() {
  const trace = shown.lastTrace.value;
  const totals = shown.totalsMs.value;
  const median = quantile(totals, 0.5);
  const words = caption(trace, shown.unchanged.value, shown.items.value);
  return html`<section class="panel" aria-labelledby="latency-title">
    <header class="panel-head">
      <h2 class="panel-title" id="latency-title">From click to list</h2>
      <span class="panel-aside" data-part="latency-median">${median === null ? "" : `median of ${plural(totals.length, "click")}: ${formatMs(median)}`}</span>
    </header>
    <div class="latency">
      <div class="latency-total">
        <span class="latency-number" data-part="latency-number" data-waiting=${String(shown.pending.value.length > 0)}>
          ${trace === null ? "–" : formatMs(trace.totalMs)}
        </span>
        <span class="latency-caption" data-part="latency-caption" title=${words}>${words}</span>
        <span class="latency-spark"><${Spark} totalsMs=${totals} /></span>
      </div>
      <${Waterfall} trace=${trace} />
    </div>
  </section>`;
}

function Model() {
  const pipeline = shown.pipeline.value;
  const generation = Math.max(pipeline?.generation ?? 0, shown.recs.value?.generation ?? 0);
  const training = pipeline?.training ?? null;
  const model = pipeline?.model ?? null;
  const isTraining = training?.state === "training";
  const most = Math.max(1, training?.iterations ?? 1);
  const done = isTraining ? training.iteration : (model?.nInteractions ?? 0) > 0 ? most : 0;
  return html`<section class="panel" aria-labelledby="model-title">
    <header class="panel-head">
      <h2 class="panel-title" id="model-title" data-part="model-title">Model, generation ${generation}</h2>
      <button class="button button-small" type="button" data-part="train" disabled=${isTraining} onClick=${() => void train()}>Train now</button>
    </header>
    <div class="training" data-part="training" data-state=${training?.state ?? "waiting"}>
      <div class="progress" role="progressbar" aria-label="Training" aria-valuemin="0" aria-valuemax=${most} aria-valuenow=${done}
        style=${{ "--done": (done / most).toFixed(3) }}><span class="progress-fill"></span></div>
      <p class="training-text" data-part="training-text">${trainingText(pipeline)}</p>
    </div>
    <${Facts} facts=${[
      ["Log records", pipeline === null ? "–" : count(pipeline.nEvents), "Records of the topic of interactions. One record can hold a batch of events."],
      ["Waiting (lag)", pipeline === null ? "–" : count(pipeline.lag), "Events in the log that no worker has folded yet."],
      ["Trained on", model === null ? "–" : plural(model.nInteractions, "interaction"), "Pairs of a user and an item that the newest generation was trained on: all events of a pair count as one interaction."],
      ["Hit@10", predictedText(pipeline), "How often the item of a new event was among the first ten of the user's list before it."],
      ["Users × items", model === null ? "–" : `${count(model.nUsers)} × ${count(model.nItems)}`, "The size of the model."],
    ]} />
  </section>`;
}

function Activity() {
  const activity = shown.activity.value;
  const items = shown.items.value;
  const nMissed = shown.nMissed.value;
  const note =
    nMissed > 0
      ? `${plural(nMissed, "older event")} not shown`
      : `No events yet. Events of ${shown.user.value} appear here with their offset in the log.`;
  return html`<section class="panel" aria-labelledby="activity-title">
    <header class="panel-head">
      <h2 class="panel-title" id="activity-title">Your events in the log</h2>
      <a class="panel-aside" href=${`/users/${encodeURIComponent(shown.user.value)}`}>partition : offset</a>
    </header>
    <ol class="activity" role="list" tabindex="0" aria-labelledby="activity-title" data-part="activity"
        data-empty=${activity.length === 0 ? note : null}>
      ${activity.map((entry) => {
        const title = titleOf(items, entry.item);
        return html`<li class="event" key=${entry.id} data-status=${entry.status}>
          <span class="event-text">${did(entry.type, title)}</span>
          <span class="event-place" title=${entry.detail || null}>${placeText(entry)}</span>
          <button type="button" class="event-forget" title="Remove this product from your history"
              hidden=${!FORGETTABLE.has(entry.type)} onClick=${() => record("remove", entry.item)}>
            <${Icon} name="undo" /><span class="visually-hidden">Remove ${title} from your history</span>
          </button>
        </li>`;
      })}
    </ol>
  </section>`;
}

/** @param {import("../../state/state.js").Activity} entry */
function placeText({ status, partition, offset, index = 0 }) {
  if (status === "refused") return "refused";
  if (status === "queued") return "queued";
  if (offset === null) return "in the log";
  return index > 0 ? `${partition} : ${offset} [${index}]` : `${partition} : ${offset}`;
}

/**
 * @param {import("../../state/latency.js").Trace | null} trace
 * @param {import("../../state/state.js").Pending | null} unchanged
 * @param {Record<string, import("../../state/state.js").Item>} items
 */
function caption(trace, unchanged, items) {
  if (unchanged !== null) return "Your last click is in the log. Your list did not change.";
  if (trace === null) return "Open or like a product: each step is measured.";
  return `after you ${did(trace.kind, titleOf(items, trace.item))}`;
}
