// @ts-check
/** Actions on the steering document: read, change and clear it; add a product. */

import { words } from "../connection/loading.js";
import { PRESETS } from "../state/steering.js";
import { api, dispatch, store } from "./session.js";

/**
 * @typedef {import("../state/state.js").State} State
 * @typedef {import("../state/state.js").Item} Item
 * @typedef {{api: import("../connection/api.js").Api, state: () => State,
 *   dispatch: (action: Record<string, any>) => void, now: () => number}} Options
 */

const ASK_EVERY_MS = 150;
const GIVE_UP_MS = 15_000;

export class Steering {
  /** @param {Options} options */
  constructor({ api, state, dispatch, now }) {
    this.api = api;
    this.state = state;
    this.dispatch = dispatch;
    this.now = now;
  }

  /** @param {boolean} isOpen */
  open(isOpen) {
    this.dispatch({ type: "steer-open", isOpen });
    if (isOpen) void this.load();
  }

  async load() {
    try {
      this.dispatch({ type: "steering", status: "loading" });
      this.dispatch({ type: "steering", status: "ready", document: await this.api.steering() });
    } catch (error) {
      this.dispatch({ type: "steering", status: "failed", error: words(error) });
    }
  }

  /**
   * @param {string} name of a preset
   * @param {string} [choice]
   */
  async preset(name, choice = "") {
    await this.set(PRESETS[name](this.state().steer.document, choice));
  }

  /** @param {import("../state/steering.js").Document} document */
  async set(document) {
    this.dispatch({ type: "steering", status: "saving" });
    try {
      const warnings = await this.api.steer(document);
      this.dispatch({ type: "steering", status: "ready", document, warnings });
    } catch (error) {
      this.dispatch({ type: "steering", status: "failed", error: words(error) });
    }
  }

  /**
   * Adds a product and measures the time until it can be recommended.
   *
   * @param {Item} item
   */
  async add(item) {
    const startedMs = this.now();
    const added = { item: item.item, title: item.title ?? "", startedMs, tookMs: null, error: "" };
    this.dispatch({ type: "adding", added });
    try {
      await this.api.putItem(item);
      this.dispatch({ type: "item-added", item, atMs: startedMs });
      while (this.now() - startedMs < GIVE_UP_MS) {
        if ((await this.api.similar(item.item)).isKnown) {
          this.dispatch({ type: "adding", added: { ...added, tookMs: this.now() - startedMs } });
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
      }
      this.dispatch({ type: "adding", added: { ...added, error: "no model has it yet" } });
    } catch (error) {
      this.dispatch({ type: "adding", added: { ...added, error: words(error) } });
    }
  }
}

export const steering = new Steering({
  ...{ api, dispatch, state: () => store.state, now: () => performance.now() },
});
