// @ts-check
/** Evaluations and hyper-parameters of a generation in words. */

/**
 * Returns the gate's mean recall@20 of held-out items, or a dash where nothing was held out.
 *
 * @param {any} model
 * @param {"candidate" | "popular" | "serving"} of
 */
export function heldOutRecall({ judgement }, of) {
  const value = judgement?.items > 0 ? judgement[of] : null;
  return typeof value === "number" ? value.toFixed(3) : "–";
}

/** @type {Record<string, [label: string, about: string]>} */
const NAMES = {
  n_factors: ["Factors", "Numbers that describe a user or an item. Their product is the taste part of a score."],
  iterations: ["Iterations", "Passes of the training over all users and items. A training that starts from the one before needs fewer."],
  threads: ["Threads", "Of the training."],
  half_life_ms: ["Half-life", "After this time an event counts half."],
  popularity_weight: ["Weight of popularity", "In units of a typical score."],
  popularity_unit: ["A typical score", "Measured in the training; the weights are multiples of it."],
  popularity_version: ["Form of popularity", "Version of the rules by which events of one time are ordered."],
  content_weight: ["Weight of content", "Of items that share a brand, a category, words or attributes with the history."],
  content_unit: ["Scale of content", "Fitted in the training, so that content and taste are comparable."],
  behaviour_weight: ["Weight of behaviour", "Of items that the same people used."],
  fold_in_version: ["Form of fold-in", "Version of the rules by which a user's factors are made from the history."],
  behaviour_version: ["Form of behaviour", "Version of the rules by which items that the same people used are found."],
  seed_decay: ["Decay of seeds", "Factor of an entry's weight in the behaviour score for each entry that counts more."],
  newcomer_content: ["Content of cold items", "Factor of the content score of items without events."],
  newcomer_share: ["Reserved slots", "Share of a list that is reserved for cold items: those without events, or with few."],
  content: ["Content features", "Whether facts of the catalogue are used."],
  category_grammar: ["Form of categories", "Version of the rules by which a category is split into its levels."],
  hold_out: ["Holds out events", "Whether the newest events are kept aside to evaluate the generation."],
  regularization: ["Regularization", "Shrinks factors towards zero where there are few events."],
  unobserved_mass: ["Weight of what is missing", "Of all items that a user has no event with, beside those with events."],
  ridge: ["Ridge", "Regularization of an average user: 1 weighs as much as one event."],
  regularization_exponent: ["Growth of the ridge", "0: equal for all rows. 1: in proportion to a row's events."],
  positive_exponents: ["Damping of events", "Of users, and of items, with many events: 0 counts every event fully."],
  missing_exponents: ["Damping of what is missing", "The same for missing events."],
  alpha: ["Confidence of events", "How much more an event counts than its absence."],
};
const DAY_MS = 86_400_000;

/**
 * Returns the words for a hyper-parameter: its name, what it means ("" if unknown), and its value.
 *
 * @param {string} name
 * @param {any} value
 */
export function hyperparameter(name, value) {
  const [label, about] = NAMES[name] ?? [name, ""];
  const isDays = name === "half_life_ms" && typeof value === "number";
  if (name === "threads" && value === 0) return { label, about, text: "all cores" };
  return { label, about, text: isDays ? `${+(value / DAY_MS).toPrecision(3)} days` : valueText(value) };
}

/** @param {any} value */
function valueText(value) {
  if (Array.isArray(value)) return value.map(valueText).join(" and ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" ? String(+value.toPrecision(4)) : String(value ?? "–");
}
