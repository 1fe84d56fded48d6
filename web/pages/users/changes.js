// @ts-check
/** Two lists of a user side by side, and what made them differ: events, model, rules. */

import { html } from "../../vendor/preact.js";
import { shown } from "../../app/session.js";
import { ItemLink, RankedList, useTitles } from "../../components/items.js";
import { Card, Empty } from "../../components/states.js";
import { did, plural, titleOf } from "../../elements/format.js";

/** Events without an effect are named up to this number, then counted. */
const MOST_IDLE = 3;

/** @param {any} event */
const isIdle = ({ brought, kept_out: keptOut, n_moved: moved }) => brought.length + keptOut.length + moved === 0;

/** @param {{causes: any, isLate: boolean}} props */
export function Changes({ causes, isLate }) {
  const { before, after, items, events, change } = causes;
  const ranks = (/** @type {any} */ list) => new Map(list.items.map((/** @type {any} */ { item, rank }) => [item, rank]));
  const causeOf = new Map(items.map((/** @type {any} */ cause) => [cause.item, cause]));
  const byPosition = new Map(events.map((/** @type {any} */ event) => [`${event.offset}.${event.place}`, event]));
  const names = shown.items.value;
  useTitles(events.map((/** @type {any} */ event) => event.item));
  const note = (/** @type {string} */ item) => causeText(causeOf.get(item), byPosition, names);
  const summary = `${change.entered.length} entered, ${change.left.length} left, ${change.moved.length} moved`;
  const idle = events.filter(isIdle);
  const listed = idle.length > MOST_IDLE ? events.filter((/** @type {any} */ event) => !isIdle(event)) : events;
  return html`<${Card} title="What changed" about=${`Between A and B: ${summary}. ${plural(causes.n_events, "event")} came in between.`}>
      <div class="side-by-side" aria-busy=${String(isLate)}>
        <section aria-label="List A"><h3 class="row-title">List A <a class="mono" href=${`/lists/${encodeURIComponent(before.rec_id)}`}>${before.rec_id}</a></h3>
          <${RankedList} label="List A" places=${before.items} others=${ranks(after)} absent="left" noteOf=${note} /></section>
        <section aria-label="List B"><h3 class="row-title">List B <a class="mono" href=${`/lists/${encodeURIComponent(after.rec_id)}`}>${after.rec_id}</a></h3>
          <${RankedList} label="List B" places=${after.items} others=${ranks(before)} noteOf=${note} /></section>
      </div>
    <//>
    <${Card} title="What did it" about="List B was derived again without each event in turn. What is then missing, that event brought; what comes back, it pushed out.">
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

/** @param {{ids: string[]}} props */
function Names({ ids }) {
  useTitles(ids);
  return ids.map((id, at) => html`${at > 0 && ", "}<${ItemLink} key=${id} id=${id} />`);
}

/** @param {{change: any}} props */
function ChangeText({ change }) {
  return html`<span>brought <${Names} ids=${change.entered.map((/** @type {any} */ { item }) => item)} />${change.left.length > 0 && html`, pushed out <${Names} ids=${change.left.map((/** @type {any} */ { item }) => item)} />`}${change.moved.length > 0 && `, moved ${change.moved.length}`}</span>`;
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
