// @ts-check
/** Generations of the model side by side: evaluation, size, hyper-parameters, lists; and the way back to one. */

import { html } from "../../vendor/preact.js";
import { useFetch, useSend } from "../../app/fetch.js";
import { address, setQuery } from "../../app/router.js";
import { api, dispatch, shown } from "../../app/session.js";
import { CopyLink } from "../../components/copy.js";
import { Stat, Term } from "../../components/facts.js";
import { ItemLink, UserLink, useTitles } from "../../components/items.js";
import { Card, Empty, Fetched, Page } from "../../components/states.js";
import { count, plural } from "../../elements/format.js";
import { timeText } from "../../elements/time.js";
import { heldOutRecall, hyperparameter } from "../../state/model-words.js";
import { Accuracy } from "../pipeline/pipeline.js";

/** @param {{title: string, about: string}} props */
export function Models({ title, about }) {
  const generation = shown.pipeline.value?.generation ?? null;
  const models = useFetch("/v1/models", { at: generation });
  return html`<${Page} title=${title} about=${about} tools=${html`<${CopyLink} />`}>
    <${Fetched} of=${models} what="The generations">${(/** @type {any} */ data) =>
      data.models.length === 0 ? html`<${Empty}>No generation was announced yet.<//>` : html`<${Comparison} models=${data.models} serving=${data.serving} />`}<//>
    <${Live} />
  <//>`;
}

function Live() {
  const hour = useFetch("/v1/pipeline/history", {}, { everyMs: 10_000 });
  return html`<${Card} title="Accuracy while it serves" about="Hit@10 and MRR of the newest events, each compared with the list that was there before it (prequential evaluation), in the last hour.">
    <${Fetched} of=${hour} what="The last hour">${(/** @type {any} */ data) => html`<${Accuracy} points=${data.points} />`}<//>
  <//>`;
}

/** @param {{models: any[], serving: number | null}} props */
function Comparison({ models, serving }) {
  const { a, b } = address.value.query;
  const find = (/** @type {string | undefined} */ wanted) => models.find((model) => String(model.generation) === wanted);
  const second = find(b) ?? models[0];
  const first = find(a) ?? models.find((model) => model.generation === second.parent) ?? models[models.length - 1];
  /** @param {"a" | "b"} name @param {any} model */
  const choice = (name, model) => html`<label class="field">${name === "a" ? "Generation A" : "Generation B"}
    <select value=${String(model.generation)} onChange=${(/** @type {any} */ event) => setQuery({ a: first.generation, b: second.generation, [name]: event.currentTarget.value })}>
      ${models.map((each) => html`<option key=${each.generation} value=${String(each.generation)} selected=${each === model}>${each.generation}${each.generation === serving ? " (serving)" : ""}</option>`)}
    </select></label>`;
  const compared = first === second ? [first] : [first, second];
  return html`<div class="form-row">${choice("a", first)}${choice("b", second)}</div>
    <${Card} title=${compared.map(({ generation }) => `Generation ${generation}`).join(" and ")}><${Table} compared=${compared} serving=${serving} /><//>
    ${first !== second && html`<${Overlap} key=${`${first.generation} ${second.generation}`} a=${first.generation} b=${second.generation} />`}`;
}

/** @type {[name: string, about: string, value: (model: any) => any][]} */
const ROWS = [
  ["Trained", "When the training ended.", (model) => timeText(model.created_ts)],
  ["Interactions", "Pairs of a user and an item that it was trained on: all events of a pair count as one interaction.", (model) => count(model.n_interactions)],
  ["Users × items", "Its size.", (model) => `${count(model.n_users)} × ${count(model.n_items)}`],
  ["Seconds", "Duration of the training.", (model) => model.train_seconds.toFixed(1)],
  ["Recall@20", "The newest 2 % of all history entries, at most 2,000, were held out of the training. Recall@20 is the share of a user's held-out items among the first 20 of the list, averaged over users.", (model) => heldOutRecall(model, "candidate")],
  ["Recall@20 of popular items", "The same for lists of popular items. A model that is clearly below is rejected.", (model) => heldOutRecall(model, "popular")],
  ["Recall@20 of the one before", "The same for the generation that served at that time. A model that is clearly below is rejected.", (model) => heldOutRecall(model, "serving")],
  ["Result", "Whether it was activated, and why.", (model) => (model.judgement ? `${model.judgement.is_adopted ? "activated" : "rejected"}: ${model.judgement.reason}` : "–")],
];

