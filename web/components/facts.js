// @ts-check
/** Numbers with their names; what a number means is shown on hover and focus. */

import { html, useId } from "../vendor/preact.js";

/**
 * A name that explains itself on hover and focus.
 *
 * @param {{children?: any, about: string}} props
 */
export function Term({ children, about }) {
  const id = useId();
  return html`<span class="term" tabindex="0" aria-describedby=${id}>${children}<span class="tip" role="tooltip" id=${id}>${about}</span></span>`;
}

/**
 * A list of names and values.
 *
 * @param {{facts: [name: string, value: any, about: string][]}} props
 */
export function Facts({ facts }) {
  return html`<dl class="facts">
    ${facts.map(
      ([name, value, about]) => html`<div class="fact" key=${name}>
        <dt><${Term} about=${about}>${name}<//></dt><dd>${value}</dd>
      </div>`,
    )}
  </dl>`;
}

/**
 * A large number.
 *
 * @param {{name: string, value: any, about: string, tone?: "" | "good" | "warn" | "bad"}} props
 */
export function Stat({ name, value, about, tone = "" }) {
  return html`<div class="stat" data-tone=${tone || null}>
    <span class="stat-value">${value}</span>
    <span class="stat-name"><${Term} about=${about}>${name}<//></span>
  </div>`;
}
