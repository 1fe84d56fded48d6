// @ts-check
/** The panel of whoever runs the shop: what is in force, a few changes, results by arm, a new product. */

import { find, html, keyed, setAttribute, setText } from "../elements/dom.js";
import { icon } from "../elements/icons.js";
import { hash } from "../elements/ids.js";
import { formatMs } from "../state/latency.js";
import { sentences } from "../state/steering.js";
import { count, titleOf } from "../elements/format.js";

/**
 * @typedef {import("../state/state.js").State} State
 * @typedef {import("./steering-actions.js").Steering} Steering
 */

const CHOICES = 60;

export class SteerPanel {
  /**
   * @param {HTMLElement} page
   * @param {Steering} steering
   */
  constructor(page, steering) {
    this.root = find(page, "steer");
    this.toggle = find(page, "steer-toggle");
    this.steering = steering;
    this.toggle.append(icon("sliders"), html("span", { class: "visually-hidden", text: "Steer the shop" }));
    setAttribute(this.toggle, "title", "Steer the shop");
    find(this.root, "steer-close").append(icon("close"));
    this.toggle.addEventListener("click", () => steering.open(this.root.hidden));
    find(this.root, "steer-close").addEventListener("click", () => this.#close());
    this.root.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") this.#close();
    });
    for (const button of this.root.querySelectorAll("button[data-preset]")) {
      button.addEventListener("click", () => void steering.preset(button.dataset.preset));
    }
    for (const form of this.root.querySelectorAll("form[data-preset]")) {
      form.addEventListener("submit", (/** @type {Event} */ event) => {
        event.preventDefault();
        const choice = form.querySelector("select").value;
        if (choice) void steering.preset(form.dataset.preset, choice);
      });
    }
    this.#offerForm(find(this.root, "add-form"));
  }

  #close() {
    this.steering.open(false);
    this.toggle.focus();
  }

  /** @param {HTMLFormElement} form */
  #offerForm(form) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const data = new FormData(form);
      /** @param {string} name */
      const text = (name) => String(data.get(name) ?? "").trim();
      const price = Number(text("price"));
      const title = text("title");
      const item = `new-${hash(`${title} ${Date.now()}`).toString(36)}`;
      void this.steering.add({
        ...{ item, title, brand: text("brand"), category: text("category") },
        ...(text("price") !== "" && Number.isFinite(price) ? { price } : {}),
      });
      form.reset();
    });
  }

  /**
   * @param {State} state
   * @param {State} before
   */
  render(state, before) {
    const { steer } = state;
    this.root.hidden = !steer.isOpen;
    setAttribute(this.toggle, "aria-expanded", String(steer.isOpen));
    setAttribute(document.body, "data-steer", steer.isOpen ? "open" : null);
    if (!steer.isOpen) return;
    if (!before.steer.isOpen) find(this.root, "steer-close").focus({ preventScroll: true });
    this.#renderRules(state);
    const isNewChoice =
      !before.steer.isOpen || state.items !== before.items || state.categories !== before.categories;
    if (isNewChoice) this.#renderChoices(state);
    this.#renderArms(state);
    setText(find(this.root, "add-result"), addedText(steer.added));
  }

  /** @param {State} state */
  #renderRules({ steer, items }) {
    const { document: said, status, error, warnings } = steer;
    const box = find(this.root, "steer-error");
    box.hidden = status !== "failed" && warnings.length === 0;
    setText(box, status === "failed" ? error : warnings.join(" "));
    setAttribute(box, "data-kind", status === "failed" ? "error" : "warning");
    setAttribute(this.root, "aria-busy", status === "saving" || status === "loading");
    const found = sentences(said, items);
    const byKey = new Map(found.map((sentence) => [sentence.key, sentence]));
    const keys = found.length > 0 ? [...byKey.keys()] : ["nothing"];
    keyed(
      find(this.root, "steer-rules"),
      keys,
      (key) => this.#createRule(key),
      (element, key) => {
        const sentence = byKey.get(key);
        setText(find(element, "rule-text"), sentence?.text ?? "Nothing: lists are what the model says");
        if (sentence === undefined) return;
        setText(find(element, "rule-undo"), `Take back: ${sentence.text}`);
        /** @type {any} */ (element).without = sentence.without;
      },
    );
    find(this.root, "steer-json").hidden = found.length === 0;
    setText(find(this.root, "steer-document"), JSON.stringify(said, null, 2));
    for (const button of this.root.querySelectorAll("button[data-preset]")) {
      const isOn = { diverse: "diversity", rotate: "rotation", test: "arms" }[button.dataset.preset];
      setAttribute(button, "aria-pressed", String(byKey.has(isOn)));
    }
  }

  /** @param {string} key */
  #createRule(key) {
    const element = html("li", { class: "steer-rule" }, html("span", { "data-part": "rule-text" }));
    if (key === "nothing") return element;
    element.append(
      html(
        "button",
        {
          ...{ type: "button", class: "event-forget", title: "Take it back" },
          onclick: () => void this.steering.set(/** @type {any} */ (element).without),
        },
        icon("close"),
        html("span", { class: "visually-hidden", "data-part": "rule-undo" }),
      ),
    );
    return element;
  }

  /** @param {State} state */
  #renderChoices({ items, categories, recs }) {
    const names = categories.map(({ name }) => name);
    const brands = [...new Set(Object.values(items).map(({ brand }) => brand ?? ""))].filter(Boolean).sort();
    const listed = (recs?.items ?? []).map(({ item }) => item);
    const products = [...new Set([...listed, ...Object.keys(items)])].slice(0, CHOICES);
    /** @param {string} part @param {string[]} values @param {(value: string) => string} [name] */
    const fill = (part, values, name = (value) => value) =>
      keyed(
        find(this.root, part),
        values,
        (value) => html("option", { value }),
        (option, value) => setText(option, name(value)),
      );
    fill("push-choices", names);
    fill("hide-choices", brands);
    fill("pin-choices", products, (id) => titleOf(items, id));
    fill("brands", brands);
    fill("category-names", names);
  }

  /** @param {State} state */
  #renderArms({ pipeline, steer }) {
    const arms = pipeline?.arms ?? [];
    const isTesting = (steer.document.arms ?? []).length > 0;
    find(this.root, "arms").hidden = !isTesting && arms.length === 0;
    setText(
      find(this.root, "arms-note"),
      arms.length === 0 ? "Nobody has done anything in the test yet." : "",
    );
    const most = Math.max(0.01, ...arms.flatMap((arm) => measures(arm).map(({ value }) => value)));
    const byName = new Map(arms.map((arm) => [arm.name, arm]));
    keyed(
      find(this.root, "arms-list"),
      [...byName.keys()],
      (name) =>
        html(
          "li",
          { class: "arm" },
          html("h4", { class: "arm-name", text: name }),
          html("ul", { role: "list", "data-part": "arm-measures" }),
        ),
      (element, name) => drawMeasures(find(element, "arm-measures"), byName.get(name), most),
    );
  }
}

