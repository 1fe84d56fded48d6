// @ts-check
/** One user: a timeline of events with two handles, and the lists at both moments side by side. */

import { html, useEffect, useMemo, useState } from "../../vendor/preact.js";
import { useFetch, useSend } from "../../app/fetch.js";
import { address, go, setQuery } from "../../app/router.js";
import { api, shown } from "../../app/session.js";
import { CopyLink } from "../../components/copy.js";
import { Stat } from "../../components/facts.js";
import { ItemLink, RankedList, useTitles } from "../../components/items.js";
import { Card, Empty, Failed, Fetched, Loading, Page } from "../../components/states.js";
import { count, did, plural, titleOf, verb } from "../../elements/format.js";
import { ageText, timeText } from "../../elements/time.js";
import { Changes, Steps } from "./changes.js";

const EVENTS = 200;
/** The bridge derives few lists of the past at a time: while a handle moves, none is asked for. */
const HANDLE_PAUSE_MS = 250;

/** @param {{title: string, id: string}} props */
export function User({ id }) {
  const events = useFetch("/v1/events", { user: id, limit: EVENTS }, { everyMs: 5000 });
  const history = useFetch(`/v1/users/${encodeURIComponent(id)}/history`);
  const tools = html`<${CopyLink} /><a class="button button-small" href=${`/?user=${encodeURIComponent(id)}`}>Shop as this user</a><${Erase} id=${id} />`;
  return html`<${Page} title=${html`User ${id}`} tools=${tools}
      about="What this user did, and what each event did to the list: move the two handles, and compare the lists at both moments.">
    <${Fetched} of=${events} what="The events">${(/** @type {any} */ data) => html`<${Timeline} id=${id} events=${data.events} hasMore=${data.has_more} isPruned=${data.is_pruned} hasHistory=${(history.data?.n_events ?? 0) > 0} />`}<//>
    <div class="boxes">
      <div class="stack"><${History} history=${history} /><${Taste} id=${id} nEvents=${history.data?.n_events ?? 0} /></div>
      <${Shelves} id=${id} />
    </div>
  <//>`;
}

/**
 * Moments of a partition at which the list can be asked for: after each record with events of the user.
 *
 * @param {any[]} events newest first
 */
function momentsOf(events) {
  /** @type {Map<number, any[]>} */
  const byOffset = new Map();
  for (const entry of [...events].reverse()) {
    if (entry.event.type === "impression") continue;
    byOffset.set(entry.offset, [...(byOffset.get(entry.offset) ?? []), entry]);
  }
  return [...byOffset].map(([offset, entries]) => ({ offset, entries }));
}

/** @param {any} moment */
function momentText({ offset, entries }) {
  const items = shown.items.value;
  const { event, appended_ts: appended } = entries[entries.length - 1];
  const more = entries.length > 1 ? ` and ${plural(entries.length - 1, "event")} before it` : "";
  return `after “${did(event.type, titleOf(items, event.item))}”${more}, offset ${offset}, ${timeText(Date.parse(event.ts) || appended)}`;
}

/** @param {{id: string, events: any[], hasMore: boolean, isPruned: boolean, hasHistory: boolean}} props */
function Timeline({ id, events, hasMore, isPruned, hasHistory }) {
  const moments = useMemo(() => momentsOf(events), [events]);
  useTitles(moments.flatMap(({ entries }) => entries.map((/** @type {any} */ { event }) => event.item ?? "")).slice(-EVENTS));
  const { a, b } = address.value.query;
  const last = moments.length - 1;
  const find = (/** @type {string | undefined} */ offset, /** @type {number} */ otherwise) => {
    const at = moments.findIndex((moment) => moment.offset === Number(offset));
    return offset === undefined || at < 0 ? otherwise : at;
  };
  if (moments.length === 0) {
    let why = "The log has no event of this user. Events appear here as soon as they are appended.";
    if (hasMore) why = "No event of this user is among the newest records of the log.";
    else if (hasHistory) why = "The log no longer keeps this user's events. The history below was made from them; earlier lists can't be derived any more.";
    return html`<${Card} title="Timeline"><${Empty}>${why}<//><//>`;
  }
  const [from, to] = [find(a, Math.max(0, last - 1)), find(b, last)];
  /** @param {"a" | "b"} handle @param {number} at */
  const move = (handle, at) => {
    const next = handle === "a" ? { a: moments[at].offset, b: moments[Math.max(at, to)].offset } : { a: moments[Math.min(at, from)].offset, b: moments[at].offset };
    setQuery(next, { isReplacing: true });
  };
  const older = hasMore ? "; older ones are in the log" : isPruned ? "; older events were pruned" : "";
  const about = `${plural(moments.length, "moment")} with ${plural(moments.reduce((n, { entries }) => n + entries.length, 0), "event")}${older}. A moment is a record of the log; one record can hold several events.`;
  return html`<${Card} title="Timeline" about=${about}>
      <${Track} moments=${moments} from=${from} to=${to} onChoose=${(/** @type {number} */ at) => move(at < to ? "a" : "b", at)} />
      <${Handle} name="A" last=${last} at=${from} text=${momentText(moments[from])} onMove=${(/** @type {number} */ at) => move("a", at)} />
      <${Handle} name="B" last=${last} at=${to} text=${momentText(moments[to])} onMove=${(/** @type {number} */ at) => move("b", at)} />
    <//>
    ${from === to ? html`<${Card} title="One moment"><${Empty}>${last === 0 ? "All events came in one record, so there is one list to show and none to compare it with." : "Both handles are at the same moment. Move A to an earlier one to compare."}<//><${OneList} id=${id} offset=${moments[to].offset} /><//>` : html`<${Compared} id=${id} a=${moments[from].offset} b=${moments[to].offset} />`}`;
}

