// @ts-check
/** Step 10 of the flow, the part about products: what `reduce` does with items, pages and one product. */

/**
 * @typedef {import("./state.js").State} State
 * @typedef {import("./state.js").Item} Item
 * @typedef {import("./state.js").Loaded} Loaded
 */

/** @type {Loaded} */
export const NOTHING = Object.freeze({ status: "idle", items: [], error: "" });

/**
 * @param {State} state
 * @param {Item[]} items
 */
function withItems(state, items) {
  if (items.length === 0) return state;
  const known = { ...state.items };
  for (const item of items) known[item.item] = item;
  return { ...state, items: known };
}

/** @param {readonly Item[]} items */
const idsOf = (items) => items.map(({ item }) => item);

/**
 * Returns the state after an action about products, or nothing for other actions.
 *
 * @param {State} state
 * @param {Record<string, any>} action
 * @returns {State | undefined}
 */
export function reduceCatalogue(state, action) {
  switch (action.type) {
    case "items":
      return withItems(state, action.items);
    case "categories":
      return { ...state, categories: action.categories };
    case "catalogue-loading":
      return {
        ...state,
        catalogue: action.isMore
          ? { ...state.catalogue, status: "loading", error: "" }
          : {
              ...{ status: "loading", items: state.catalogue.items, error: "", next: null },
              ...{ query: action.query, category: action.category },
            },
      };
    case "catalogue-page": {
      const { query, category } = state.catalogue;
      if (action.query !== query || action.category !== category) return state;
      const before = action.isMore ? state.catalogue.items : [];
      const items = [...new Set([...before, ...idsOf(action.items)])];
      return withItems(
        {
          ...state,
          catalogue: { ...state.catalogue, status: "ready", items, next: action.next, error: "" },
        },
        action.items,
      );
    }
    case "catalogue-failed":
      return { ...state, catalogue: { ...state.catalogue, status: "failed", error: action.detail } };
    case "popular":
      return { ...state, popular: { status: "ready", items: action.ids, error: "" } };

    case "opened":
      return {
        ...state,
        opened: {
          item: action.item,
          similar: { status: "loading", items: [], error: "" },
          likeness: {},
          reasons: null,
          explanation: null,
        },
      };
    case "closed":
      return { ...state, opened: null };
    case "similar":
      if (state.opened === null || state.opened.item !== action.item) return state;
      return withItems(
        {
          ...state,
          opened: {
            ...state.opened,
            similar: { status: action.status, items: idsOf(action.items), error: action.detail ?? "" },
            likeness: action.likeness ?? {},
          },
        },
        action.items.filter((/** @type {Item} */ { item }) => state.items[item] === undefined),
      );
    case "explained":
      if (state.opened === null || state.opened.item !== action.item) return state;
      return {
        ...state,
        opened: {
          ...state.opened,
          reasons: action.reasons ?? state.opened.reasons,
          explanation: action.explanation ?? state.opened.explanation,
        },
      };
    case "item-added": {
      const { item, atMs } = action;
      const { catalogue } = state;
      const items = [item.item, ...catalogue.items.filter((id) => id !== item.item)];
      return withItems(
        {
          ...state,
          fresh: { ...state.fresh, [item.item]: atMs },
          catalogue: catalogue.query ? catalogue : { ...catalogue, items },
        },
        [item],
      );
    }
    default:
      return undefined;
  }
}
