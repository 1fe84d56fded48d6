// @ts-check
/** One topic: its records merged by time, filtered, followed live; a record as JSON; lists as of an event. */

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { useFetch } from "../../app/fetch.js";
import { address, href, setQuery } from "../../app/router.js";
import { CopyLink } from "../../components/copy.js";
import { JsonDrawer } from "../../components/json.js";
import { Card, Failed, Loading, Page } from "../../components/states.js";
import { Moment, VirtualTable } from "../../components/table.js";
import { count, plural } from "../../elements/format.js";
import { INTERACTIONS, RECOMMENDATIONS, fullTopic, placeOf, shortTopic, sizeText, timeText, wordsOf } from "../../state/log-words.js";
import { Export } from "./export.js";
import { ListsAsOf } from "./lists-as-of.js";
import { useRecords, useTail } from "./records.js";

/** @typedef {import("../../state/log-words.js").LogRecord} LogRecord */

/** @type {Record<string, string>} */
const TAIL_PHASES = { off: "starting", connecting: "connecting", stale: "reconnecting" };

/** @param {{topic: string, about: string}} props */
export function Topic({ topic: name, about }) {
  const topic = fullTopic(name);
  const { user = "", item = "", type = "", id = "", partition = "", at = "", slice = "", open = "", live = "" } = address.value.query;
  const filter = { user, item, type, id, partition, at };
  const base = slice ? `/v1/slices/${encodeURIComponent(slice)}/topics` : "/v1/log";
  const path = `${base}/${encodeURIComponent(topic)}/records`;
  const topics = useFetch(base);
  const summary = topics.data?.topics.find((/** @type {any} */ one) => one.topic === topic);
  const found = useRecords(path, filter);
  const isLive = live === "1" && !slice;
  const tail = useTail({
    ...{ isOn: isLive, topic, partitions: summary?.partitions.length ?? 0, filter },
    ...{ onRecords: found.add, onLive: found.catchUp },
  });
  const tools = html`${!slice && html`<button type="button" class="button button-small" aria-pressed=${String(isLive)} data-part="live"
      onClick=${() => setQuery({ live: isLive ? null : 1, at: isLive ? at : null })}>${isLive ? `Following (${TAIL_PHASES[tail.phase] ?? tail.phase})` : "Follow live"}</button>`}
    <${CopyLink} /><a class="button button-small" href=${href("/log", { slice })}>All topics</a>`;
  const hasLists = (topic === INTERACTIONS || topic === RECOMMENDATIONS) && user !== "" && !slice;
  return html`<${Page} title=${slice ? `${shortTopic(topic)} in ${slice}` : shortTopic(topic)} about=${summary?.purpose ?? about} tools=${tools}>
    <${Filter} key=${JSON.stringify(filter)} filter=${filter} partitions=${summary?.partitions.length ?? 1} />
    <div class="log-split" data-split=${hasLists ? "" : null}>
    <${Card} title="Records" tools=${!slice && topic === INTERACTIONS && html`<${Export} records=${found.records} user=${user} />`}
        about=${`Partitions are merged by time, the newest at the end.${summary ? ` ${count(summary.n_offsets)} offsets in ${plural(summary.partitions.length, "partition")}.` : ""}`}>
      ${tail.gaps.length > 0 && html`<ul class="gaps" role="list">${tail.gaps.map((gap) => html`<li class="gap" key=${`${gap.partition}:${gap.from}`}>
        Gap: offsets ${gap.from} to ${gap.to} of partition ${gap.partition} were skipped, since this page was too slow.
        <a href=${href(address.value.path, { partition: gap.partition, at: gap.from })}>Read them</a></li>`)}</ul>`}
      <${Records} found=${found} open=${open} hasLists=${hasLists} isFollowing=${isLive || at === ""} />
    <//>
    ${hasLists && html`<${ListsAsOf} key=${user} user=${user} />`}
    </div>
    <${RecordDrawer} path=${path} open=${open} topic=${topic} slice=${slice} records=${found.records} />
  <//>`;
}

/** @param {{filter: Record<string, string>, partitions: number}} props */
function Filter({ filter, partitions }) {
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  /** @param {Event} event */
  const apply = (event) => {
    event.preventDefault();
    if (form.current === null) return;
    const fields = Object.fromEntries(new FormData(form.current));
    setQuery({ ...Object.fromEntries(Object.entries(fields).map(([name, text]) => [name, String(text).trim()])), open: null, live: fields.at ? null : address.value.query.live });
  };
  const clear = () => setQuery({ user: null, item: null, type: null, id: null, partition: null, at: null, open: null });
  const isFiltered = Object.values(filter).some(Boolean);
  /** @type {[string, string, string][]} */
  const fields = [
    ["user", "User", "an id"],
    ["item", "Item", "an id"],
    ["type", "Type", "view, like, generation …"],
    ["id", "Id", "of an event or a list"],
    ["at", "Time or offset", "2026-11-22 10:42"],
  ];
  return html`<form class="form-row log-filter" role="search" aria-label="Filter records" ref=${form} onSubmit=${apply}>
    ${fields.map(([name, label, hint]) => html`<label class="field" key=${name}>${label}<input name=${name} defaultValue=${filter[name]} placeholder=${hint} autocomplete="off" spellcheck=${false} /></label>`)}
    <label class="field">Partition<select name="partition">
      <option value="">all</option>${[...Array(partitions).keys()].map((n) => html`<option key=${n} value=${n} selected=${filter.partition === String(n)}>${n}</option>`)}</select></label>
    <button type="submit" class="button button-main">Search</button>
    ${isFiltered && html`<button type="button" class="button" onClick=${clear}>Clear</button>`}
  </form>`;
}

