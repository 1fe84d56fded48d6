// @ts-check
/**
 * The steering document as the page edits it: presets, rules as sentences, and its part of `reduce`.
 */

/**
 * @typedef {import("./state.js").State} State
 * @typedef {import("./state.js").Item} Item
 * @typedef {import("../connection/messages.d.ts").Condition} Condition
 * @typedef {import("../connection/messages.d.ts").Arm} Arm
 * @typedef {import("../connection/messages.d.ts").Blend} Blend
 * @typedef {import("../connection/messages.d.ts").Boost} Boost
 * @typedef {import("../connection/messages.d.ts").Pin} Pin
 * @typedef {import("../connection/messages.d.ts").Steering} Steering
 * @typedef {{action: "exclude" | "only" | "boost" | "pin", name: string} &
 *   Partial<Pick<Boost, "where" | "by"> & Pick<Pin, "items" | "at">>} Rule
 * @typedef {Omit<Steering, "rules"> & {rules?: Rule[]}} Document
 * @typedef {{item: string, title: string, startedMs: number, tookMs: number | null,
 *   error: string}} Added
 * @typedef {{status: "unknown" | "loading" | "ready" | "saving" | "failed", document: Document,
 *   error: string, warnings: string[], isOpen: boolean, added: Added | null}} Steer
 */

/** @type {Steer} */
export const NO_STEERING = Object.freeze({
  ...{ status: "unknown", document: {}, error: "", warnings: [], isOpen: false, added: null },
});

/**
 * Returns the state after an action about steering, or nothing for other actions.
 *
 * @param {State} state
 * @param {Record<string, any>} action
 * @returns {State | undefined}
 */
export function reduceSteering(state, action) {
  const { steer } = state;
  switch (action.type) {
    case "steer-open":
      return { ...state, steer: { ...steer, isOpen: action.isOpen } };
    case "steering":
      return {
        ...state,
        steer: {
          ...steer,
          status: action.status,
          document: action.document ?? steer.document,
          error: action.error ?? "",
          warnings: action.warnings ?? (action.status === "ready" ? [] : steer.warnings),
        },
      };
    case "adding":
      return { ...state, steer: { ...steer, added: action.added } };
    default:
      return undefined;
  }
}

/**
 * Returns a document with a rule; a rule of the same name is replaced.
 *
 * @param {Document} document
 * @param {Rule} rule
 * @returns {Document}
 */
export function withRule(document, rule) {
  const others = (document.rules ?? []).filter(({ name }) => name !== rule.name);
  return { ...document, rules: [...others, rule] };
}

/** What a "more diverse" list gives up for difference, and the other presets' numbers. */
const DIVERSITY = 0.35;
const PUSH = 0.6;
const IGNORED_AFTER = 3;

/** @type {Record<string, (document: Document, choice: string) => Document>} */
export const PRESETS = {
  diverse: (document) => ({ ...document, diversity: { strength: DIVERSITY } }),
  rotate: (document) => ({ ...document, rotation: { after: IGNORED_AFTER } }),
  push: (document, category) =>
    withRule(document, {
      ...{ action: "boost", name: `push ${category}`.slice(0, 64), where: { category }, by: PUSH },
    }),
  hide: (document, brand) =>
    withRule(document, {
      ...{ action: "exclude", name: `hide ${brand}`.slice(0, 64), where: { brand } },
    }),
  pin: (document, item) =>
    withRule(document, { action: "pin", name: `pin ${item}`.slice(0, 64), items: [item], at: 1 }),
  test: (document) => ({
    ...document,
    arms: [
      { name: "as it is", share: 0.5 },
      { name: "more content", share: 0.5, blend: { factors: 0.5, content: 3 } },
    ],
  }),
};

/**
 * Returns the parts of a document: a sentence for each, and the document without it.
 *
 * @param {Document} document
 * @param {Record<string, Item>} items
 * @returns {{key: string, text: string, without: Document}[]}
 */
export function sentences(document, items) {
  const { rules = [], diversity, rotation, arms = [], placements = [], blend } = document;
  const found = rules.map((rule) => ({
    key: `rule ${rule.name}`,
    text: ruleText(rule, items),
    without: { ...document, rules: rules.filter((other) => other !== rule) },
  }));
  /** @param {keyof Document} name @param {string} text */
  const add = (name, text) => {
    const { [name]: _, ...without } = document;
    found.push({ key: name, text, without });
  };
  if (diversity != null) {
    const { strength } = diversity;
    const shares = `difference counts ${percent(strength)}, the score ${percent(1 - strength)}`;
    add("diversity", `Lists are mixed: ${shares}`);
  }
  if (rotation != null) {
    const after = rotation.after ?? IGNORED_AFTER;
    add("rotation", `What was shown ${after} times and ignored makes room`);
  }
  if ((document.min_relevance ?? 0) > 0) {
    add("min_relevance", `Nothing below ${percent(document.min_relevance ?? 0)} of the best match`);
  }
  if (document.newcomers != null) {
    add("newcomers", `${percent(document.newcomers)} of the slots for cold items`);
  }
  if (document.dislikes != null) add("dislikes", "What is similar to something disliked loses score");
  if (placements.length > 0) add("placements", `Own rules for ${placements.map(({ name }) => `“${name}”`).join(", ")}`);
  if (blend != null) add("blend", `Blend: ${blendText(blend)}`);
  if (arms.length > 0) {
    const parts = arms.map(({ name, share }) => `${percent(share)} “${name}”`);
    add("arms", `A/B test: ${parts.join(", ")}`);
  }
  return found;
}

/** @param {number} share */
const percent = (share) => `${Math.round(100 * share)} %`;

/** @param {Blend} blend */
function blendText(blend) {
  return Object.entries(blend)
    .map(([name, gain]) => `${name} × ${gain}`)
    .join(", ");
}

/**
 * @param {Rule} rule
 * @param {Record<string, Item>} items
 */
function ruleText({ action, name, where = {}, by = 0, items: pinned = [], at = 1 }, items) {
  switch (action) {
    case "exclude":
      return `Excluded: ${conditionText(where, items)}`;
    case "only":
      return `Nothing but ${conditionText(where, items)}`;
    case "boost":
      return `${by < 0 ? "Lowered" : "Lifted"}: ${conditionText(where, items)} (${by})`;
    case "pin":
      return `Pinned at place ${at}: ${pinned.map((id) => items[id]?.title || id).join(", ")}`;
    default:
      return name;
  }
}

/**
 * @param {Condition} where
 * @param {Record<string, Item>} items
 * @returns {string}
 */
function conditionText(where, items) {
  const parts = Object.entries(where).map(([field, value]) => {
    switch (field) {
      case "category":
      case "brand":
        return `${field} ${[value].flat().join(" or ")}`;
      case "items":
        return value.map((/** @type {string} */ id) => items[id]?.title || id).join(", ");
      case "price":
        return `price ${value.min ?? 0} to ${value.max ?? "any"}`;
      case "not":
        return `not (${conditionText(value, items)})`;
      case "all":
      case "any": {
        const of = value.map((/** @type {Condition} */ one) => conditionText(one, items));
        return `(${of.join(field === "all" ? " and " : " or ")})`;
      }
      default:
        return `${field} ${JSON.stringify(value)}`;
    }
  });
  return parts.join(", ") || "everything";
}
