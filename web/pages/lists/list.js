// @ts-check
/** One published list: its event, model, rules and times; derived again; what the user did with it. */

import { html } from "../../vendor/preact.js";
import { useFetch } from "../../app/fetch.js";
import { href } from "../../app/router.js";
import { CopyLink } from "../../components/copy.js";
import { Facts } from "../../components/facts.js";
import { Folded } from "../../components/folded.js";
import { ItemLink, RankedList, useTitles } from "../../components/items.js";
import { Json } from "../../components/json.js";
import { Card, Empty, Fetched, Page } from "../../components/states.js";
import { count, plural, verb } from "../../elements/format.js";
import { INTERACTIONS, RECOMMENDATIONS, timeText } from "../../state/log-words.js";

/** @type {Record<string, string>} */
const SOURCES = {
  popular: "popular items, since nothing is known of the user",
  "fold-in": "the user's events",
  refresh: "a newer model, without a new event",
  content: "items similar to the user's by content",
};

/** @param {{id: string, about: string}} props */
export function List({ id, about }) {
  const origin = useFetch(`/v1/lists/${encodeURIComponent(id)}`);
  return html`<${Page} title=${`List ${id}`} about=${about} tools=${html`<${CopyLink} />`}>
    <${Fetched} of=${origin} what="The list">${(/** @type {any} */ data) => html`<${Origin} origin=${data} again=${origin.reload} />`}<//>
  <//>`;
}

/** @param {{origin: any, again: () => void}} props */
function Origin({ origin, again }) {
  const { list, before, after } = origin;
  const ofEvents = [...origin.events, ...origin.uses].map(({ event }) => event.item);
  const ofReasons = list.items.flatMap((/** @type {any} */ one) => (one.why ?? []).map((/** @type {any} */ reason) => reason.item));
  useTitles([...new Set([...ofEvents, ...ofReasons])].filter(Boolean));
  const others = new Map(list.items.filter((/** @type {any} */ one) => one.was > 0).map((/** @type {any} */ one) => [one.item, one.was]));
  return html`<${Derived} origin=${origin} again=${again} />
    <div class="boxes">
      <${Card} title="How it came about"><${Story} origin=${origin} /><//>
      <${Card} title=${`The list of ${list.user}`} about="Places, and how they moved against the user's list before."
          tools=${html`<span class="box-tools">${before && html`<a class="button button-small" href=${`/lists/${before}`}>List before</a>`}
            ${after && html`<a class="button button-small" href=${`/lists/${after}`}>List after</a>`}</span>`}>
        <${RankedList} label="The list" places=${list.items} others=${before ? others : null} />
      <//>
      <${Card} title="What the user did with it" about="Later events that name this list."><${Uses} uses=${origin.uses} /><//>
      <${Card} title="Rules and settings"><${Settings} settings=${origin.settings} arm=${list.arm} /><//>
      <${Card} title="As it is in the log" wide=${true}><${Json} value=${list} label="The list as JSON" /><//>
    </div>`;
}

/** @param {{origin: any, again: () => void}} props */
function Derived({ origin, again }) {
  const { is_identical: isIdentical, why_not: whyNot } = origin;
  const text = isIdentical
    ? "Derived again just now: identical, byte for byte."
    : isIdentical === false
      ? "Derived again just now: different from what was published."
      : `It can't be derived again: ${whyNot}`;
  return html`<p class="derived" role="status" data-part="derived" data-identical=${String(isIdentical)}>
    <span class="tag" data-tone=${isIdentical ? "good" : isIdentical === false ? "bad" : "warn"}>${isIdentical ? "identical" : isIdentical === false ? "different" : "not derivable"}</span>
    ${text} <button type="button" class="button button-small" onClick=${again}>Derive again</button></p>`;
}

/** @param {{origin: any}} props */
function Story({ origin }) {
  const { list, events, generation } = origin;
  const { lineage = {}, as_of: asOf } = list;
  const since = lineage.appended_ts ?? 0;
  const later = (/** @type {number | undefined} */ ts) => (ts && since ? `${ts - since >= 0 ? "+" : ""}${ts - since} ms` : "");
  const user = encodeURIComponent(list.user);
  return html`<ol class="cause-line" role="list">
    <${Folded} rows=${events.map((/** @type {any} */ one) => html`<li key=${one.place} data-part="origin-event">
      <strong><a href=${`/users/${user}`}>${list.user}</a> ${verb(one.event.type)} ${one.event.item && html`<${ItemLink} id=${one.event.item} />`}</strong>
      <div class="muted">${one.event.ts ? timeText(Date.parse(one.event.ts)) : ""}, event ${one.event.id}</div></li>`)} />
    <li>Appended to the log <span class="muted">${since ? timeText(since) : ""}</span>
      ${asOf && html`<div><a class="mono" href=${href(`/log/${INTERACTIONS}`, { open: `${asOf.partition}:${asOf.offset}`, user: list.user, as_of: asOf.offset })}>interactions ${asOf.partition} : ${asOf.offset}</a></div>`}</li>
    <li>Folded into the user's history <span class="muted">${later(lineage.folded_ts)}</span></li>
    <li>Ranked from ${SOURCES[list.source] ?? list.source}, by <a href=${`/models?a=${list.generation}`}>generation ${list.generation}</a>, delta ${list.delta ?? 0}
      <div class="muted">${generation ? `trained ${timeText(generation.created_ts)} on ${count(generation.n_interactions)} interactions of ${count(generation.n_users)} users; ${count(origin.n_deltas)} deltas so far` : "no longer announced"}</div></li>
    <li>Published <span class="muted">${later(lineage.published_ts)}</span>
      <div><a class="mono" href=${href(`/log/${RECOMMENDATIONS}`, { open: `${list.partition ?? 0}:${list.offset}`, user: list.user })}>recommendations ${list.partition ?? 0} : ${list.offset}</a></div></li>
  </ol>
  <p class="links"><a href=${href("/lab", { user: list.user, as_of: asOf?.offset })}>What if …</a>
    <a href=${href(`/log/${INTERACTIONS}`, { user: list.user, as_of: asOf?.offset })}>The user's lists as of each event</a></p>`;
}

/** @param {{uses: any[]}} props */
function Uses({ uses }) {
  if (uses.length === 0) return html`<${Empty}>Nothing so far.<//>`;
  return html`<ul role="list" class="left" data-part="uses"><${Folded} rows=${uses.map(({ offset, place, event }) => html`<li key=${`${offset}.${place}`}>
    ${verb(event.type)} ${event.item ? html`<${ItemLink} id=${event.item} />` : plural(event.items?.length ?? 0, "item")}${" "}
    <span class="muted">${event.ts ? timeText(Date.parse(event.ts)) : ""}</span></li>`)} /></ul>`;
}

/** @param {{settings: any, arm: string}} props */
function Settings({ settings, arm }) {
  if (settings === null) return html`<${Empty}>The settings are no longer in the log.<//>`;
  const days = settings.half_life_ms / 86_400_000;
  return html`<${Facts} facts=${[
      ["Arm", arm || "none", "The user's group in an A/B test."],
      ["Length", settings.list_size, "Items in a published list."],
      ["Half-life", `${days.toFixed(0)} days`, "Time after which an event counts half."],
      ["Settings", settings.control < 0 ? "defaults" : `control offset ${settings.control}`, "Where the settings stand in the log."],
    ]} />
    <ul role="list" class="left">${settings.words.length === 0 && html`<li class="muted">No rules: the list is ranked by the model alone.</li>`}
      ${settings.words.map((/** @type {string} */ words) => html`<li key=${words}>${words}</li>`)}</ul>`;
}
