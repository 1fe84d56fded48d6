// @ts-check
/** A scrubber over a user's events: the list as of each, and what the event changed in it. */

import { html, useEffect, useState } from "../../vendor/preact.js";
import { useFetch } from "../../app/fetch.js";
import { address, href, setQuery } from "../../app/router.js";
import { ItemLink, RankedList, useTitles } from "../../components/items.js";
import { Card, Empty, Fetched } from "../../components/states.js";
import { verb } from "../../elements/format.js";
import { debounce } from "../../elements/timing.js";
import { timeText } from "../../state/log-words.js";

const SCRUB_MS = 150;
const SCRUB_AT_LATEST_MS = 600;

/** @param {{user: string}} props */
export function ListsAsOf({ user }) {
  const path = `/v1/users/${encodeURIComponent(user)}`;
  const events = useFetch(`${path}/events`, { limit: 300 });
  return html`<${Card} title=${`Lists of ${user} as of here`} about="Move the handle over the user's events. Next to it is the list that the user had then, derived again from the log, and what the event changed.">
    <${Fetched} of=${events} what="The user's events">${(/** @type {any} */ data) => {
      const steps = data.events.filter((/** @type {any} */ one) => one.event.type !== "impression").reverse();
      return steps.length === 0 ? html`<${Empty}>The newest records have no event of ${user}.<//>` : html`<${Scrubber} path=${path} steps=${steps} />`;
    }}<//>
  <//>`;
}

/** @param {{path: string, steps: any[]}} props */
function Scrubber({ path, steps }) {
  const wanted = Number(address.value.query.as_of ?? NaN);
  const found = Number.isNaN(wanted) ? steps.length - 1 : steps.findLastIndex(({ offset }) => offset <= wanted);
  const at = Math.max(0, found);
  const [handle, setHandle] = useState(at);
  useEffect(() => setHandle(at), [at]);
  const [settle] = useState(() => {
    let next = at;
    const soon = debounce(() => setQuery({ as_of: steps[next]?.offset }, { isReplacing: true }), SCRUB_MS, SCRUB_AT_LATEST_MS);
    return (/** @type {number} */ to) => {
      next = to;
      soon();
    };
  });
  const move = (/** @type {number} */ to) => {
    setHandle(to);
    settle(to);
  };
  const step = steps[handle] ?? steps[at];
  const text = `${verb(step.event.type)} ${step.event.item ?? ""} at ${timeText(step.appended_ts)}`;
  return html`<div class="scrub">
    <div class="scrub-bar">
      <button type="button" class="button button-small" disabled=${handle === 0} onClick=${() => move(handle - 1)}>Event before</button>
      <input type="range" min="0" max=${steps.length - 1} step="1" value=${handle} aria-label="Event of the user" aria-valuetext=${text}
        onInput=${(/** @type {any} */ event) => move(Number(event.target.value))} />
      <button type="button" class="button button-small" disabled=${handle === steps.length - 1} onClick=${() => move(handle + 1)}>Event after</button>
    </div>
    <p class="scrub-event" data-part="scrub-event"><span class="muted">${handle + 1} of ${steps.length}:</span> ${verb(step.event.type)} <${ItemLink} id=${step.event.item ?? ""} />${" "}
      <span class="muted mono">${timeText(step.appended_ts)}, offset ${step.offset}</span></p>
    <${Effect} path=${path} step=${steps[at]} before=${steps[at - 1] ?? null} />
  </div>`;
}

/** @param {{path: string, step: any, before: any}} props */
function Effect({ path, step, before }) {
  const isFirst = before === null || before.offset === step.offset;
  const list = useFetch(isFirst ? `${path}/recommendations` : null, { as_of: step.offset, n: 20 });
  const moments = { a: before?.offset ?? 0, b: step.offset };
  const causes = useFetch(isFirst ? null : `${path}/causes`, moments);
  const isGone = !isFirst && causes.code === 404;
  const published = useFetch(isGone ? `${path}/diff` : null, moments);
  if (isFirst) {
    return html`<${Fetched} of=${list} what="The list">${(/** @type {any} */ data) => html`<${RankedList} label="The list as of this event" places=${data.items} />`}<//>`;
  }
  if (isGone && published.data?.before && published.data.after) {
    const known = { ...published.data, items: [], events: [], model: null, rules: null };
    return html`<p class="muted">As it was published; what made it can't be derived: ${causes.error}.</p><${Changes} causes=${known} />`;
  }
  return html`<${Fetched} of=${causes} what="The list">${(/** @type {any} */ data) => html`<${Changes} causes=${data} />`}<//>`;
}

/** @param {{causes: any}} props */
function Changes({ causes }) {
  const { before, after, change, items, model, rules } = causes;
  const ranks = new Map(before.items.map((/** @type {any} */ one) => [one.item, one.rank]));
  const byItem = new Map(items.map((/** @type {any} */ one) => [one.item, one]));
  useTitles(change.left.map((/** @type {any} */ one) => one.item));
  const isSame = change.entered.length + change.left.length + change.moved.length === 0;
  const noteOf = (/** @type {string} */ item) => whyOf(byItem.get(item));
  const offset = causes.events.at(-1)?.offset;
  return html`<p class="muted" data-part="scrub-model">Generation ${after.generation}.${after.delta ?? 0}${model ? ", a newer model than before" : ""}${rules ? ", other rules than before" : ""}.
      ${after.rec_id?.startsWith("r-") && html` <a href=${`/lists/${after.rec_id}`}>Its whole origin</a>`}
      ${offset !== undefined && html` · <a href=${href("/lab", { user: after.user, as_of: offset, without: offset })}>What if it had not happened?</a>`}</p>
    <h3 class="scrub-title">What left</h3>
    ${isSame && html`<p class="muted">Nothing changed.</p>`}
    ${!isSame && change.left.length === 0 && html`<p class="muted">Nothing left; places moved.</p>`}
    <ul role="list" class="left" aria-label="Items that left the list" data-part="left">${change.left.map((/** @type {any} */ one) => html`<li key=${one.item} data-key=${one.item}>
      <${ItemLink} id=${one.item} /> <span class="muted">${[`was place ${one.before}`, whyOf(byItem.get(one.item))].filter(Boolean).join("; ")}</span></li>`)}</ul>
    <h3 class="scrub-title">The list as of this event</h3>
    <${RankedList} label="The list as of this event" places=${after.items} others=${ranks} noteOf=${noteOf} />`;
}

/** @param {any} cause */
function whyOf(cause) {
  if (cause === undefined) return "";
  const parts = [];
  if (cause.events.length > 0) parts.push(cause.after > 0 ? "brought in by this event" : "moved out by this event");
  if (cause.is_model) parts.push("by the newer model");
  if (cause.is_rules) parts.push("by other rules");
  return parts.join(", ") || "by these changes together";
}
