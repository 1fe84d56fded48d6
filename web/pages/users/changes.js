// @ts-check
/** Two lists of a user side by side, and what made them differ: events, model, rules. */

import { html } from "../../vendor/preact.js";
import { shown } from "../../app/session.js";
import { ItemLink, RankedList, useTitles } from "../../components/items.js";
import { Card, Empty } from "../../components/states.js";
import { did, plural, titleOf } from "../../elements/format.js";

/** Events without an effect are named up to this number, then counted. */
const MOST_IDLE = 3;
/** Lists between A and B that are shown. */
const MOST_STEPS = 50;

/** @param {any} event */
const isIdle = ({ brought, kept_out: keptOut, n_moved: moved }) => brought.length + keptOut.length + moved === 0;

/** @param {{causes: any, isLate: boolean}} props */
export function Changes({ causes, isLate }) {
  const { after, items, events } = causes;
  const causeOf = new Map(items.map((/** @type {any} */ cause) => [cause.item, cause]));
  const byPosition = new Map(events.map((/** @type {any} */ event) => [`${event.offset}.${event.place}`, event]));
  const names = shown.items.value;
  useTitles(events.map((/** @type {any} */ event) => event.item));
  const note = (/** @type {string} */ item) => causeText(causeOf.get(item), byPosition, names);
  const idle = events.filter(isIdle);
  const listed = idle.length > MOST_IDLE ? events.filter((/** @type {any} */ event) => !isIdle(event)) : events;
  return html`<${TwoLists} ...${causes} nEvents=${causes.n_events} isLate=${isLate} noteOf=${note} />
    <${Card} title="What did it" about="List B was derived again without each event in turn. It shows what would be different without that event: items that would be missing, and items that would be in the list.">
      ${events.length === 0 && causes.model === null && causes.rules === null && html`<${Empty}>Nothing between A and B changed the list.<//>`}
      <ul class="effects" role="list">
        ${causes.model !== null && html`<li class="effect"><strong>New model</strong> <${ChangeText} change=${causes.model} /></li>`}
        ${causes.rules !== null && html`<li class="effect"><strong>New rules or settings</strong> <${ChangeText} change=${causes.rules} /></li>`}
        ${listed.map((/** @type {any} */ event) => html`<li class="effect" key=${`${event.offset}.${event.place}`} data-event=${event.id}>
          <strong>${did(event.type, titleOf(names, event.item))}</strong>
          <a class="mono" href=${`/log/interactions?partition=${after.as_of?.partition ?? 0}&at=${event.offset}`}>${after.as_of?.partition ?? 0} : ${event.offset}</a>
          ${event.brought.length > 0 && html`<span>brought <${Names} ids=${event.brought} /></span>`}
          ${event.kept_out.length > 0 && html`<span>pushed out <${Names} ids=${event.kept_out} /></span>`}
          <span class="muted">${event.n_moved > 0 ? `moved ${event.n_moved}` : isIdle(event) ? "changed nothing by itself" : ""}</span>
        </li>`)}
        ${listed.length < events.length && html`<li class="effect muted" data-part="idle-events">${plural(events.length - listed.length, "event")} changed nothing by themselves.</li>`}
      </ul>
    <//>`;
}

/**
 * @param {{before: any, after: any, change: any, nEvents: number, isLate: boolean, noteOf?: (item: string) => string}} props
 */
function TwoLists({ before, after, change, nEvents, isLate, noteOf }) {
  const ranks = (/** @type {any} */ list) => new Map(list.items.map((/** @type {any} */ { item, rank }) => [item, rank]));
  const list = (/** @type {string} */ name, /** @type {any} */ one, /** @type {any} */ other, absent = "new") => html`<section aria-label=${`List ${name}`}>
      <h3 class="row-title">List ${name} <a class="mono" href=${`/lists/${encodeURIComponent(one.rec_id)}`}>${one.rec_id}</a></h3>
      <${RankedList} label=${`List ${name}`} places=${one.items} others=${ranks(other)} absent=${absent} noteOf=${noteOf} />
    </section>`;
  const summary = `${change.entered.length} entered, ${change.left.length} left, ${change.moved.length} moved`;
  return html`<${Card} title="What changed" about=${`Between A and B: ${summary}. ${plural(nEvents, "event")} came in between.`}>
    <div class="side-by-side" aria-busy=${String(isLate)}>${list("A", before, after, "left")}${list("B", after, before)}</div>
  <//>`;
}

