// @ts-check
/** How events become lists: the flow with its rates, what waits, how fresh lists are, and the last hour. */

import { html } from "../../vendor/preact.js";
import { useFetch } from "../../app/fetch.js";
import { shown, train } from "../../app/session.js";
import { Chart } from "../../components/chart.js";
import { Stat, Term } from "../../components/facts.js";
import { Card, Empty, Fetched, Page } from "../../components/states.js";
import { count } from "../../elements/format.js";
import { ageText, timeText } from "../../elements/time.js";
import { formatMs } from "../../state/latency.js";
import { heldOutRecall } from "../../state/model-words.js";
import { predictedText, reasonOf, trainingText } from "../../state/pipeline-words.js";
import { freshnessOf, rates } from "../../state/history.js";
import { Flow } from "./flow.js";

const GENERATIONS = 20;

/** @param {{title: string, about: string}} props */
export function Pipeline({ title, about }) {
  const now = useFetch("/v1/pipeline", {}, { everyMs: 2000 });
  const hour = useFetch("/v1/pipeline/history", {}, { everyMs: 5000 });
  const isTraining = shown.pipeline.value?.training?.state === "training";
  const tools = html`<button type="button" class="button button-main" disabled=${isTraining} onClick=${() => void train()}>Train now</button>`;
  return html`<${Page} title=${title} about=${about} tools=${tools}>
    <${Fetched} of=${now} what="The state of the pipeline">${(/** @type {any} */ state) => html`<${State} state=${state} hour=${hour.data} />`}<//>
    <${Fetched} of=${hour} what="The last hour">${(/** @type {any} */ data) => html`<${Hour} hour=${data} />`}<//>
    <${Generations} />
  <//>`;
}

/** @param {{state: any, hour: any}} props */
function State({ state, hour }) {
  const points = hour?.points ?? [];
  const last = points.at(-1) ?? {};
  const live = shown.pipeline.value;
  const lag = Object.entries(state.partition_lag ?? {});
  const total = state.lag ?? 0;
  return html`<${Flow} state=${state} rates=${rates(points).at(-1) ?? null} nLists=${last.lists ?? 0} />
    <div class="stats">
      <${Stat} name="Waiting events" value=${count(total)} tone=${total > 0 ? "warn" : "good"}
        about="Events at the end of the log that no worker has committed as folded, over all partitions. Measured by the bridge." />
      <${Stat} name="Hit@10" value=${predictedText(live)} about="How often the item of a new event was among the first ten of the user's list before it." />
      <${Stat} name="Push, median" value=${state.push ? formatMs(state.push.p50_ms) : "–"} about="From a published list to its write to a browser's connection, over the newest lists pushed by this bridge." />
      <${Stat} name="Dead letters" value=${html`<a href="/dead-letters">${count(last.dead_letters ?? 0)}</a>`} tone=${last.dead_letters ? "warn" : ""}
        about="Records that could not be read. They are kept aside, and can be mended and sent again." />
      <${Stat} name="Connections" value=${count(state.connections ?? 0)} about="Browsers and programs that follow lists at this bridge." />
    </div>
    <div class="boxes">
      <${Card} title="Roles" about="Each process sends a heartbeat every few seconds, also when it is idle.">
        <table class="table"><thead><tr><th scope="col">Role</th><th scope="col">State</th><th scope="col">Heartbeat</th></tr></thead>
          <tbody>${(state.roles ?? []).map((/** @type {any} */ role) => html`<tr key=${role.name}>
            <th scope="row">${role.name}</th>
            <td><span class="tag" data-tone=${toneOf(role.state)}>${role.state}</span> ${role.reason && html`<span class=${role.state === "ready" ? "muted" : "role-reason"}>${reasonOf(role.name, role.reason)}</span>`}</td>
            <td>${role.heartbeat_age_ms === null ? (role.name === "bridge" ? "answers" : "none") : `${ageText(role.heartbeat_age_ms)} ago`}</td>
          </tr>`)}</tbody></table>
      <//>
      <${Card} title="Waiting, by partition" about="Events of a partition that are in the log and not yet folded. Users are spread over partitions by a hash of their id.">
        ${lag.length === 0 ? html`<${Empty}>Unknown: the log can't be read.<//>` : html`<${Lag} lag=${lag} />`}
      <//>
    </div>
    <${Card} title="Training"><p data-part="training-text">${trainingText(live)}</p><//>`;
}

/** @param {string} state */
export const toneOf = (state) => (state === "ready" ? "good" : state === "degraded" ? "warn" : "bad");

