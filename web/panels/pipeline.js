// @ts-check
/** The panels at the bottom: connection, latency by step, model, the user's events. */

import { drawSpark, drawWaterfall } from "./chart.js";
import { find, html, keyed, setAttribute, setText } from "../elements/dom.js";
import { icon } from "../elements/icons.js";
import { formatMs, quantile } from "../state/latency.js";
import { recall, remember } from "../state/preferences.js";
import { count, plural, titleOf, verb } from "../elements/format.js";

/**
 * @typedef {import("../state/state.js").State} State
 * @typedef {import("../state/state.js").Activity} Activity
 * @typedef {{train: () => void, forget: (item: string) => void}} Handlers
 */

/** @type {Record<string, string>} */
const PHASES = { connecting: "Connecting", live: "Live", stale: "Reconnecting", failed: "Failed" };

/** Event types whose item can be removed from the history. */
const FORGETTABLE = new Set(["view", "click", "cart", "purchase", "rate", "like", "dislike"]);

export class Engine {
  /**
   * @param {HTMLElement} root
   * @param {Handlers} handlers
   */
  constructor(root, handlers) {
    this.root = root;
    this.handlers = handlers;
    this.page = document.body;
    const isRoomy = matchMedia("(min-width: 1100px) and (min-height: 760px)").matches;
    this.#open(recall("engine", isRoomy ? "open" : "closed") === "open");
    find(root, "engine-caret").append(icon("chevron"));
    find(root, "engine-toggle").addEventListener("click", () => {
      const isOpen = this.page.dataset.engine !== "open";
      this.#open(isOpen);
      remember("engine", isOpen ? "open" : "closed");
    });
    find(root, "train").addEventListener("click", () => handlers.train());
    drawWaterfall(find(root, "waterfall"), null);
  }

  /** @param {boolean} isOpen */
  #open(isOpen) {
    this.page.dataset.engine = isOpen ? "open" : "closed";
    setAttribute(find(this.root, "engine-toggle"), "aria-expanded", isOpen);
    find(this.root, "engine-panels").hidden = !isOpen;
  }

  /**
   * @param {State} state
   * @param {State} before
   */
  render(state, before) {
    this.#renderConnection(state);
    if (
      state.lastTrace !== before.lastTrace ||
      state.pending !== before.pending ||
      state.unchanged !== before.unchanged ||
      state === before
    ) {
      this.#renderLatency(state);
    }
    if (state.pipeline !== before.pipeline || state.recs !== before.recs || state === before) {
      this.#renderModel(state);
    }
    if (state.activity !== before.activity || state.items !== before.items || state === before) {
      this.#renderActivity(state);
    }
  }

  /** @param {State} state */
  #renderConnection({ connection, outbox }) {
    const place = find(this.root, "connection");
    setAttribute(place, "data-phase", connection.phase);
    setAttribute(place, "title", connection.detail || null);
    setText(find(this.root, "connection-text"), PHASES[connection.phase]);
    const queue = find(this.root, "bar-queue");
    queue.hidden = outbox.queued === 0 || (outbox.trouble === "" && outbox.queued < 3);
    setText(queue, `${plural(outbox.queued, "event")} queued`);
    setAttribute(queue, "title", outbox.trouble || null);
  }

  /** @param {State} state */
  #renderLatency({ lastTrace, totalsMs, pending, unchanged, items }) {
    const median = quantile(totalsMs, 0.5);
    const number = find(this.root, "latency-number");
    setText(number, lastTrace === null ? "–" : formatMs(lastTrace.totalMs));
    setAttribute(number, "data-waiting", pending.length > 0);
    const words = caption(lastTrace, unchanged, items);
    setText(find(this.root, "latency-caption"), words);
    setAttribute(find(this.root, "latency-caption"), "title", words);
    setText(
      find(this.root, "latency-median"),
      median === null ? "" : `median of ${plural(totalsMs.length, "click")}: ${formatMs(median)}`,
    );
    setText(
      find(this.root, "bar-latency"),
      lastTrace === null || median === null
        ? "Click a product to measure"
        : `${formatMs(lastTrace.totalMs)} · median ${formatMs(median)}`,
    );
    drawWaterfall(find(this.root, "waterfall"), lastTrace);
    drawSpark(find(this.root, "latency-spark"), totalsMs);
  }

  /** @param {State} state */
  #renderModel({ pipeline, recs }) {
    const generation = Math.max(pipeline?.generation ?? 0, recs?.generation ?? 0);
    const training = pipeline?.training ?? null;
    const isTraining = training?.state === "training";
    setText(find(this.root, "model-title"), `Model, generation ${generation}`);
    setText(find(this.root, "bar-model"), barModel(generation, pipeline, isTraining));
    const progress = find(this.root, "progress");
    const box = find(this.root, "training");
    setAttribute(box, "data-state", training?.state ?? "waiting");
    const most = Math.max(1, training?.iterations ?? 1);
    const done = isTraining ? training.iteration : hasLearned(pipeline) ? most : 0;
    setAttribute(progress, "aria-valuemax", most);
    setAttribute(progress, "aria-valuenow", done);
    progress.style.setProperty("--done", (done / most).toFixed(3));
    setText(find(this.root, "training-text"), trainingText(pipeline));
    setAttribute(find(this.root, "train"), "disabled", isTraining ? "" : null);
    this.#renderFacts(pipeline);
  }

  /** @param {State["pipeline"]} pipeline */
  #renderFacts(pipeline) {
    const model = pipeline?.model ?? null;
    /** @type {Record<string, string>} */
    const facts = {
      "Records in the log": pipeline === null ? "–" : count(pipeline.nEvents),
      "Waiting (lag)": pipeline === null ? "–" : count(pipeline.lag),
      "Interactions trained on": model === null ? "–" : count(model.nInteractions),
      "Hit@10 of the newest events": predicted(pipeline),
      "Users × items": model === null ? "–" : `${count(model.nUsers)} × ${count(model.nItems)}`,
    };
    keyed(
      find(this.root, "facts"),
      Object.keys(facts),
      (name) => html("div", { class: "fact" }, html("dt", { text: name }), html("dd")),
      (element, name) => setText(/** @type {Element} */ (element.lastElementChild), facts[name]),
    );
  }

  /** @param {State} state */
  #renderActivity({ activity, items, nMissed, user }) {
    const byId = new Map(activity.map((entry) => [entry.id, entry]));
    const list = find(this.root, "activity");
    keyed(
      list,
      [...byId.keys()],
      (id) =>
        html(
          "li",
          { class: "event" },
          html("span", { class: "event-text", "data-part": "event-text" }),
          html("span", { class: "event-place", "data-part": "event-place" }),
          html(
            "button",
            {
              ...{ type: "button", class: "event-forget", "data-part": "event-forget" },
              ...{ title: "Remove this product from your history" },
              onclick: () => this.handlers.forget(byId.get(id)?.item ?? ""),
            },
            icon("undo"),
            html("span", { class: "visually-hidden", "data-part": "forget-text" }),
          ),
        ),
      (element, id) => updateEvent(element, /** @type {Activity} */ (byId.get(id)), items),
    );
    const note =
      nMissed > 0
        ? `${plural(nMissed, "older event")} not shown`
        : `No events yet. Events of ${user} appear here with their offset in the log.`;
    setAttribute(list, "data-empty", activity.length === 0 ? note : null);
  }
}

