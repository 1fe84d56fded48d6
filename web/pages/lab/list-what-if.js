// @ts-check
/** One list with other events, rules, weights or another model, compared with the list as it was. */

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { useFetch, useSend } from "../../app/fetch.js";
import { address, setQuery } from "../../app/router.js";
import { api, shown } from "../../app/session.js";
import { Field } from "../../components/field.js";
import { ItemLink, RankedList, useTitles } from "../../components/items.js";
import { Card, Empty, Fetched } from "../../components/states.js";
import { count, reasonText, verb } from "../../elements/format.js";
import { momentOf, timeText } from "../../state/log-words.js";
import { GenerationField, RulesFields, steeringOf } from "./alternative.js";

/** Events listed to take away. */
const MOST_EVENTS = 100;
const EVENTS = ["like", "view", "click", "cart", "purchase", "dislike"];
const FIELDS = ["user", "as_of", "rules", "document", "factors", "behaviour", "content", "popularity", "generation", "half_life", "n"];

/**
 * Returns the request that an address describes.
 *
 * @param {Record<string, string>} query
 */
export function requestOf(query) {
  const number = (/** @type {string | undefined} */ text) => (text ? Number(text) : undefined);
  return {
    user: query.user,
    as_of: momentOf(query.as_of ?? ""),
    without: (query.without ?? "").split(",").filter(Boolean),
    add: (query.add ?? "").split(",").filter(Boolean).map((text) => {
      const at = text.indexOf(":");
      return { type: text.slice(0, at), item: text.slice(at + 1) };
    }),
    steering: steeringOf(query),
    generation: number(query.generation),
    half_life_days: number(query.half_life),
    n: number(query.n),
  };
}

export function ListWhatIf() {
  const { query } = address.value;
  const user = query.user || shown.user.value;
  const full = { ...query, user };
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const { send, error, isBusy } = useSend();
  const key = JSON.stringify(full);
  useEffect(() => {
    let isCurrent = true;
    void send(async () => api.send("POST", "/v1/what-if", requestOf(full))).then((found) => {
      if (isCurrent && found !== undefined) setAnswer(found);
    });
    return () => {
      isCurrent = false;
    };
  }, [key]);
  return html`<${Form} query=${full} />
    <div class="boxes">
      <${Events} query=${full} />
      <section class="box"><header class="box-head"><h2 class="box-title">The two lists</h2>${isBusy && html`<span class="muted" role="status">Deriving …</span>`}</header>
        ${error && html`<p class="field-error" role="alert" data-part="what-if-error">${error}</p>`}
        ${answer && !error && html`<${Lists} answer=${answer} />`}
      </section>
    </div>`;
}

/** @param {{query: Record<string, string>}} props */
function Form({ query }) {
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const apply = () => {
    const fields = Object.fromEntries(new FormData(/** @type {HTMLFormElement} */ (form.current)));
    const isOther = fields.user !== query.user;
    setQuery({ ...Object.fromEntries(FIELDS.map((name) => [name, String(fields[name] ?? "").trim()])), ...(isOther ? { without: null, add: null } : {}) });
  };
  return html`<${Card} title="What if" about="Everything here is in the address: copy the link to show it to a colleague. Nothing is published.">
    <form class="form-row" aria-label="What if" ref=${form} onChange=${apply} onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      apply();
    }}>
      <${Field} label="User" name="user" value=${query.user} />
      <${Field} label="As of" name="as_of" value=${query.as_of ?? ""} placeholder="now; an offset or a time" />
      <${GenerationField} value=${query.generation ?? ""} />
      <${RulesFields} query=${query} />
      <${Field} label="Half-life, days" name="half_life" type="number" min="0.1" step="any" value=${query.half_life ?? ""} placeholder="as it was" />
      <${Field} label="Length" name="n" type="number" min="1" max="100" value=${query.n ?? ""} placeholder="as it was" />
      <button type="submit" class="button button-main">Derive</button>
    </form><//>`;
}

/** @param {{query: Record<string, string>}} props */
function Events({ query }) {
  const last = /^\d+$/.test(query.as_of ?? "") ? Number(query.as_of) : Infinity;
  const events = useFetch("/v1/events", { user: query.user, limit: 300 });
  const without = (query.without ?? "").split(",").filter(Boolean);
  const added = (query.add ?? "").split(",").filter(Boolean);
  const toggle = (/** @type {string} */ offset) =>
    setQuery({ without: (without.includes(offset) ? without.filter((one) => one !== offset) : [...without, offset]).join(",") });
  return html`<${Card} title="Events" about="Take events away, or add some that did not happen.">
    <${Add} onAdd=${(/** @type {string} */ text) => setQuery({ add: [...added, text].join(",") })} />
    ${added.length > 0 && html`<ul role="list" class="left" aria-label="Added events">${added.map((text, at) => html`<li key=${`${text}${at}`} data-part="added">
      <span class="tag" data-tone="good">added</span> ${text} <button type="button" class="button button-small" onClick=${() => setQuery({ add: added.filter((_, place) => place !== at).join(",") })}>Remove<span class="visually-hidden"> ${text}</span></button></li>`)}</ul>`}
    <${Fetched} of=${events} what="The events">${(/** @type {any} */ data) => {
      const listed = data.events.filter((/** @type {any} */ one) => one.event.type !== "impression" && one.offset <= last).slice(0, MOST_EVENTS);
      if (listed.length === 0) return html`<${Empty}>${query.user} has no events.<//>`;
      return html`<${EventList} listed=${listed} without=${without} toggle=${toggle} />`;
    }}<//>
  <//>`;
}

