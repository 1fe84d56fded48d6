// @ts-check
/** Items by their titles: links, and lists side by side. */

import { html, useEffect } from "../vendor/preact.js";
import { loading, shown } from "../app/session.js";
import { Empty } from "./states.js";
import { reasonText, titleOf } from "../elements/format.js";

/**
 * Loads the titles of items.
 *
 * @param {readonly string[]} ids
 */
export function useTitles(ids) {
  const key = ids.join(" ");
  useEffect(() => {
    void loading.items([...ids]);
  }, [key]);
}

/**
 * The title of an item as a link to its page. `useTitles` loads titles.
 *
 * @param {{id: string}} props
 */
export function ItemLink({ id }) {
  return html`<a class="item-link" href=${`/items/${encodeURIComponent(id)}`} title=${id}>${titleOf(shown.items.value, id)}</a>`;
}

/** @param {{id: string}} props */
export function UserLink({ id }) {
  return html`<a href=${`/users/${encodeURIComponent(id)}`}>${id}</a>`;
}

/**
 * A list with ranks. With `others`, the ranks in another list, each place shows how it moved.
 *
 * @param {{label: string, places: {item: string, rank: number, why?: any[]}[], others?: Map<string, number> | null,
 *   noteOf?: (item: string) => any, absent?: string}} props `absent` says what an item without another rank is
 */
export function RankedList({ label, places, others = null, noteOf, absent = "new" }) {
  const items = shown.items.value;
  useTitles(places.flatMap(({ item, why = [] }) => [item, ...(why[0]?.item ? [why[0].item] : [])]));
  if (places.length === 0) return html`<${Empty}>The list was empty: no item could be listed yet.<//>`;
  return html`<ol class="ranked" role="list" aria-label=${label}>
    ${places.map(({ item, rank, why = [] }) => {
      const other = others?.get(item) ?? 0;
      const note = noteOf ? noteOf(item) : reasonText(why, items, items[item]?.category ?? "", "the user");
      return html`<li class="ranked-place" key=${item} data-key=${item}>
        <span class="ranked-rank">${rank}</span>
        <span class="ranked-text"><${ItemLink} id=${item} />${note && html`<span class="muted">${note}</span>`}</span>
        ${others !== null && html`<${Shift} rank=${rank} other=${other} absent=${absent} />`}
      </li>`;
    })}
  </ol>`;
}

/** @param {{rank: number, other: number, absent: string}} props */
function Shift({ rank, other, absent }) {
  if (other === 0) return html`<span class="tag" data-tone=${absent === "new" ? "good" : "bad"}>${absent}</span>`;
  if (other === rank) return html`<span class="tag">same</span>`;
  // In the earlier list the other rank is where the item goes, in the later one where it was.
  const isLater = absent === "new";
  const isUp = isLater ? rank < other : other < rank;
  const label = `${isUp ? "up" : "down"} ${Math.abs(rank - other)}, ${isLater ? "from" : "to"} place ${other}`;
  return html`<span class="tag" data-tone=${isUp ? "accent" : "warn"} aria-label=${label} role="img">${isUp ? "↑" : "↓"} ${Math.abs(rank - other)}</span>`;
}
