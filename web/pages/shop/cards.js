// @ts-check
/** A product as a card of the grid, and as a small card of a row; the actions that both offer. */

import { html, useState } from "../../vendor/preact.js";
import { open, record, shown } from "../../app/session.js";
import { memo } from "../../components/memo.js";
import { priceOf } from "../../elements/format.js";
import { Icon } from "../../elements/icons.js";
import { Picture } from "../../elements/picture.js";
import { MOST_STARS, actionsOf, hasRatings } from "../../state/vocabulary.js";

/** @typedef {import("../../state/state.js").Item} Item */

/**
 * The action buttons of a product. Pressing a button again takes the action back.
 *
 * @param {{item: string, title: string, reaction: string | undefined, isLarge?: boolean}} props
 */
export function Actions({ item, title, reaction, isLarge = false }) {
  const buttons = actionsOf(shown.eventTypes.value).map(({ type, icon, label, done }) => {
    const isPressed = reaction === type;
    const words = isPressed ? done : label;
    const act = () => record(isPressed && type !== "purchase" ? "remove" : type, item);
    return html`<button type="button" key=${type} class=${isLarge ? "button action-large" : "action"}
        data-action=${type} aria-pressed=${String(isPressed)} title=${isLarge ? null : words} onClick=${act}>
      <${Icon} name=${icon} />
      <span class=${isLarge ? "action-text" : "visually-hidden"}>${isLarge ? words : `${words}: ${title}`}</span>
    </button>`;
  });
  return html`<div class=${isLarge ? "actions-large" : "actions"}>${buttons}</div>`;
}

/**
 * Stars to rate an item, where the log has ratings.
 *
 * @param {{item: string, title: string}} props
 */
export function Stars({ item, title }) {
  const [given, give] = useState(0);
  if (!hasRatings(shown.eventTypes.value)) return null;
  const rate = (/** @type {number} */ value) => {
    give(value);
    record("rate", item, { value });
  };
  return html`<div class="stars" role="group" aria-label=${`Rate ${title}`} data-part="stars">
    ${Array.from({ length: MOST_STARS }, (_, at) => at + 1).map((value) => html`<button type="button" class="star" key=${value} data-on=${value <= given ? "" : null}
      aria-pressed=${String(value === given)} aria-label=${`${value} of ${MOST_STARS} stars`} onClick=${() => rate(value)}><${Icon} name="star" /></button>`)}
    <span class="muted">${given > 0 ? `rated ${given} of ${MOST_STARS}` : "your rating"}</span>
  </div>`;
}

/** A card of the grid. */
export const Card = memo(
  /** @param {{id: string, item: Item | undefined, reaction: string | undefined, isNew: boolean}} props */
  ({ id, item = { item: id }, reaction, isNew }) => {
    const title = item.title || id;
    return html`<li class="card" data-key=${id} data-reaction=${reaction} data-new=${isNew ? "" : null}>
      <div class="card-picture"><${Picture} item=${item} /></div>
      <div class="card-text">
        <p class="card-category">${item.category || item.brand || ""}</p>
        <h3 class="card-title">
          <button type="button" class="card-open" data-part="open" onClick=${() => open(id, "grid")}>${title}</button>
        </h3>
      </div>
      <div class="card-foot">
        <span class="price">${priceOf(item)}</span>
        <${Actions} item=${id} title=${title} reaction=${reaction} />
      </div>
    </li>`;
  },
);

/** A card of a row. */
export const Mini = memo(
  /** @param {{id: string, item: Item | undefined, from: "because" | "similar", recId?: string, why?: string}} props */
  ({ id, item = { item: id }, from, recId, why = "" }) =>
    html`<li class="mini" data-key=${id} data-rec=${recId}>
      <div class="mini-picture"><${Picture} item=${item} /></div>
      <button type="button" class="mini-open" data-part="open" onClick=${() => open(id, from)}>${item.title || id}</button>
      <span class="price">${priceOf(item)}</span>
      <span class="mini-why">${why}</span>
    </li>`,
);