/** @param {{listed: any[], without: string[], toggle: (place: string) => void}} props */
function EventList({ listed, without, toggle }) {
  useTitles([...new Set(listed.map(({ event }) => event.item ?? ""))].filter(Boolean));
  return html`<ul role="list" class="lab-events" tabindex="0" aria-label="Events of the user">${listed.map((/** @type {any} */ one) => {
    const place = `${one.offset}.${one.index}`;
    const known = without.includes(String(one.offset)) ? String(one.offset) : place;
    return html`<${Event} key=${place} one=${one} isGone=${without.includes(known)} onToggle=${() => toggle(known)} />`;
  })}</ul>`;
}

/** @param {{one: any, isGone: boolean, onToggle: () => void}} props */
function Event({ one, isGone, onToggle }) {
  const { offset, event, appended_ts: appended } = one;
  return html`<li class="lab-event" data-offset=${offset} data-gone=${isGone ? "" : null}>
    <label><input type="checkbox" checked=${!isGone} onChange=${onToggle} /> <span>${verb(event.type)}</span></label>
    <${ItemLink} id=${event.item ?? ""} /><span class="muted mono" title="Offset in the log">${offset}</span><span class="muted">${timeText(Date.parse(event.ts) || appended)}</span></li>`;
}

/** @param {{onAdd: (text: string) => void}} props */
function Add({ onAdd }) {
  const [type, setType] = useState(EVENTS[0]);
  const [item, setItem] = useState("");
  return html`<form class="form-row" aria-label="Add an event" onSubmit=${(/** @type {Event} */ event) => {
    event.preventDefault();
    if (item.trim()) onAdd(`${type}:${item.trim()}`);
    setItem("");
  }}>
    <label class="field">Add<select value=${type} onChange=${(/** @type {any} */ event) => setType(event.target.value)}>${EVENTS.map((name) => html`<option key=${name}>${name}</option>`)}</select></label>
    <label class="field">Item<input value=${item} placeholder="an id" spellcheck=${false} onInput=${(/** @type {any} */ event) => setItem(event.target.value)} /></label>
    <button type="submit" class="button">Add</button></form>`;
}

/** @param {{answer: any}} props */
function Lists({ answer }) {
  const { before, after, change, is_identical: isIdentical } = answer;
  const was = new Map(before.items.map((/** @type {any} */ one) => [one.item, one.rank]));
  const now = new Map(after.items.map((/** @type {any} */ one) => [one.item, one.rank]));
  const all = [...before.items, ...after.items];
  useTitles([...new Set(all.flatMap((/** @type {any} */ one) => (one.why ?? []).map((/** @type {any} */ reason) => reason.item)))].filter(Boolean));
  const items = shown.items.value;
  const whys = new Map(before.items.map((/** @type {any} */ one) => [one.item, one.why ?? []]));
  const noteOf = (/** @type {string} */ item) => (now.has(item) ? reasonText(whys.get(item) ?? [], items, items[item]?.category ?? "", "the user") : html`<span class="tag" data-tone="bad">gone</span>`);
  const n = change.entered.length;
  const words = n + change.left.length + change.moved.length === 0 ? "The list would be the same." : `${n} would be new, ${change.left.length} would be gone, ${change.moved.length} would stand elsewhere.`;
  return html`<p role="status" data-part="what-if-words">${words} ${isIdentical === true && html`<span class="muted">The list as it was is derived byte for byte.</span>`}${answer.n_pruned > 0 && html` <span class="muted">${count(answer.n_pruned)} events of the user were pruned; they keep their old weights.</span>`}</p>
    <div class="boxes lab-lists">
      <section data-part="was"><h3 class="scrub-title">As it was</h3><p class="muted">generation ${before.generation}.${before.delta ?? 0}</p>
        <${RankedList} label="As it was" places=${before.items} noteOf=${noteOf} /></section>
      <section data-part="would"><h3 class="scrub-title">As it would be</h3><p class="muted">generation ${after.generation}.${after.delta ?? 0}</p>
        <${RankedList} label="As it would be" places=${after.items} others=${was} /></section>
    </div>`;
}
