// @ts-check
/** A range of the log under other rules or another model: accuracy compared with what was published. */

import { html, useRef, useState } from "../../vendor/preact.js";
import { useSend } from "../../app/fetch.js";
import { address, setQuery } from "../../app/router.js";
import { api } from "../../app/session.js";
import { Chart } from "../../components/chart.js";
import { Field } from "../../components/field.js";
import { Term } from "../../components/facts.js";
import { Card, Empty } from "../../components/states.js";
import { count } from "../../elements/format.js";
import { momentOf } from "../../state/log-words.js";
import { GenerationField, RulesFields, steeringOf } from "./alternative.js";

const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(1)} %`;

export function LogWhatIf() {
  const { query } = address.value;
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const { send, error, isBusy } = useSend();
  const read = () => Object.fromEntries([...new FormData(/** @type {HTMLFormElement} */ (form.current))].map(([name, text]) => [name, String(text).trim()]));
  /** @param {Event} event */
  const run = async (event) => {
    event.preventDefault();
    const fields = read();
    setQuery(fields);
    const found = await send(async () =>
      api.send("POST", "/v1/what-if/log", {
        ...{ from: momentOf(fields.from), to: momentOf(fields.to), steering: steeringOf({ ...query, ...fields }) },
        ...{ generation: fields.generation ? Number(fields.generation) : undefined, limit: Number(fields.limit || 2000) },
      }),
    );
    if (found !== undefined) setAnswer(found);
  };
  return html`<${Card} title="Replay a range" about="Each event for an item that is new to its user is looked up twice: in the list that the user had before it, and in the list that the user would have had. Nothing is published.">
    <form class="form-row" aria-label="Replay a range" ref=${form} onSubmit=${run} onChange=${() => setQuery({ rules: read().rules })}>
      <${Field} label="From" name="from" value=${query.from ?? ""} placeholder="the last 24 hours" />
      <${Field} label="To" name="to" value=${query.to ?? ""} placeholder="now" />
      <${GenerationField} value=${query.generation ?? ""} />
      <${RulesFields} query=${query} />
      <${Field} label="Most events" name="limit" type="number" min="1" max="20000" value=${query.limit ?? "2000"} />
      <button type="submit" class="button button-main" disabled=${isBusy}>${isBusy ? "Replaying …" : "Replay"}</button>
    </form>
    ${error && html`<p class="field-error" role="alert" data-part="replay-error">${error}</p>`}
  <//>
  ${answer && html`<${Result} answer=${answer} />`}`;
}

/** @param {{answer: any}} props */
function Result({ answer }) {
  const { was, would } = answer;
  if (answer.n_events === 0) return html`<${Empty}>No event of this range was for a new item of a user who had a list.<//>`;
  /** @type {[string, string, number, number, any][]} */
  const rows = [
    ...[5, 10, 20].map((k) => /** @type {[string, string, number, number, any]} */ ([`Hit@${k}`, `Share of events whose item was among the first ${k}.`, was.all.hits[k], would.all.hits[k], k === 10 ? answer.hit_10 : null])),
    ["MRR", "Mean of one divided by the item's place; 0 if it was not listed.", was.all.mrr, would.all.mrr, answer.mrr],
    ["Coverage", "Share of all items that are in any of the lists.", answer.coverage_was, answer.coverage_would, null],
  ];
  const notes = [
    answer.n_events < answer.n_found && `An even sample of ${count(answer.n_found)} events.`,
    !answer.is_complete && "The time was up before the whole sample was compared.",
    answer.n_seen_by_model > 0 && `This generation was trained on ${count(answer.n_seen_by_model)} of these events, so its score is too high.`,
    answer.n_pruned > 0 && `${count(answer.n_pruned)} events are left out: the model of their lists is no longer kept.`,
    answer.n_stale > 0 && `${count(answer.n_stale)} published lists are older than the range.`,
  ].filter(Boolean);
  const isSame = answer.n_changed === 0;
  return html`<${Card} title="What was, and what would have been" about=${`${count(answer.n_events)} events; ${isSame ? "all of their lists would have been the same" : `${count(answer.n_changed)} of their lists would have been different`}.`}>
    <table class="table" data-part="replay"><thead><tr><th scope="col">Measure</th><th scope="col" class="number">Was</th><th scope="col" class="number">Would be</th><th scope="col">Difference</th></tr></thead>
      <tbody>${rows.map(([name, about, before, after, difference]) => html`<tr key=${name}><th scope="row"><${Term} about=${about}>${name}<//></th>
        <td class="number">${percent(before)}</td><td class="number">${percent(after)}</td>
        <td>${difference && !isSame ? html`<span class="tag" data-tone=${difference.verdict === "better" ? "good" : difference.verdict === "worse" ? "bad" : null}>${difference.verdict}</span>
          <span class="muted">${percent(difference.low)} to ${percent(difference.high)}</span>` : ""}</td></tr>`)}</tbody></table>
    ${notes.map((note) => html`<p class="muted" key=${note}>${note}</p>`)}
    ${answer.curve.length > 1 && html`<${Chart} label="Hit at ten over the range, as it was and as it would be" x=${answer.curve.map((/** @type {any} */ point) => point.from_ts / 1000)} series=${[
      { label: "was", values: answer.curve.map((/** @type {any} */ point) => point.was), format: percent },
      { label: "would be", values: answer.curve.map((/** @type {any} */ point) => point.would), format: percent },
    ]} />`}
  <//>`;
}
