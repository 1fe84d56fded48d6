// @ts-check
/** A table of any length: only the rows on the screen are drawn. Arrow keys move, Enter chooses. */

import { html, signal, useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { timeText } from "../state/log-words.js";

const ROW_PX = 36;
const SPARE = 8;

/** Whether the screen is as narrow as a phone's. */
const phone = matchMedia("(max-width: 40rem)");
export const isNarrow = signal(phone.matches);
phone.addEventListener("change", () => {
  isNarrow.value = phone.matches;
});

/**
 * @template R
 * @typedef {{name: string, width: string, isNumber?: boolean, about?: string, isSpare?: boolean, cell: (row: R) => any}} Column
 *   `width` is a track of a CSS grid, as "6rem" or "minmax(8rem, 1fr)"; `isSpare` leaves the column out on a narrow screen
 */

/**
 * A time of the log, to the millisecond; on a narrow screen without the day.
 *
 * @param {{ms: number}} props
 */
export function Moment({ ms }) {
  const text = timeText(ms);
  return html`<span class="mono" title=${text}>${isNarrow.value ? text.slice(11) : text}</span>`;
}

/**
 * @template R
 * @param {{label: string, rows: R[], keyOf: (row: R) => string, columns: Column<R>[], least?: string,
 *   most?: string, chosen?: string | null, onChoose?: (row: R) => void, onEnd?: () => void,
 *   isFollowing?: boolean, empty?: any}} props `least` is the least width before it scrolls sideways;
 *   `onEnd` is called when the last rows are reached; `isFollowing` keeps the last row in view
 */
export function VirtualTable({ label, rows, keyOf, columns: all, least = "0", most = "32rem", chosen = null, onChoose, onEnd, isFollowing = false, empty }) {
  const columns = isNarrow.value ? all.filter(({ isSpare }) => !isSpare) : all;
  const scroller = useRef(/** @type {HTMLElement | null} */ (null));
  const [view, setView] = useState({ top: 0, height: 600 });
  const [current, setCurrent] = useState(0);
  const measure = () => {
    const element = scroller.current;
    if (element === null) return;
    setView({ top: element.scrollTop, height: element.clientHeight });
    const isEnd = element.scrollTop + element.clientHeight > element.scrollHeight - 4 * ROW_PX;
    if (isEnd) onEnd?.();
  };
  useEffect(() => {
    addEventListener("resize", measure);
    return () => removeEventListener("resize", measure);
  });
  useLayoutEffect(measure, [rows.length]);
  useLayoutEffect(() => {
    if (isFollowing && scroller.current !== null) scroller.current.scrollTop = scroller.current.scrollHeight;
  }, [rows, isFollowing]);
  const first = Math.max(0, Math.floor(view.top / ROW_PX) - SPARE);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / ROW_PX) + SPARE);
  const at = Math.min(current, Math.max(0, rows.length - 1));
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    const page = Math.max(1, Math.floor(view.height / ROW_PX) - 2);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: rows.length - 1 }[event.key];
    if (event.key === "Enter" && rows[at] !== undefined && event.target === scroller.current) onChoose?.(rows[at]);
    if (to === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(rows.length - 1, to));
    setCurrent(next);
    const element = scroller.current;
    if (element === null) return;
    const top = next * ROW_PX;
    if (top < element.scrollTop) element.scrollTop = top;
    if (top + 2 * ROW_PX > element.scrollTop + element.clientHeight) element.scrollTop = top + 2 * ROW_PX - element.clientHeight;
  };
  const style = { "--columns": columns.map(({ width }) => width).join(" "), "--row": `${ROW_PX}px`, "--least": isNarrow.value ? "0" : least, "--most": most };
  return html`<div class="scroller" role="grid" aria-label=${label} aria-rowcount=${rows.length + 1} tabindex="0" style=${style}
      ref=${scroller} onScroll=${measure} onKeyDown=${onKeyDown}>
    <div class="grid-head" role="row">
      ${columns.map(({ name, isNumber, about }) => html`<span role="columnheader" key=${name} class=${isNumber ? "number" : null} title=${about}>${name}</span>`)}
    </div>
    ${rows.length === 0 && html`<div class="state" role="row"><span role="gridcell">${empty ?? "Nothing here."}</span></div>`}
    <div class="grid-body" role="rowgroup" style=${{ "block-size": `${rows.length * ROW_PX}px` }}>
      ${rows.slice(first, last).map((row, index) => {
        const key = keyOf(row);
        const place = first + index;
        return html`<div class="grid-row" role="row" key=${key} data-key=${key} aria-rowindex=${place + 2} aria-selected=${String(key === chosen)}
            data-chosen=${key === chosen || place === at ? "" : null} style=${{ "inset-block-start": `${place * ROW_PX}px` }}
            onClick=${(/** @type {any} */ event) => {
              setCurrent(place);
              if (!event.target.closest("a, button")) onChoose?.(row);
            }}>
          ${columns.map(({ name, isNumber, cell }) => html`<span role="gridcell" key=${name} class=${isNumber ? "number" : null}>${cell(row)}</span>`)}
        </div>`;
      })}
    </div>
  </div>`;
}
