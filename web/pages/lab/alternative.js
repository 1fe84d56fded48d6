// @ts-check
/** Fields that the lab's forms share: rules as a blend, a document or none; another generation. */

import { html } from "../../vendor/preact.js";
import { useFetch } from "../../app/fetch.js";
import { Choice, Field } from "../../components/field.js";

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
  return html`<${Choice} label="Model" name="generation" value=${value} options=${[["", "as it was"], ...known.map((/** @type {number} */ number) => [String(number), `generation ${number}`])]} />`;
}

/** @param {{query: Record<string, string>}} props */
export function RulesFields({ query }) {
  return html`<${Choice} label="Rules" name="rules" value=${query.rules ?? ""} options=${[["", "as they were"], ["none", "none"], ["blend", "other weights"], ["json", "a document"]]} />
    ${SOURCES.map(([name, label]) => html`<${Field} key=${name} hidden=${query.rules !== "blend"} label=${label} name=${name} value=${query[name] ?? "1"} type="number" min="0" max="10" step="0.1" />`)}
    <div class="lab-document" hidden=${query.rules !== "json"}><${Field} label="Steering document" name="document" rows=${5} value=${query.document ?? '{"rules":[]}'} /></div>`;
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