/**
 * @param {HTMLElement} element
 * @param {Activity} entry
 * @param {State["items"]} items
 */
function updateEvent(element, entry, items) {
  const title = titleOf(items, entry.item);
  setText(find(element, "event-text"), `${verb(entry.type)} ${title}`);
  setAttribute(element, "data-status", entry.status);
  const place = find(element, "event-place");
  setText(place, placeText(entry));
  setAttribute(place, "title", entry.detail || null);
  find(element, "event-forget").hidden = !FORGETTABLE.has(entry.type);
  setText(find(element, "forget-text"), `Remove ${title} from your history`);
}

/** @param {Activity} entry */
function placeText({ status, partition, offset }) {
  if (status === "refused") return "refused";
  if (status === "queued") return "queued";
  return offset === null ? "in the log" : `${partition} : ${offset}`;
}

/**
 * @param {State["lastTrace"]} trace
 * @param {State["unchanged"]} unchanged
 * @param {State["items"]} items
 */
function caption(trace, unchanged, items) {
  if (unchanged !== null) return "Your last click is in the log. Your list did not change.";
  if (trace === null) return "Open, like or buy a product: each step is measured.";
  return `after you ${verb(trace.kind)} ${titleOf(items, trace.item)}`;
}

/**
 * Returns the share of the newest events whose item was in the first ten of the list before (hit@10).
 *
 * @param {State["pipeline"]} pipeline
 */
function predicted(pipeline) {
  const score = pipeline?.predicted ?? null;
  if (score === null || score.events === 0) return "–";
  return `${Math.round(100 * score.hit10)} % of ${count(score.events)}`;
}

/**
 * Returns whether the model has learned from events. Generation 0 has not.
 *
 * @param {State["pipeline"]} pipeline
 */
function hasLearned(pipeline) {
  return (pipeline?.model?.nInteractions ?? 0) > 0;
}

/**
 * @param {number} generation
 * @param {State["pipeline"]} pipeline
 * @param {boolean} isTraining
 */
function barModel(generation, pipeline, isTraining) {
  const training = pipeline?.training ?? null;
  if (isTraining && training !== null) {
    return `training generation ${training.generation}: ${training.iteration} of ${training.iterations}`;
  }
  if (!hasLearned(pipeline)) return pipeline === null ? "" : "no model yet: popular products";
  return `generation ${generation} · learned from ${count(pipeline?.model?.nInteractions ?? 0)} interactions`;
}

/** @param {State["pipeline"]} pipeline */
function trainingText(pipeline) {
  if (pipeline === null) return "Unknown without a connection";
  const training = pipeline?.training ?? null;
  const model = pipeline?.model ?? null;
  switch (training?.state) {
    case "training":
      return `Training generation ${training.generation}: iteration ${training.iteration} of ${training.iterations}`;
    case "failed":
      return `The training failed: ${training.detail || "see the trainer's log"}`;
    case "rejected":
      return `Generation ${training.generation} was not activated: ${training.detail}`;
    default:
      if (model !== null && model.trainSeconds > 0) {
        return `Trained in ${formatMs(model.trainSeconds * 1000)}; new events are folded in between trainings`;
      }
      return "No model yet. Popular products are shown until the first training ends";
  }
}