/**
 * Two lists as they were published, and each list between them: what is known when a model is gone.
 *
 * @param {{diff: any, why: string}} props
 */
export function Steps({ diff, why }) {
  const { before, after, change, steps } = diff;
  const names = shown.items.value;
  useTitles(steps.flatMap((/** @type {any} */ step) => step.events.map((/** @type {any} */ event) => event.item)));
  if (before === null || after === null) return html`<${Card} title="What changed"><${Empty}>There is nothing to compare: ${why}. Move A to a later moment.<//><//>`;
  const nEvents = steps.reduce((/** @type {number} */ n, /** @type {any} */ step) => n + step.events.length, 0);
  const newest = [...steps].reverse().slice(0, MOST_STEPS);
  return html`<${TwoLists} before=${before} after=${after} change=${change} nEvents=${nEvents} isLate=${false} />
    <${Card} title="Step by step" about=${`Each list that was published between A and B, the newest first, and what came before it. Which event moved which item can't be derived: ${why}.`}>
      <ul class="effects" role="list" data-part="steps">
        ${newest.map((step) => html`<li class="effect" key=${step.rec_id}>
          <strong>${stepText(step, names)}</strong> <a class="mono" href=${`/lists/${encodeURIComponent(step.rec_id)}`}>${step.rec_id}</a>
          <${ChangeText} change=${step.change} />
        </li>`)}
        ${newest.length < steps.length && html`<li class="effect muted">${plural(steps.length - newest.length, "older list")} not shown. Move A closer to B.</li>`}
      </ul>
    <//>`;
}

/**
 * @param {any} step
 * @param {Record<string, import("../../state/state.js").Item>} names
 */
function stepText({ events, model_changed: isModel, steering_changed: isRules }, names) {
  const last = events.at(-1);
  const parts = last === undefined ? [] : [did(last.type, titleOf(names, last.item)) + (events.length > 1 ? ` and ${plural(events.length - 1, "event")} before` : "")];
  if (isModel) parts.push("new model or delta");
  if (isRules) parts.push("new rules");
  return parts.join(", ") || "made anew";
}

/** @param {{ids: string[]}} props */
function Names({ ids }) {
  useTitles(ids);
  return ids.map((id, at) => html`${at > 0 && ", "}<${ItemLink} key=${id} id=${id} />`);
}

/** @param {{change: any}} props */
function ChangeText({ change }) {
  const { entered, left, moved } = change;
  const ids = (/** @type {any[]} */ items) => items.map(({ item }) => item);
  if (entered.length + left.length + moved.length === 0) return html`<span class="muted">changed nothing</span>`;
  return html`${entered.length > 0 && html`<span>brought <${Names} ids=${ids(entered)} /></span>`}
    ${left.length > 0 && html`<span>pushed out <${Names} ids=${ids(left)} /></span>`}
    ${moved.length > 0 && html`<span class="muted">moved ${moved.length}</span>`}`;
}

/**
 * @param {any} cause
 * @param {Map<string, any>} byPosition
 * @param {Record<string, import("../../state/state.js").Item>} names
 */
function causeText(cause, byPosition, names) {
  if (cause === undefined) return "";
  const verb = cause.before === 0 ? "entered" : "left";
  const parts = cause.events.map((/** @type {string} */ position) => {
    const event = byPosition.get(position);
    return event === undefined ? position : did(event.type, titleOf(names, event.item));
  });
  if (cause.is_model) parts.push("the new model");
  if (cause.is_rules) parts.push("the new rules");
  return parts.length === 0 ? `${verb}: several events together` : `${verb}: ${parts.join("; ")}`;
}
