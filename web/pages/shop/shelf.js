// @ts-check
/** The "For you" list. A new order is animated. */

import { html, useLayoutEffect } from "../../vendor/preact.js";
import { dispatch, open, record, shown } from "../../app/session.js";
import { memo } from "../../components/memo.js";
import { useGlide } from "../../components/motion.js";
import { movement, reasonText, titleOf } from "../../elements/format.js";
import { Icon } from "../../elements/icons.js";
import { Picture } from "../../elements/picture.js";
import { preparingText } from "../../state/pipeline-words.js";
import { effectText, shelfWords } from "../../state/shelf-words.js";

/** Entries shown. */
const SHOWN = 10;

const Place = memo(
  /**
   * @param {{id: string, rank: number, recId: string, title: string, reason: string,
   *   kind: string, mark: string, label: string, item: import("../../state/state.js").Item}} props
   */
  ({ id, rank, recId, title, reason, kind, mark, label, item }) =>
    html`<li class="place" data-key=${id} data-rec=${recId}>
      <span class="place-rank" data-part="rank">${rank}</span>
      <div class="place-picture"><${Picture} item=${item} /></div>
      <div class="place-text">
        <button type="button" class="place-open" data-part="open" onClick=${() => open(id, "shelf")}>${title}</button>
        <p class="place-reason" data-part="reason" title=${reason}>${reason}</p>
      </div>
      <span class="mark" data-part="mark" data-kind=${kind || null} aria-label=${label || null}
        role=${label ? "img" : null}>${mark}</span>
      <button type="button" class="place-hide" title="Not for me" data-part="hide"
          onClick=${() => record("dislike", id, { recId })}>
        <${Icon} name="close" /><span class="visually-hidden">Not for me: ${title}</span>
      </button>
    </li>`,
);

export function Shelf() {
  const recs = shown.recs.value;
  const items = shown.items.value;
  const isFirstList = shown.isFirstList.value;
  const connection = shown.connection.value;
  const { title, note } = shelfWords({
    ...{ recs, connection, hasProducts: shown.catalogue.value.items.length > 0 },
    preparing: preparingText(shown.pipeline.value),
  });
  const list = useGlide(recs === null ? "" : recs.rec_id || `${recs.epoch} ${recs.offset}`);
  usePaint();
  useKeptFocus(list);
  const places = (recs?.items ?? []).slice(0, SHOWN).map((place) => {
    const item = items[place.item] ?? { item: place.item };
    const moved = movement(place, isFirstList);
    return html`<${Place} key=${place.item} id=${place.item} rank=${place.rank} recId=${recs?.rec_id || null}
      item=${item} title=${titleOf(items, place.item)} reason=${recs?.source === "popular" ? item.category || item.brand || "popular now" : reasonText(place.why, items, item.category ?? "")}
      kind=${moved.kind} mark=${moved.text} label=${moved.label} />`;
  });
  const empty = Array.from({ length: 6 }, () => html`<li class="place place-empty" aria-hidden="true" />`);
  return html`<section class="shelf" aria-labelledby="for-you-title" data-part="shelf"
      data-phase=${connection.phase} aria-busy=${String(recs === null)}>
    <header class="shelf-head">
      <h1 class="shelf-title" id="for-you-title" data-part="shelf-title">${title}</h1>
      <p class="shelf-note" data-part="shelf-note">${note}</p>
      <p class="shelf-effect" data-part="shelf-effect">${effectText(shown.effect.value, shown.unchanged.value, items)}</p>
    </header>
    <ol class="shelf-list" role="list" tabindex="-1" ref=${list} data-part="shelf-list">${recs === null ? empty : places}</ol>
  </section>`;
}

/** Measures the time of the frame after a new list was drawn. */
function usePaint() {
  const arrival = shown.arrival.value;
  useLayoutEffect(() => {
    if (arrival === null) return;
    const painted = () => dispatch({ type: "painted", atMs: performance.now() });
    if (document.hidden) {
      painted();
      return;
    }
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = painted;
      channel.port2.postMessage(null);
    });
  }, [arrival]);
}

/**
 * Keeps the focus on its entry while the list moves, and moves it to the entry at the same place when its
 * entry left the list.
 *
 * @param {{current: HTMLElement | null}} list
 */
function useKeptFocus(list) {
  const entries = [...(list.current?.children ?? [])];
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const index = focused === null ? -1 : entries.findIndex((entry) => entry.contains(focused));
  useLayoutEffect(() => {
    if (index < 0 || list.current === null || list.current.contains(document.activeElement)) return;
    const { children } = list.current;
    const next = children[Math.min(index, children.length - 1)]?.querySelector("button");
    const kept = focused?.isConnected ? focused : next;
    kept?.focus({ preventScroll: true });
  });
}