/** @type {import("../../components/table.js").Column<LogRecord>[]} */
const COLUMNS = [
  { name: "Time", width: "minmax(6.5rem, 12.5rem)", cell: (record) => html`<${Moment} ms=${record.ts} />` },
  { name: "Partition : offset", isSpare: true, width: "8rem", about: "Where the record stands in the log", cell: (record) => html`<span class="mono">${placeOf(record)}</span>` },
  { name: "Key", isSpare: true, width: "8rem", about: "Decides the partition: the user, or the item", cell: (record) => record.key ?? "–" },
  { name: "Record", width: "minmax(10rem, 1fr)", cell: (record) => wordsOf(record).what },
  { name: "Size", isSpare: true, width: "4.5rem", isNumber: true, cell: (record) => (record.n_bytes === undefined ? "" : sizeText(record.n_bytes)) },
];

/** On a user's page: all records are the user's. */
const NARROW = COLUMNS.filter(({ name }) => name !== "Key" && name !== "Size");

/** @param {{found: ReturnType<typeof useRecords>, open: string, isFollowing: boolean, hasLists: boolean}} props */
function Records({ found, open, isFollowing, hasLists }) {
  if (found.status === "loading") return html`<${Loading} what="the records" />`;
  if (found.status === "failed" && found.records.length === 0) return html`<${Failed} what="The records" error=${found.error} retry=${found.reload} />`;
  return html`<div class="log-records">
    <div class="box-tools log-more">
      ${found.hasOlder && html`<button type="button" class="button button-small" data-part="older" onClick=${found.older}>Older records</button>`}
      <span class="muted" role="status" data-part="found">${count(found.records.length)} shown${found.scanned > found.records.length ? `, ${count(found.scanned)} searched last` : ""}</span>
      ${found.status === "failed" && html`<span class="error-text" role="alert" data-part="records-failed">Not loaded: ${found.error}</span>`}
    </div>
    <${VirtualTable} label="Records" rows=${found.records} keyOf=${placeOf} columns=${hasLists ? NARROW : COLUMNS} least=${hasLists ? "34rem" : "46rem"} most=${hasLists ? "44rem" : "32rem"}
      chosen=${open || null} onChoose=${(/** @type {LogRecord} */ record) => setQuery({ open: placeOf(record) })} onEnd=${found.newer}
      isFollowing=${isFollowing && !open} empty=${found.hasOlder ? "Nothing in the part that was searched; search older records." : "No record fits."} />
  </div>`;
}

/** @param {{path: string, open: string, topic: string, slice: string, records: LogRecord[]}} props */
function RecordDrawer({ path, open, topic, slice, records }) {
  const [partition, offset] = open.split(":");
  const isWhole = !slice;
  const whole = useFetch(open ? (isWhole ? `/v1/log/${encodeURIComponent(topic)}` : path) : null, isWhole ? { partition, from: offset, limit: 1 } : { partition, at: offset, limit: 1 });
  const record = open ? (whole.data?.records[0] ?? records.find((one) => placeOf(one) === open) ?? null) : null;
  const isThere = record !== null && placeOf(record) === open;
  return html`<${JsonDrawer} title=${`Record ${open}`} value=${!open ? null : isThere ? record : { loading: open, error: whole.error || undefined }} onClose=${() => setQuery({ open: null })}>
    ${isThere && html`<${About} record=${record} />`}
  <//>`;
}

/** @param {{record: LogRecord}} props */
function About({ record }) {
  const { what, user, item, recId } = wordsOf(record);
  const isEvent = record.topic === INTERACTIONS;
  const ids = record.topic === "recstream.catalogue" && record.key ? record.key : item;
  return html`<p>${what}</p><p class="muted mono">${timeText(record.ts)}</p>
    <p class="links">
      ${user && html`<a href=${`/users/${encodeURIComponent(user)}`}>User ${user}</a>`}
      ${ids && html`<a href=${`/items/${encodeURIComponent(ids)}`}>Item ${ids}</a>`}
      ${recId && html`<a href=${`/lists/${encodeURIComponent(recId)}`}>List ${recId}</a>`}
      ${isEvent && user && html`<a href=${href(`/log/${INTERACTIONS}`, { user, as_of: record.offset })}>Lists of ${user} as of here</a>`}
      ${isEvent && user && html`<a href=${href("/lab", { user, without: record.offset })}>What if it had not happened?</a>`}
    </p>`;
}
