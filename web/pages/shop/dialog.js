// @ts-check
/** The product dialog: one product, what can be said about it, why it is in the list, what is like it. */

import { html, useEffect, useLayoutEffect, useRef } from "../../vendor/preact.js";
import { close, shown } from "../../app/session.js";
import { ScoreSum } from "../../components/score-sum.js";
import { commonFeaturesText, priceOf, titleOf, did } from "../../elements/format.js";
import { Icon } from "../../elements/icons.js";
import { Picture } from "../../elements/picture.js";
import { formatMs } from "../../state/latency.js";
import { Actions, Mini, Stars } from "./cards.js";

/** Reasons shown. */
const REASONS_SHOWN = 4;

/** @type {Record<string, string>} */
const OTHER_REASONS = {
  popular: "popular now",
  pinned: "the shop pinned it",
  boosted: "the shop boosts it",
  newcomer: "new item: this slot is reserved for cold items",
};

/**
 * @param {import("../../connection/protocol.js").Reason} reason
 * @param {import("../../state/state.js").State["items"]} items
 */
function whyText({ kind, item = "", event = "", shared = [] }, items) {
  if (kind === "because") return `you ${did(event, titleOf(items, item))}`;
  if (kind === "content") return commonFeaturesText(shared, item ? titleOf(items, item) : "");
  return OTHER_REASONS[kind] ?? kind;
}

/**
 * Returns the reason why an item is similar to the one shown.
 *
 * @param {import("../../state/state.js").Likeness[]} likeness
 */
function alikeText([first]) {
  if (first === undefined) return "";
  return first.kind === "content" ? commonFeaturesText(first.shared ?? [], "") : "often goes with it";
}

export function ProductDialog() {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const opener = useRef({ element: /** @type {HTMLElement | null} */ (null), place: -1 });
  const id = shown.opened.value?.item ?? "";
  useLayoutEffect(() => {
    const element = dialog.current;
    if (element === null) return;
    if (id === "") {
      if (element.open) element.close();
      return;
    }
    if (!element.open) {
      const from = /** @type {HTMLElement | null} */ (document.activeElement);
      const places = [...document.querySelectorAll(".place")];
      opener.current = { element: from, place: places.findIndex((place) => place.contains(from)) };
      element.showModal();
    }
    element.scrollTo({ top: 0 });
  }, [id]);
  useEffect(() => {
    if (id !== "") return;
    giveFocusBack(opener.current);
  }, [id]);
  return html`<dialog class="product" aria-labelledby="product-title" data-part="product" ref=${dialog}
      onClose=${close} onClick=${(/** @type {any} */ event) => event.target === dialog.current && dialog.current?.close()}>
    ${id !== "" && html`<${Product} key=${id} id=${id} onClose=${() => dialog.current?.close()} />`}
  </dialog>`;
}

/**
 * Focuses what opened the dialog; if that has left the list, the entry at its place.
 *
 * @param {{element: HTMLElement | null, place: number}} opener
 */
function giveFocusBack({ element, place }) {
  if (element === null) return;
  const places = document.querySelectorAll(".place-open");
  const neighbour = place < 0 ? null : places[Math.min(place, places.length - 1)];
  const target = element.isConnected && element !== document.body ? element : neighbour;
  /** @type {HTMLElement | null} */ (target ?? document.querySelector(".card-open"))?.focus({ preventScroll: true });
}

/** @param {{id: string, onClose: () => void}} props */
function Product({ id, onClose }) {
  const items = shown.items.value;
  const item = items[id] ?? { item: id };
  const title = titleOf(items, id);
  const about = [item.category, item.brand].filter(Boolean).join(" · ");
  return html`<article class="product-inner">
      <div class="product-picture"><${Picture} item=${item} /></div>
      <div class="product-text">
        <p class="card-category">${about}</p>
        <h2 class="product-title" id="product-title">${title}</h2>
        <p class="product-price">${priceOf(item)}</p>
        <p class="product-description">${item.description ?? ""}</p>
        <${Actions} item=${id} title=${title} reaction=${shown.reactions.value[id]} isLarge=${true} />
        <${Stars} item=${id} title=${title} />
        <p class="product-live" data-part="live">${liveText()}</p>
        <p class="product-links"><a href=${`/items/${encodeURIComponent(id)}`}>All about this item in the log</a></p>
      </div>
      <${Why} id=${id} />
      <${SimilarProducts} />
    </article>
    <button type="button" class="product-close" aria-label="Close" onClick=${onClose}><${Icon} name="close" /></button>`;
}

/** @param {{id: string}} props */
function Why({ id }) {
  const opened = shown.opened.value;
  const items = shown.items.value;
  const reasons = (opened?.reasons ?? [])
    .filter(({ kind, share }) => (share ?? 0) > 0 || kind === "pinned" || kind === "newcomer")
    .slice(0, REASONS_SHOWN);
  if (reasons.length === 0) return null;
  const isListed = (shown.recs.value?.items ?? []).some((place) => place.item === id);
  const rows = reasons.map((reason) => {
    const share = reason.share ?? 0;
    return html`<li class="why-reason" key=${`${reason.kind} ${reason.item ?? reason.rule}`}>
      <span data-part="why-text">${whyText(reason, items)}</span>
      <span class="why-bar" style=${{ "--share": share.toFixed(4) }} />
      <span class="why-share">${share > 0 ? `${Math.round(100 * share)} %` : ""}</span>
    </li>`;
  });
  return html`<section class="why" aria-labelledby="why-title" data-part="why">
    <h3 class="row-title" id="why-title">${isListed ? "Why it is in your list" : "Why it was in your list"}</h3>
    ${!isListed && html`<p class="muted" data-part="why-left">Opening it was an event, and your list shows what you have not seen: it has left the list.</p>`}
    <ul class="why-list" role="list" data-part="why-list">${rows}</ul>
    <${ScoreSum} explanation=${opened?.explanation ?? null} items=${items} />
  </section>`;
}

function SimilarProducts() {
  const { similar, likeness = {} } = shown.opened.value ?? {};
  const items = shown.items.value;
  const note = similarNote(similar);
  return html`<section class="similar" aria-labelledby="similar-title">
    <h3 class="row-title" id="similar-title">Similar products</h3>
    ${note && html`<p class="muted" data-part="similar-note">${note}</p>`}
    <ul class="row" role="list" data-part="similar">
      ${(similar?.items ?? []).map((other) => html`<${Mini} key=${other} id=${other} item=${items[other]} from="similar" why=${alikeText(likeness[other] ?? [])} />`)}
    </ul>
  </section>`;
}

function liveText() {
  if (shown.connection.value.phase !== "live") return "Your list is updated when the connection is back.";
  if (shown.pending.value.length > 0) return "Updating your list …";
  const trace = shown.lastTrace.value;
  return trace === null ? "" : `“For you” was updated in ${formatMs(trace.totalMs)}.`;
}

/** @param {import("../../state/state.js").Loaded | undefined} similar */
function similarNote(similar) {
  if (similar === undefined || similar.status === "loading") return "Loading …";
  if (similar.status === "failed") return `Similar products can't be loaded: ${similar.error}`;
  return similar.items.length === 0 ? "None yet: the model does not know this product." : "";
}