/** @param {{name: string, last: number, at: number, text: string, onMove: (at: number) => void}} props */
function Handle({ name, last, at, text, onMove }) {
  return html`<label class="handle"><span class="handle-name" data-handle=${name}>${name}</span>
    <input type="range" min="0" max=${last} value=${at} aria-label=${`Moment ${name}`} aria-valuetext=${text} onInput=${(/** @type {any} */ event) => onMove(Number(event.currentTarget.value))} />
    <span class="handle-text">${text}</span></label>`;
}

/** @param {{moments: any[], from: number, to: number, onChoose: (at: number) => void}} props */
function Track({ moments, from, to, onChoose }) {
  const items = shown.items.value;
  return html`<div class="track" aria-hidden="true">${moments.map(({ offset, entries }, at) => {
    const { event } = entries[entries.length - 1];
    return html`<span key=${offset} class="track-mark" data-type=${event.type} data-inside=${at > from && at <= to ? "" : null} data-end=${at === from || at === to ? "" : null}
      style=${{ "--at": String(moments.length < 2 ? 0 : at / (moments.length - 1)) }} title=${did(event.type, titleOf(items, event.item))} onClick=${() => onChoose(at)}></span>`;
  })}</div>`;
}

/** @param {{id: string, offset: number}} props */
function OneList({ id, offset }) {
  const list = useFetch(`/v1/users/${encodeURIComponent(id)}/recommendations`, { as_of: offset }, { pauseMs: HANDLE_PAUSE_MS });
  return html`<${Fetched} of=${list} what="The list">${(/** @type {any} */ data) => html`<${RankedList} label="List" places=${data.items} />`}<//>`;
}

/** @param {{id: string, a: number, b: number}} props */
function Compared({ id, a, b }) {
  const causes = useFetch(`/v1/users/${encodeURIComponent(id)}/causes`, { a, b }, { pauseMs: HANDLE_PAUSE_MS });
  if (causes.code === 404) return html`<${Published} id=${id} a=${a} b=${b} why=${causes.error} />`;
  if (causes.data === null) {
    return html`<${Card} title="What changed">${causes.status === "failed" ? html`<${Failed} what="The comparison" error=${causes.error} code=${causes.code} retry=${causes.reload} />` : html`<${Loading} what="both lists, and the later one without each event" />`}<//>`;
  }
  return html`<${Changes} causes=${causes.data} isLate=${causes.status === "loading"} />`;
}

/** @param {{id: string, a: number, b: number, why: string}} props */
function Published({ id, a, b, why }) {
  const diff = useFetch(`/v1/users/${encodeURIComponent(id)}/diff`, { a, b }, { pauseMs: HANDLE_PAUSE_MS });
  return html`<${Fetched} of=${diff} what="The lists">${(/** @type {any} */ data) => html`<${Steps} diff=${data} why=${why} />`}<//>`;
}

/** @param {{history: import("../../app/fetch.js").Fetched<any>}} props */
function History({ history }) {
  useTitles((history.data?.entries ?? []).slice(0, 100).map((/** @type {any} */ entry) => entry.item));
  return html`<${Card} title="History with weights" about="What the model knows of this user. A weight is the sum of the user's events with the item; it fades with time.">
    <${Fetched} of=${history} what="The history">${(/** @type {any} */ data) => {
      const most = Math.max(1e-9, ...data.entries.map((/** @type {any} */ { effective }) => Math.abs(effective)));
      return html`<div class="stats">
          <${Stat} name="Items" value=${count(data.entries.length)} about="Different items in the history." />
          <${Stat} name="Events" value=${count(data.n_events)} about="Events that were folded into the history." />
          <${Stat} name="Half-life" value=${data.half_life_ms ? ageText(data.half_life_ms) : "–"} about="After this time an event counts half." />
        </div>
        ${data.entries.length === 0 ? html`<${Empty}>Nothing yet.<//>` : html`<div class="scroller" tabindex="0" role="region" aria-label="History"><table class="table"><thead><tr><th scope="col">Item</th><th scope="col">Last event</th><th scope="col" class="number">Weight now</th></tr></thead>
          <tbody>${data.entries.slice(0, 100).map((/** @type {any} */ entry) => html`<tr key=${entry.item}>
            <th scope="row"><${ItemLink} id=${entry.item} /><span class="why-bar" style=${{ "--share": (Math.abs(entry.effective) / most).toFixed(3) }}></span></th>
            <td>${verb(entry.type)} <span class="muted">${timeText(entry.at_ts)}</span></td>
            <td class="number" title=${`without fading: ${entry.weight.toFixed(2)}`}>${entry.effective.toFixed(2)}</td>
          </tr>`)}</tbody></table></div>`}`;
    }}<//>
  <//>`;
}

