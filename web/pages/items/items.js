// @ts-check
/** The catalogue as a table: search by title, brand or category. */

import { html, useEffect, useState } from "../../vendor/preact.js";
import { useFetch } from "../../app/fetch.js";
import { address, go, setQuery } from "../../app/router.js";
import { api } from "../../app/session.js";
import { Fetched, Page } from "../../components/states.js";
import { VirtualTable } from "../../components/table.js";
import { SearchField } from "../users/users.js";
import { count, plural, priceOf } from "../../elements/format.js";

const PAGE = 100;

/** @type {import("../../components/table.js").Column<any>[]} */
const COLUMNS = [
  { name: "Title", width: "minmax(8rem, 2fr)", cell: ({ item, title }) => html`<a href=${`/items/${encodeURIComponent(item)}`}>${title || item}</a>` },
  { name: "Id", isSpare: true, width: "minmax(5rem, 10rem)", cell: ({ item }) => html`<span class="mono">${item}</span>` },
  { name: "Category", width: "minmax(5rem, 1fr)", cell: ({ category = "" }) => category },
  { name: "Brand", isSpare: true, width: "minmax(6rem, 1fr)", cell: ({ brand = "" }) => brand },
  { name: "Price", width: "5rem", isNumber: true, cell: (item) => priceOf(item) },
];
const ALWAYS = 2;

/**
 * Returns how many items are listed, of how many where that is known.
 *
 * @param {number} n
 * @param {number | null} total
 */
const countText = (n, total) => (total === null ? `${plural(n, "item")} so far` : n < total ? `${count(n)} of ${plural(total, "item")}` : plural(n, "item"));

/** @param {{title: string, about: string}} props */
export function Items({ title, about }) {
  const { q = "", category = "" } = address.value.query;
  const first = useFetch("/v1/items", { q, category, limit: PAGE });
  const categories = useFetch("/v1/categories");
  return html`<${Page} title=${title} about=${about}>
    <div class="form-row">
      <${SearchField} label="Title, brand or category" value=${q} onSearch=${(/** @type {string} */ text) => setQuery({ q: text }, { isReplacing: true })} />
      ${Object.keys(categories.data?.categories ?? {}).length > 0 && html`<label class="field">Category<select value=${category} onChange=${(/** @type {any} */ event) => setQuery({ category: event.currentTarget.value })}>
        <option value="">All</option>
        ${Object.entries(categories.data?.categories ?? {}).map(([name, n]) => html`<option value=${name} key=${name} selected=${name === category}>${name} (${n})</option>`)}
      </select></label>`}
    </div>
    <${Fetched} of=${first} what="The catalogue">${(/** @type {any} */ data) => html`<${Rows} key=${`${q} ${category}`} first=${data} q=${q} category=${category}
      total=${q ? null : category ? (categories.data?.categories[category] ?? null) : (categories.data?.n_items ?? null)} />`}<//>
  <//>`;
}

/** @param {{first: any, q: string, category: string, total: number | null}} props `total` is null while it is unknown */
function Rows({ first, q, category, total }) {
  const [more, setMore] = useState({ items: /** @type {any[]} */ ([]), next: first.next || null, isLoading: false });
  useEffect(() => setMore({ items: [], next: first.next || null, isLoading: false }), [first]);
  const load = async () => {
    if (more.next === null || more.isLoading) return;
    setMore({ ...more, isLoading: true });
    const page = await api.items({ query: q, category, cursor: more.next, limit: PAGE }).catch(() => ({ items: [], next: null }));
    setMore({ items: [...more.items, ...page.items], next: page.next, isLoading: false });
  };
  const rows = [...first.items, ...more.items];
  const columns = COLUMNS.filter(({ cell }, at) => at < ALWAYS || rows.some((row) => cell(row) !== ""));
  return html`<p class="muted" role="status">${countText(rows.length, more.next === null ? rows.length : total)}</p>
    <${VirtualTable} label="Items" rows=${rows} columns=${columns} keyOf=${(/** @type {any} */ row) => row.item} least="44rem" most="70dvh"
      onEnd=${() => void load()} onChoose=${(/** @type {any} */ row) => go(`/items/${encodeURIComponent(row.item)}`)} empty=${q ? `Nothing is called “${q}”.` : "The catalogue is empty."} />`;
}
