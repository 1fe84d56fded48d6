// @ts-check
/** The shop: products, and the list "For you" that follows each click. */

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { address, setQuery } from "../../app/router.js";
import { chooseUser, close, hasToken, impressions, loading, show, shown, store } from "../../app/session.js";
import { watchImpressions } from "../../connection/impressions.js";
import { Icon } from "../../elements/icons.js";
import { debounce } from "../../elements/timing.js";
import { recall, remember } from "../../state/preferences.js";
import { Because } from "./because.js";
import { ProductDialog } from "./dialog.js";
import { Engine } from "./engine.js";
import { Personas } from "./personas.js";
import { Products } from "./products.js";
import { Shelf } from "./shelf.js";
import { SteerPanel, SteerToggle } from "./steer-panel.js";

const TYPING_PAUSE_MS = 180;
const TYPING_AT_LATEST_MS = 600;

/** Makes the state follow the address: search, category, product, user. */
function useAddress() {
  const { q = "", category = "", item = "", user = "" } = address.value.query;
  useEffect(() => {
    const { status, query, category: shownCategory } = store.state.catalogue;
    if (status === "idle") void loading.catalogue(q, category);
    else if (query !== q || shownCategory !== category) void loading.page({ query: q, category, isMore: false });
  }, [q, category]);
  useEffect(() => {
    if (item !== "" && store.state.opened?.item !== item) void show(item);
    if (item === "" && store.state.opened !== null) close();
  }, [item]);
  useEffect(() => {
    if (user !== "" && user !== store.state.user && !hasToken()) void chooseUser(user, false);
  }, [user]);
}

export function Shop() {
  const root = useRef(/** @type {HTMLElement | null} */ (null));
  useAddress();
  useEffect(() => {
    if (root.current === null) return undefined;
    return watchImpressions(root.current, (recId, item) => impressions.seen(recId, item));
  }, []);
  const { query, category } = shown.catalogue.value;
  return html`<main class="shop" id="main" ref=${root} data-searching=${query !== "" || category !== "" ? "" : null}>
      <${Shelf} />
      <section class="catalogue" id="products" tabindex="-1" aria-labelledby="products-title">
        <${Hint} />
        <${Because} />
        <${Products} />
      </section>
    </main>
    <${Engine} />
    <${SteerPanel} />
    <${ProductDialog} />`;
}

function Hint() {
  const { items, query, category } = shown.catalogue.value;
  const [isSeen, setSeen] = useState(recall("hint") === "seen");
  if (isSeen || !(items.length > 0 || query !== "" || category !== "")) return null;
  const closeHint = () => {
    remember("hint", "seen");
    setSeen(true);
    document.getElementById("search")?.focus({ preventScroll: true });
  };
  return html`<aside class="hint" aria-label="How this works" data-part="hint">
    <div class="hint-text">
      <h2 class="hint-title">Recommendations that follow each click</h2>
      <p>Open or like a few things and watch <strong>For you</strong>. Every click is an event in a log. Your list is derived from the log again within milliseconds.</p>
    </div>
    <button class="button button-small" type="button" onClick=${closeHint}>Got it</button>
  </aside>`;
}

/** What the shop adds to the top of the page: search, steering, who is shopping. */
export function ShopTools() {
  return html`<${SteerToggle} /><${Personas} />`;
}

export function ShopSearch() {
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const { q = "" } = address.value.query;
  const search = (/** @type {boolean} */ isReplacing) =>
    setQuery({ q: field.current?.value.trim() ?? "", item: null }, { isReplacing });
  const soon = useRef(debounce(() => search(true), TYPING_PAUSE_MS, TYPING_AT_LATEST_MS));
  useEffect(() => {
    const input = field.current;
    if (input !== null && document.activeElement !== input) input.value = q;
  }, [q]);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    search(false);
  };
  return html`<form class="search" role="search" onSubmit=${submit}>
    <label class="visually-hidden" for="search">Search products</label>
    <span class="search-icon"><${Icon} name="search" /></span>
    <input id="search" type="search" name="q" placeholder="Search products" autocomplete="off" spellcheck=${false}
      ref=${field} data-part="search" onInput=${() => soon.current()} />
  </form>`;
}
