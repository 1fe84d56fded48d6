// @ts-check
/** Pipeline diagram: stages with their state, arrows with their rates. It moves while events come. */

import { html } from "../../vendor/preact.js";
import { Term } from "../../components/facts.js";
import { count } from "../../elements/format.js";
import { ageText } from "../../elements/time.js";
import { reasonOf } from "../../state/pipeline-words.js";

/**
 * @param {{state: any, rates: {events: number | null, lists: number | null} | null, nLists: number}} props
 */
export function Flow({ state, rates, nLists }) {
  const roles = Object.fromEntries((state.roles ?? []).map((/** @type {any} */ role) => [role.name, role]));
  const { events = null, lists = null } = rates ?? {};
  const training = state.training ?? {};
  const isTraining = training.state === "training";
  return html`<section class="flow" aria-label="Pipeline diagram">
    <ol class="flow-row" role="list">
      <${Place} name="Browser" value=${count(state.connections ?? 0)} unit="connected" about="Clicks are sent as events. New lists come back over a WebSocket." />
      <${Arrow} rate=${events} unit="records" />
      <${Place} name="Log" value=${count(state.events ?? 0)} unit="records" about="Every event is appended here first. Everything else is derived from it." />
      <${Arrow} rate=${events} unit="records" isStopped=${roles.worker?.state === "down"} />
      <${Place} name="Worker" role=${roles.worker} value=${count(roles.worker?.lag ?? state.lag ?? 0)} unit="waiting" about="Folds each event into the user's history, solves the user's factors and ranks a new list." />
      <${Arrow} rate=${lists} unit="lists" isStopped=${roles.worker?.state === "down"} />
      <${Place} name="Lists" value=${count(nLists)} unit="published" about="Each new list is a record of the log, with the event and the model that it came from." />
      <${Arrow} rate=${lists} unit="lists" />
      <${Place} name="Push" role=${roles.bridge} value=${state.push ? `${state.push.p50_ms.toFixed(0)} ms` : "–"} unit=${state.push ? "median" : "no list pushed yet"} about="The bridge sends each list to the browsers of its user." />
    </ol>
    <ol class="flow-row flow-model" role="list">
      <${Place} name="Trainer" role=${roles.trainer} value=${isTraining ? `${training.iteration} of ${training.iterations}` : (training.state ?? "waits")} unit=${isTraining ? "iterations" : "last training"} about="Reads the log and trains a new generation of the model from time to time." />
      <${Arrow} rate=${isTraining ? 1 : 0} unit="" isQuiet=${true} to="trains" />
      <${Place} name="Model" value=${state.generation ?? "none"} unit="generation" about="Item factors, neighbours and content features. Workers rank with the newest generation." />
      <${Arrow} rate=${0} unit="" isQuiet=${true} to="used by the worker" />
    </ol>
  </section>`;
}

/** @param {{name: string, value: any, unit: string, about: string, role?: any}} props */
function Place({ name, value, unit, about, role }) {
  return html`<li class="flow-place" data-state=${role?.state ?? null}>
    <span class="flow-name"><${Term} about=${about}>${name}<//></span>
    <span class="flow-value">${value}</span><span class="flow-unit">${unit}</span>
    ${role && html`<span class="flow-role">${role.state === "ready" ? (role.heartbeat_age_ms === null ? "ready" : `ready, ${ageText(role.heartbeat_age_ms)} ago`) : `${role.state}: ${reasonOf(role.name, role.reason)}`}</span>`}
  </li>`;
}

/** @param {{rate: number | null, unit: string, isStopped?: boolean, isQuiet?: boolean, to?: string}} props */
function Arrow({ rate, unit, isStopped = false, isQuiet = false, to = "" }) {
  const isMoving = (rate ?? 0) > 0 && !isStopped;
  const seconds = Math.min(3, Math.max(0.25, 2 / Math.sqrt(Math.max(0.01, rate ?? 0.01))));
  return html`<li class="flow-arrow" data-moving=${isMoving ? "" : null} data-stopped=${isStopped ? "" : null} style=${{ "--pace": `${seconds.toFixed(2)}s` }}>
    <span class="flow-line" aria-hidden="true"></span>
    <span class="flow-rate">${isQuiet ? to : rate === null ? "–" : `${rate.toFixed(rate < 10 ? 1 : 0)} ${unit}/s`}</span>
  </li>`;
}