/** @param {{lag: [string, number][]}} props */
function Lag({ lag }) {
  const most = Math.max(1, ...lag.map(([, n]) => n));
  return html`<ul class="bars" role="list">
    ${lag.map(([partition, n]) => html`<li class="bar-row" key=${partition}>
      <span>partition ${partition}</span>
      <span class="why-bar" data-tone=${n > 0 ? "warn" : null} style=${{ "--share": (n / most).toFixed(3) }}></span>
      <span class="number">${count(n)}</span>
    </li>`)}
  </ul>`;
}

/** @param {{hour: any}} props */
function Hour({ hour }) {
  const points = hour.points ?? [];
  if (points.length < 2) return html`<${Card} title="The last hour"><${Empty}>The bridge has just started. A point is added every ${hour.interval_s} s.<//><//>`;
  const x = points.map((/** @type {any} */ point) => point.ts / 1000);
  const speed = rates(points);
  const fresh = freshnessOf(points, hour.freshness_bounds_ms);
  const perSecond = (/** @type {number} */ value) => `${value.toFixed(1)}/s`;
  return html`<div class="boxes">
    <${Card} title="Records a second" about="New records of the interactions topic, and lists published, in the last hour.">
      <${Chart} label="Records and lists a second over the last hour" x=${x} series=${[
        { label: "events", values: speed.map(({ events }) => events), format: perSecond },
        { label: "lists", values: speed.map(({ lists }) => lists), format: perSecond },
      ]} />
    <//>
    <${Card} title="Freshness" about="Time from a fresh event's append to its list's publication, in the last hour. Not counted: lists of imported events, and lists made because of a new model.">
      ${fresh.total === 0
        ? html`<${Empty}>No list followed an event in the last hour.<//>`
        : html`<${Chart} label=${`Lists by freshness: ${fresh.words}`} isTime=${false} isBars=${true} xLabel="freshness" x=${fresh.labels.map((_, at) => at)}
            xFormat=${(/** @type {number} */ at) => fresh.labels[at] ?? ""} series=${[{ label: "lists", values: fresh.counts }]} />
            <p class="muted">${fresh.words}</p>`}
    <//>
    <${Card} title="Waiting events" about="Events in the log that were not folded yet.">
      <${Chart} label="Waiting events over the last hour" x=${x} series=${[{ label: "waiting", values: points.map((/** @type {any} */ point) => point.lag ?? 0) }]} />
    <//>
    <${Card} title="Accuracy of lists" about="Hit@10 and MRR of the newest events: each event is compared with the list that was there before it.">
      <${Accuracy} points=${points} />
    <//>
  </div>`;
}

/** @param {{points: any[]}} props */
export function Accuracy({ points }) {
  if (!points.some((point) => point.hit_10 !== undefined && point.hit_10 !== null)) return html`<${Empty}>No event came since the bridge started.<//>`;
  const percent = (/** @type {number} */ value) => `${(100 * value).toFixed(1)} %`;
  return html`<${Chart} label="Hit at ten and MRR over the last hour" x=${points.map((point) => point.ts / 1000)} series=${[
    { label: "hit@10", values: points.map((point) => point.hit_10 ?? null), format: percent },
    { label: "MRR", values: points.map((point) => point.mrr ?? null), format: percent },
  ]} />`;
}

function Generations() {
  const generation = shown.pipeline.value?.generation ?? null;
  const models = useFetch("/v1/models", { at: generation });
  return html`<${Card} title="The last generations" tools=${html`<a href="/models">Compare models</a>`}
      about="Each training makes a generation. It serves unless it predicts held-out events clearly worse than popular items or than the one before.">
    <${Fetched} of=${models} what="The generations">${(/** @type {any} */ data) => html`<div class="scroller" tabindex="0" role="region" aria-label="Generations"><table class="table">
      <thead><tr><th scope="col">Generation</th><th scope="col">Trained</th><th scope="col" class="number">Interactions</th><th scope="col" class="number">Seconds</th><th scope="col" class="number"><${Term} about="The share of a user's items held out of the training that are among the first 20 of the list, averaged over users.">Recall@20<//></th><th scope="col">State</th></tr></thead>
      <tbody>${data.models.slice(0, GENERATIONS).map((/** @type {any} */ model) => html`<tr key=${model.generation}>
        <th scope="row"><a href=${`/models?a=${model.generation}`}>${model.generation}</a></th>
        <td>${timeText(model.created_ts)}</td>
        <td class="number">${count(model.n_interactions)}</td>
        <td class="number">${model.train_seconds.toFixed(1)}</td>
        <td class="number">${heldOutRecall(model, "candidate")}</td>
        <td>${model.generation === data.serving ? html`<span class="tag" data-tone="good">serving</span>` : model.judgement && !model.judgement.is_adopted ? html`<span class="tag" data-tone="bad">rejected</span>` : ""}</td>
      </tr>`)}</tbody></table></div>`}<//>
  <//>`;
}