/** @param {{id: string, nEvents: number}} props */
function Taste({ id, nEvents }) {
  const taste = useFetch(`/v1/users/${encodeURIComponent(id)}/taste`, { n: 8 });
  useTitles((taste.data?.items ?? []).map((/** @type {any} */ one) => one.item));
  useEffect(() => {
    if (nEvents > 0) taste.reload();
  }, [nEvents]);
  const percent = (/** @type {number} */ share) => `${Math.round(100 * share)} %`;
  return html`<${Card} title="Taste in words" about="The model keeps a vector of numbers, the factors, for each user and item. These items lie in the direction of this user's vector; below is what they have in common.">
    <${Fetched} of=${taste} what="The taste">${(/** @type {any} */ data) =>
      data.items.length === 0
        ? html`<${Empty}>The user has no vector: no events, none that the model knows, or a model without factors.<//>`
        : html`${data.facts.length > 0 && html`<table class="table" data-part="taste"><thead><tr><th scope="col">Among the ${count(data.n_top)} first</th><th scope="col" class="number">Share</th><th scope="col" class="number">Of all items</th></tr></thead>
            <tbody>${data.facts.map((/** @type {any} */ fact) => html`<tr key=${`${fact.kind} ${fact.value}`}><th scope="row">${fact.value} <span class="muted">${fact.kind}</span><span class="why-bar" style=${{ "--share": fact.share.toFixed(3) }}></span></th>
              <td class="number">${percent(fact.share)}</td><td class="number">${percent(fact.overall)}</td></tr>`)}</tbody></table>`}
          <h3 class="row-title taste-items">The first items, also those of the history</h3>
          <${RankedList} label="Items in the direction of the user's vector" places=${data.items.map((/** @type {any} */ { item, score }, /** @type {number} */ at) => ({ item, rank: at + 1, score }))}
            noteOf=${(/** @type {string} */ item) => `score ${data.items.find((/** @type {any} */ one) => one.item === item).score.toFixed(3)}`} />`}<//>
  <//>`;
}

/** @param {{id: string}} props */
function Shelves({ id }) {
  const shelves = useFetch(`/v1/users/${encodeURIComponent(id)}/shelves`, { n: 4, items: 6 });
  const found = shelves.data?.shelves ?? [];
  useTitles(found.map((/** @type {any} */ shelf) => shelf.item));
  return html`<${Card} title="Shelves" about="The list by the event that contributes most to each item.">
    <${Fetched} of=${shelves} what="The shelves">${() =>
      found.length === 0
        ? html`<${Empty}>No list of this user's own yet.<//>`
        : found.map((/** @type {any} */ shelf) => html`<section key=${shelf.item} class="shelf-of"><h3 class="row-title">Because the user ${verb(shelf.event)} <${ItemLink} id=${shelf.item} /></h3>
            <${RankedList} label="Shelf" places=${shelf.items.map((/** @type {any} */ { item }, /** @type {number} */ at) => ({ item, rank: at + 1 }))} /></section>`)}<//>
  <//>`;
}

/** @param {{id: string}} props */
function Erase({ id }) {
  const [isAsking, ask] = useState(false);
  const [typed, type] = useState("");
  const { isBusy, error, send } = useSend();
  const erase = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (typed !== id) return;
    const answer = await send(() => api.send("DELETE", `/v1/users/${encodeURIComponent(id)}`));
    if (answer !== undefined) go("/users");
  };
  if (!isAsking) return html`<button type="button" class="button button-small button-bad" onClick=${() => ask(true)}>Erase …</button>`;
  return html`<form class="erase" onSubmit=${erase}>
    <label class="field">All events and lists of this user are deleted from the log, for good. Type the id to confirm.
      <input value=${typed} autocomplete="off" onInput=${(/** @type {any} */ event) => type(event.currentTarget.value)} /></label>
    <span class="box-tools"><button type="submit" class="button button-small button-bad" disabled=${typed !== id || isBusy}>Erase ${id}</button>
    <button type="button" class="button button-small" onClick=${() => ask(false)}>Keep</button></span>
    ${error && html`<p role="alert" class="error-text">${error}</p>`}
  </form>`;
}
