// @ts-check
/** The steering document in force: a sentence for each part, each with a button that takes it back. */

import { html } from "../vendor/preact.js";
import { shown } from "../app/session.js";
import { steering } from "../app/steering.js";
import { Icon } from "../elements/icons.js";
import { sentences } from "../state/steering.js";

export function RulesInForce() {
  const { document: said, status, error, warnings } = shown.steer.value;
  const found = sentences(said, shown.items.value);
  const hasFailed = status === "failed";
  return html`${(hasFailed || warnings.length > 0) &&
    html`<p class="steer-error" role="alert" data-part="steer-error" data-kind=${hasFailed ? "error" : "warning"}>${hasFailed ? error : warnings.join(" ")}</p>`}
    <ul class="steer-rules" role="list" data-part="steer-rules">
      ${found.length === 0 && html`<li class="steer-rule">No rules: lists are ranked by the model alone</li>`}
      ${found.map(
        ({ key, text, without }) => html`<li class="steer-rule" key=${key}>
          <span>${text}</span>
          <button type="button" class="event-forget" title="Take it back" onClick=${() => void steering.set(without)}>
            <${Icon} name="close" /><span class="visually-hidden">Take back: ${text}</span>
          </button>
        </li>`,
      )}
    </ul>
    ${found.length > 0 && html`<details class="steer-json"><summary>As JSON</summary><pre tabindex="0" aria-label="The document in force">${JSON.stringify(said, null, 2)}</pre></details>`}`;
}