/** @param {{compared: any[], serving: number | null}} props */
function Table({ compared, serving }) {
  const names = [...new Set(compared.flatMap(({ hyperparameters }) => Object.keys(hyperparameters)))];
  return html`<div class="scroller scroller-long" tabindex="0" role="region" aria-label="Comparison"><table class="table compare">
    <thead><tr><th scope="col">Generation</th>${compared.map((model) => html`<th scope="col">${model.generation} ${model.generation === serving ? html`<span class="tag" data-tone="good">serving</span>` : html`<${RollBack} generation=${model.generation} />`}</th>`)}</tr></thead>
    <tbody>
      ${ROWS.map(([name, about, value]) => html`<tr key=${name}><th scope="row"><${Term} about=${about}>${name}<//></th>${compared.map((model) => html`<td>${value(model)}</td>`)}</tr>`)}
      ${names.map((name) => {
        const values = compared.map((model) => hyperparameter(name, model.hyperparameters[name]));
        const [{ about, label, text }] = values;
        const differs = values.some((each) => each.text !== text);
        return html`<tr key=${`h ${name}`} data-differs=${differs ? "" : null}>
          <th scope="row">${about ? html`<${Term} about=${`${about} (${name})`}>${label}<//>` : html`<span class="mono">${name}</span>`}</th>
          ${values.map((each) => html`<td>${each.text}</td>`)}</tr>`;
      })}
    </tbody></table></div>`;
}

/** @param {{generation: number}} props */
function RollBack({ generation }) {
  const { isBusy, error, send } = useSend();
  const roll = async () => {
    const answer = await send(() => api.send("POST", `/v1/models/${generation}/rollback`, {}));
    if (answer !== undefined) dispatch({ type: "notice", text: `Requested: generation ${generation} serves again.` });
  };
  return html`<button type="button" class="button button-small button-wraps" disabled=${isBusy} title=${`Let the model of generation ${generation} serve again, as a new generation`} onClick=${() => void roll()}>Roll back to it</button>
    ${error && html`<p class="error-text" role="alert">${error}</p>`}`;
}

const SAMPLE = 8;

/** @param {{a: number, b: number}} props */
function Overlap({ a, b }) {
  const overlap = useFetch(`/v1/models/${a}/overlap`, { with: b });
  const percent = (/** @type {number} */ share) => `${Math.round(100 * share)} %`;
  return html`<${Card} title="The same users' lists by both" about="Lists of recent users, made by each of the two generations from the same histories.">
    <${Fetched} of=${overlap} what="The comparison">${(/** @type {any} */ data) => html`<div class="stats">
        <${Stat} name="In both lists" value=${percent(data.mean_overlap)} about="Mean share of products that are in both lists of a user." />
        <${Stat} name="Identical" value=${`${data.n_identical} of ${data.users}`} about="Users whose lists are the same, in the same order." />
        <${Stat} name=${`Coverage of ${a}`} value=${percent(data.coverage_a)} about="Share of the catalogue that is in at least one of these lists." />
        <${Stat} name=${`Coverage of ${b}`} value=${percent(data.coverage_b)} about="Share of the catalogue that is in at least one of these lists." />
      </div>
      <p class="muted">The ${plural(Math.min(SAMPLE, data.lists.length), "user")} whose lists differ most:</p>
      <div class="scroller" tabindex="0" role="region" aria-label="Lists that differ most"><table class="table table-slices"><thead><tr><th scope="col">User</th><th scope="col" class="number">In both</th><th scope="col">First by ${a}</th><th scope="col">First by ${b}</th></tr></thead>
        <tbody>${data.lists.slice(0, SAMPLE).map((/** @type {any} */ row) => html`<${Sample} key=${row.user} row=${row} />`)}</tbody></table></div>`}<//>
  <//>`;
}

/** @param {{row: any}} props */
function Sample({ row }) {
  const [left, right] = [row.a.slice(0, 3), row.b.slice(0, 3)];
  useTitles([...left, ...right]);
  const links = (/** @type {string[]} */ ids) => ids.map((id, at) => html`${at > 0 && html`<br />`}<${ItemLink} key=${id} id=${id} />`);
  return html`<tr><th scope="row"><${UserLink} id=${row.user} /></th><td class="number">${Math.round(100 * row.overlap)} %</td><td>${links(left)}</td><td>${links(right)}</td></tr>`;
}
