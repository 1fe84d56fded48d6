// @ts-check
/** The product grid with its category chips and paging. */

import { html, useEffect, useRef } from "../../vendor/preact.js";
import { setQuery } from "../../app/router.js";
import { loading, shown } from "../../app/session.js";
import { count, plural } from "../../elements/format.js";
import { Card } from "./cards.js";

/** More chips than this are noise; the rest is reached by searching. */
const MOST_CHIPS = 24;

function loadMore() {
  const { query, category } = loading.state().catalogue;
  void loading.page({ query, category, isMore: true });
}

export function Products() {
  const { status, items: ids, query, category, next, error } = shown.catalogue.value;
  const items = shown.items.value;
  const reactions = shown.reactions.value;
  const fresh = shown.fresh.value;
  const more = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const watcher = new IntersectionObserver(
      (entries) => entries.some(({ isIntersecting }) => isIntersecting) && loadMore(),
      { rootMargin: "600px" },
    );
    if (more.current !== null) watcher.observe(more.current);
    return () => watcher.disconnect();
  }, []);
  const where = category === "" ? "all products" : category;
  const isEmpty = status === "failed" || (status === "ready" && ids.length === 0);
  return html`<header class="catalogue-head">
      <h2 class="catalogue-title" id="products-title" data-part="products-title">
        ${query ? `“${query}” in ${where}` : category || "All products"}
      </h2>
      <p class="muted" role="status" data-part="products-note">
        ${status === "ready" && query ? plural(ids.length, next ? "result so far" : "result") : ""}
      </p>
    </header>
    <${Chips} chosen=${category} />
    <ul class="grid" role="list" data-part="grid" aria-busy=${String(status === "loading")}>
      ${ids.map((id) => html`<${Card} key=${id} id=${id} item=${items[id]} reaction=${reactions[id]} isNew=${id in fresh} />`)}
    </ul>
    <div class="grid-end">
      ${isEmpty && html`<p class="empty" data-part="empty">${emptyText(shown.catalogue.value, error)}</p>`}
      <button class="button" type="button" ref=${more} hidden=${next === null || status === "failed"} onClick=${loadMore}>More products</button>
    </div>`;
}

/** @param {{chosen: string}} props */
function Chips({ chosen }) {
  const categories = shown.categories.value;
  const sizes = new Map(categories.slice(0, MOST_CHIPS).map(({ name, nItems }) => [name, nItems]));
  if (chosen !== "" && !sizes.has(chosen)) sizes.set(chosen, 0);
  return html`<div class="chips" role="group" aria-label="Categories" data-part="chips" hidden=${categories.length < 2}>
    ${["", ...sizes.keys()].map((name) => {
      const nItems = sizes.get(name) ?? 0;
      return html`<button type="button" class="chip" key=${name} aria-pressed=${String(name === chosen)}
          onClick=${() => setQuery({ category: name })}>
        <span>${name || "All"}</span><span class="chip-count">${nItems > 0 ? count(nItems) : ""}</span>
      </button>`;
    })}
  </div>`;
}

/**
 * @param {import("../../state/state.js").Catalogue} catalogue
 * @param {string} error
 */
function emptyText({ status, query, category }, error) {
  if (status === "failed") return `The products can't be loaded: ${error}. The list is tried again.`;
  if (query) return `Nothing here is called “${query}”. Try fewer letters, or another category.`;
  if (category) return "This category is empty.";
  return (
    "No products yet. Add one under “Steer the shop”, import yours with recstream\u00a0import, " +
    "or start over with a made-up shop: recstream\u00a0up\u00a0--shop\u00a0synthetic."
  );
}