/** @param {import("../connection/protocol.js").ArmResult} arm */
function measures({ hit10, mrr, events, shown, clicked }) {
  return [
    { name: "hit@10", value: hit10, of: `${count(events)} events` },
    { name: "MRR", value: mrr, of: `${count(events)} events` },
    { name: "click-through", value: shown > 0 ? clicked / shown : 0, of: `${count(shown)} shown` },
  ];
}

/**
 * @param {Element} list
 * @param {any} arm
 * @param {number} most the longest bar's value
 */
function drawMeasures(list, arm, most) {
  const byName = new Map(measures(arm).map((measure) => [measure.name, measure]));
  keyed(
    list,
    [...byName.keys()],
    (name) =>
      html(
        "li",
        { class: "measure" },
        html("span", { text: name }),
        html("span", { class: "why-bar" }),
        html("span", { class: "measure-value", "data-part": "value" }),
        html("span", { class: "measure-of", "data-part": "of" }),
      ),
    (element, name) => {
      const { value, of } = /** @type {any} */ (byName.get(name));
      element.style.setProperty("--share", String(value / most));
      // Without events there is no share to show.
      const isKnown = !of.startsWith("0 ");
      setText(find(element, "value"), isKnown ? `${(100 * value).toFixed(1)} %` : "–");
      setText(find(element, "of"), of);
    },
  );
}

/** @param {State["steer"]["added"]} added */
function addedText(added) {
  if (added === null) return "";
  const { title, tookMs, error } = added;
  if (error) return `“${title}”: ${error}`;
  if (tookMs === null) return `“${title}” is on its way …`;
  return `“${title}” could be recommended after ${formatMs(tookMs)}.`;
}
