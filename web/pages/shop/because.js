// @ts-check
/** "Because you viewed X": one row for each event that contributes most to the list. */

import { html, useRef, useState } from "../../vendor/preact.js";
import { shown } from "../../app/session.js";
import { commonFeaturesText, shortTitleOf, did } from "../../elements/format.js";
import { Mini } from "./cards.js";

export function Because() {
  const [chosen, choose] = useState("");
  const tabs = useRef(/** @type {HTMLElement | null} */ (null));
  const items = shown.items.value;
  const answer = shown.shelves.value;
  const shelves = answer?.shelves ?? [];
  const current = shelves.find(({ item }) => item === chosen) ?? shelves[0];
  const what = (/** @type {any} */ shelf) => `${did(shelf.event, shortTitleOf(items, shelf.item))}`;
  /** @param {KeyboardEvent} event */
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const at = shelves.indexOf(current) + step;
    const next = shelves[(at + shelves.length) % shelves.length];
    choose(next.item);
    const buttons = /** @type {NodeListOf<HTMLElement>} */ (tabs.current?.querySelectorAll("button"));
    buttons[shelves.indexOf(next)].focus();
  };
  return html`<section class="because" aria-labelledby="because-title" data-part="because" hidden=${shelves.length === 0}>
    <h2 class="because-title" id="because-title">More for you, because you</h2>
    <div class="because-tabs" role="tablist" aria-labelledby="because-title" ref=${tabs} onKeyDown=${move}>
      ${shelves.map(
        (shelf) => html`<button type="button" class="chip" role="tab" key=${shelf.item} data-key=${shelf.item}
          aria-controls="because-panel" aria-selected=${String(shelf === current)} tabindex=${shelf === current ? 0 : -1}
          onClick=${() => choose(shelf.item)}>${what(shelf)}</button>`,
      )}
    </div>
    <div role="tabpanel" id="because-panel" aria-label=${current ? `More, because you ${what(current)}` : null}>
      <ul class="row because-row" role="list" data-part="because-row" key=${current?.item}>
        ${(current?.items ?? []).map(
          ({ item, shared }) => html`<${Mini} key=${item} id=${item} item=${items[item]} from="because"
            recId=${answer?.rec_id ?? null} why=${shared.length > 0 ? commonFeaturesText(shared, "") : ""} />`,
        )}
      </ul>
    </div>
  </section>`;
}
