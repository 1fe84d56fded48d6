// @ts-check
/** Synthetic customers of the demo shop: on, off, how many events a second. */

import { html, useState } from "../../vendor/preact.js";
import { useFetch, useSend } from "../../app/fetch.js";
import { api } from "../../app/session.js";
import { Stat } from "../../components/facts.js";
import { Card, Fetched } from "../../components/states.js";
import { count } from "../../elements/format.js";
import { timeText } from "../../state/log-words.js";

export function Traffic() {
  const traffic = useFetch("/v1/traffic", {}, { everyMs: 2000 });
  return html`<${Card} title="Synthetic traffic" about="Made-up customers browse the demo shop. Their events are real records of this log, and the model learns from them. recstream up switches it on for the demo shop (option --traffic).">
    <${Fetched} of=${traffic} what="The traffic">${(/** @type {any} */ state) => html`<${Switch} state=${state} reload=${traffic.reload} />`}<//>
  <//>`;
}

/** @param {{state: any, reload: () => void}} props */
function Switch({ state, reload }) {
  const [rate, setRate] = useState("5");
  const { send, isBusy, error } = useSend();
  const change = async (/** @type {number} */ next) => {
    await send(() => api.send("PUT", "/v1/traffic", { rate: next }));
    reload();
  };
  return html`<div class="stats">
      <${Stat} name="Events a second" value=${state.rate} about="That this bridge sends now." />
      <${Stat} name="Sent" value=${count(state.n_sent)} about="Events since the traffic was switched on." />
      <${Stat} name="Since" value=${state.since_ts === null ? "–" : timeText(state.since_ts).slice(11, 19)} about="When it was switched on." />
    </div>
    ${state.why_not && html`<p class="muted" data-part="why-not">${state.why_not}</p>`}
    ${error && html`<p class="field-error" role="alert">${error}</p>`}
    <form class="form-row" aria-label="Traffic" onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      void change(Number(rate));
    }}>
      <label class="field">Events a second<input type="number" min="0.1" max="1000" step="any" value=${rate} onInput=${(/** @type {any} */ event) => setRate(event.target.value)} /></label>
      <button type="submit" class="button button-main" disabled=${isBusy || state.why_not !== ""}>${state.rate > 0 ? "Change the rate" : "Switch on"}</button>
      <button type="button" class="button" disabled=${isBusy || state.rate === 0} onClick=${() => void change(0)}>Switch off</button>
    </form>`;
}
