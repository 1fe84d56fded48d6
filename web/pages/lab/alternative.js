// @ts-check
/** Fields that the lab's forms share: rules as a blend, a document or none; another generation. */

import { html } from "../../vendor/preact.js";
import { useFetch } from "../../app/fetch.js";

/** @type {[name: string, label: string][]} */
const SOURCES = [
  ["factors", "Factors"],
  ["behaviour", "Behaviour neighbours"],
  ["content", "Content"],
  ["popularity", "Popularity"],
];

/** @param {{value: string}} props */
export function GenerationField({ value }) {
  const models = useFetch("/v1/models");
  const numbers = (models.data?.models ?? []).map((/** @type {any} */ model) => model.generation);
  const known = value === "" || numbers.includes(Number(value)) ? numbers : [Number(value), ...numbers];
  return html`<label class="field">Model<select name="generation" value=${value}>
    <option value="">as it was</option>${known.map((/** @type {number} */ number) => html`<option key=${number} value=${number}>generation ${number}</option>`)}</select></label>`;
}

/** @param {{query: Record<string, string>}} props */
export function RulesFields({ query }) {
  return html`<label class="field">Rules<select name="rules" value=${query.rules ?? ""}>
      <option value="">as they were</option><option value="none">none</option><option value="blend">other weights</option><option value="json">a document</option></select></label>
    ${SOURCES.map(([name, label]) => html`<label class="field" key=${name} hidden=${query.rules !== "blend"}>${label}<input name=${name} type="number" min="0" max="10" step="0.1" value=${query[name] ?? "1"} /></label>`)}
    <label class="field lab-document" hidden=${query.rules !== "json"}>Steering document
      <textarea name="document" rows="5" spellcheck=${false} value=${query.document ?? '{"rules":[]}'}></textarea></label>`;
}

/**
 * Returns the steering document of a form, or undefined for the one in force; throws for bad JSON.
 *
 * @param {Record<string, string>} query
 */
export function steeringOf(query) {
  if (query.rules === "none") return {};
  if (query.rules === "json") return JSON.parse(query.document ?? "{}");
  if (query.rules !== "blend") return undefined;
  return { blend: Object.fromEntries(SOURCES.map(([name]) => [name, Number(query[name] ?? 1)])) };
}
