// @ts-check
/** Users: those with the newest events, or by a part of their id. */

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { useFetch } from "../../app/fetch.js";
import { address, go, setQuery } from "../../app/router.js";
import { UserLink } from "../../components/items.js";
import { Fetched, Page } from "../../components/states.js";
import { VirtualTable } from "../../components/table.js";
import { count } from "../../elements/format.js";
import { ageText, timeText } from "../../elements/time.js";
import { debounce } from "../../elements/timing.js";

/** @type {import("../../components/table.js").Column<any>[]} */
const COLUMNS = [
  { name: "User", width: "minmax(8rem, 1fr)", cell: ({ user }) => html`<${UserLink} id=${user} />` },
  { name: "Items", width: "4rem", isNumber: true, about: "Different items in the user's history", cell: ({ n_items: n }) => count(n) },
  { name: "Events", isSpare: true, width: "5rem", isNumber: true, about: "Events folded into the user's history", cell: ({ n_events: n }) => count(n) },
  { name: "Last event", width: "8rem", about: "Time of the newest event", cell: ({ last_ts: ms }) => (ms > 0 ? html`<span title=${timeText(ms)}>${ageText(Date.now() - ms)} ago</span>` : html`<span class="muted" title="Products were shown to this user; nothing else happened.">only impressions</span>`) },
  { name: "Newest list", isSpare: true, width: "minmax(9rem, 14rem)", about: "The list that the user sees now", cell: ({ rec_id: id }) => (id ? html`<a class="mono" href=${`/lists/${encodeURIComponent(id)}`}>${id}</a>` : "–") },
];

/** @param {{title: string, about: string}} props */
export function Users({ title, about }) {
  const { q = "" } = address.value.query;
  const users = useFetch("/v1/users", { q, limit: 200 }, { everyMs: q ? 0 : 5000 });
  return html`<${Page} title=${title} about=${about}>
    <${SearchField} label="Part of a user id" value=${q} onSearch=${(/** @type {string} */ text) => setQuery({ q: text }, { isReplacing: true })} />
    <${Fetched} of=${users} what="The users">${(/** @type {any} */ data) => html`<${VirtualTable} label="Users" rows=${data.users} columns=${COLUMNS}
      keyOf=${(/** @type {any} */ row) => row.user} least="40rem" most="70dvh" onChoose=${(/** @type {any} */ row) => go(`/users/${encodeURIComponent(row.user)}`)}
      empty=${q ? `No user's id contains “${q}”.` : "No user has an event yet."} />`}<//>
  <//>`;
}

/**
 * A field that searches while one types.
 *
 * @param {{label: string, value: string, onSearch: (text: string) => void}} props
 */
export function SearchField({ label, value, onSearch }) {
  const [text, setText] = useState(value);
  const typed = useRef(text);
  const searched = useRef(value);
  // What is typed stays while the page is drawn again; another address replaces it.
  useEffect(() => {
    if (value === searched.current) return;
    searched.current = typed.current = value;
    setText(value);
  }, [value]);
  const soon = useRef(
    debounce(() => {
      searched.current = typed.current.trim();
      onSearch(searched.current);
    }, 180, 600),
  );
  /** @param {any} event */
  const type = (event) => {
    typed.current = event.currentTarget.value;
    setText(typed.current);
    soon.current();
  };
  return html`<label class="field">${label}<input type="search" value=${text} autocomplete="off" spellcheck=${false} onInput=${type} /></label>`;
}
