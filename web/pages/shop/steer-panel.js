// @ts-check
/** The panel of whoever runs the shop: what is in force, a few changes, results by arm, a new product. */

import { html, useEffect, useRef } from "../../vendor/preact.js";
import { shown } from "../../app/session.js";
import { steering } from "../../app/steering.js";
import { Arms } from "../../components/arms.js";
import { RulesInForce } from "../../components/rules.js";
import { titleOf } from "../../elements/format.js";
import { Icon } from "../../elements/icons.js";
import { hash } from "../../elements/ids.js";
import { formatMs } from "../../state/latency.js";

const CHOICES = 60;
/** @type {[preset: string, key: "diversity" | "rotation" | "arms", label: string][]} */
const PRESETS = [
  ["diverse", "diversity", "More diverse"],
  ["rotate", "rotation", "Rotate what is ignored"],
  ["test", "arms", "Test two blends (A/B)"],
];

/** The button that opens the panel. */
export function SteerToggle() {
  const { isOpen } = shown.steer.value;
  return html`<button class="tool" type="button" aria-controls="steer" aria-expanded=${String(isOpen)} title="Steer the shop"
      data-part="steer-toggle" onClick=${() => steering.open(!isOpen)}>
    <${Icon} name="sliders" /><span class="visually-hidden">Steer the shop</span>
  </button>`;
}

function close() {
  steering.open(false);
  /** @type {HTMLElement | null} */ (document.querySelector("[data-part=steer-toggle]"))?.focus();
}

export function SteerPanel() {
  const { isOpen } = shown.steer.value;
  const closer = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    document.body.toggleAttribute("data-steer", isOpen);
    if (isOpen) closer.current?.focus({ preventScroll: true });
    return () => document.body.removeAttribute("data-steer");
  }, [isOpen]);
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && close();
  const { status } = shown.steer.value;
  return html`<aside class="steer" id="steer" aria-labelledby="steer-title" data-part="steer" hidden=${!isOpen}
      aria-busy=${String(status === "saving" || status === "loading")} onKeyDown=${onKeyDown}>
    <header class="steer-head">
      <h2 class="steer-title" id="steer-title">Steer the shop</h2>
      <button class="tool" type="button" aria-label="Close" data-part="steer-close" ref=${closer} onClick=${close}><${Icon} name="close" /></button>
    </header>
    ${isOpen && html`<${Body} />`}
  </aside>`;
}

function Body() {
  const { document: said, added } = shown.steer.value;
  const items = shown.items.value;
  const listed = (shown.recs.value?.items ?? []).map(({ item }) => item);
  const products = [...new Set([...listed, ...Object.keys(items)])].slice(0, CHOICES);
  const brands = [...new Set(Object.values(items).map(({ brand }) => brand ?? ""))].filter(Boolean).sort();
  const categories = shown.categories.value.map(({ name }) => name);
  const arms = shown.pipeline.value?.arms ?? [];
  const isTesting = (said.arms ?? []).length > 0 || arms.length > 0;
  return html`<p class="muted">For the operator of the shop. Each change is a record in the log. Lists follow at once, and replays include it. <a href="/steering">All rules</a></p>
    <section aria-labelledby="in-force-title">
      <h3 class="row-title" id="in-force-title">In force</h3>
      <${RulesInForce} />
    </section>
    <section aria-labelledby="presets-title">
      <h3 class="row-title" id="presets-title">Change something</h3>
      <div class="steer-presets">
        ${PRESETS.map(([preset, key, label]) => html`<button class="button button-small" type="button" key=${preset}
          aria-pressed=${String(said[key] !== undefined)} onClick=${() => void steering.preset(preset)}>${label}</button>`)}
      </div>
      <${Choice} preset="push" id="push-category" label="Push a category" verb="Push" values=${categories} />
      <${Choice} preset="hide" id="hide-brand" label="Hide a brand" verb="Hide" values=${brands} />
      <${Choice} preset="pin" id="pin-item" label="Pin a product" verb="Pin" values=${products} nameOf=${(/** @type {string} */ id) => titleOf(items, id)} />
    </section>
    ${isTesting && html`<section aria-labelledby="arms-title" data-part="arms">
      <h3 class="row-title" id="arms-title">A/B results so far</h3><${Arms} arms=${arms} />
    </section>`}
    <section aria-labelledby="add-title">
      <h3 class="row-title" id="add-title">Add a product</h3>
      <form class="add-form" data-part="add-form" onSubmit=${addProduct}>
        <label>Title<input name="title" required maxlength="200" autocomplete="off" placeholder="Acme Bamboo Teapot" /></label>
        <label>Brand<input name="brand" maxlength="100" autocomplete="off" list="brands" /></label>
        <label>Category<input name="category" maxlength="100" autocomplete="off" list="categories" /></label>
        <label>Price<input name="price" type="number" min="0" step="0.01" inputmode="decimal" /></label>
        <datalist id="brands">${brands.map((name) => html`<option value=${name} key=${name} />`)}</datalist>
        <datalist id="categories">${categories.map((name) => html`<option value=${name} key=${name} />`)}</datalist>
        <button class="button" type="submit">Add it</button>
      </form>
      <p class="add-result" role="status" data-part="add-result">${addedText(added)}</p>
    </section>`;
}

/**
 * A change with a choice.
 *
 * @param {{preset: string, id: string, label: string, verb: string, values: string[],
 *   nameOf?: (value: string) => string}} props
 */
function Choice({ preset, id, label, verb, values, nameOf = (value) => value }) {
  const submit = (/** @type {any} */ event) => {
    event.preventDefault();
    const choice = event.currentTarget.querySelector("select").value;
    if (choice) void steering.preset(preset, choice);
  };
  return html`<form class="steer-choice" onSubmit=${submit}>
    <label for=${id}>${label}</label>
    <span class="persona-row">
      <select id=${id} data-part=${`${preset}-choices`}>${values.map((value) => html`<option value=${value} key=${value}>${nameOf(value)}</option>`)}</select>
      <button class="button button-small" type="submit">${verb}</button>
    </span>
  </form>`;
}

/** @param {any} event */
function addProduct(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const data = new FormData(form);
  const text = (/** @type {string} */ name) => String(data.get(name) ?? "").trim();
  const price = Number(text("price"));
  const title = text("title");
  const item = `new-${hash(`${title} ${Date.now()}`).toString(36)}`;
  void steering.add({
    ...{ item, title, brand: text("brand"), category: text("category") },
    ...(text("price") !== "" && Number.isFinite(price) ? { price } : {}),
  });
  form.reset();
}

/** @param {import("../../state/state.js").State["steer"]["added"]} added */
function addedText(added) {
  if (added === null) return "";
  const { title, tookMs, error } = added;
  if (error) return `“${title}”: ${error}`;
  if (tookMs === null) return `“${title}” is on its way …`;
  return `“${title}” could be recommended after ${formatMs(tookMs)}.`;
}
