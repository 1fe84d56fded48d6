// @ts-check
/** What the page says: names, prices, reasons and events as short sentences. */

/** @typedef {import("./state.js").Item} Item */

const money = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });
const whole = new Intl.NumberFormat("en");

/** @type {Record<string, string>} */
const DONE = {
  ...{ view: "viewed", click: "opened", cart: "put in your cart", purchase: "bought" },
  ...{ rate: "rated", like: "liked", dislike: "did not like", remove: "took back" },
  ...{ impression: "were shown" },
};

/**
 * Returns what to call an item; its id, as long as nothing else is known.
 *
 * @param {Record<string, Item>} items
 * @param {string} id
 */
export function titleOf(items, id) {
  return items[id]?.title || id;
}

/**
 * Returns a shorter name for use inside a sentence: without the brand that a title begins with.
 *
 * @param {Record<string, Item>} items
 * @param {string} id
 */
export function shortTitleOf(items, id) {
  const title = titleOf(items, id);
  const brand = items[id]?.brand;
  return brand && title.startsWith(`${brand} `) ? title.slice(brand.length + 1) : title;
}

/** @param {Item | undefined} item */
export function priceOf(item) {
  return typeof item?.price === "number" ? money.format(item.price) : "";
}

/** @param {number} n */
export function count(n) {
  return whole.format(n);
}

/**
 * @param {number} n
 * @param {string} noun
 */
export function plural(n, noun) {
  return `${whole.format(n)} ${noun}${n === 1 ? "" : "s"}`;
}

/** @param {string} type */
export function verb(type) {
  return DONE[type] ?? type;
}

/**
 * Returns why an item is in a list: "because you viewed X".
 *
 * @param {readonly import("./protocol.js").Reason[]} why
 * @param {Record<string, Item>} items
 * @param {string} category
 */
export function reasonText(why, items, category) {
  const [reason] = why;
  switch (reason?.kind) {
    case undefined:
      return category;
    case "because":
      return `because you ${verb(reason.event ?? "view")} ${shortTitleOf(items, reason.item ?? "")}`;
    case "popular":
      return "popular right now";
    case "content":
      return reason.item
        ? `resembles ${shortTitleOf(items, reason.item)}`
        : "resembles what you looked at";
    default:
      return reason.kind;
  }
}

/**
 * @param {import("./protocol.js").Place} place
 * @param {boolean} isFirstList
 * @returns {{kind: "" | "new" | "up" | "down", text: string, label: string}}
 */
export function movement({ rank, was }, isFirstList) {
  if (isFirstList || was === rank) return { kind: "", text: "", label: "" };
  if (was === 0) return { kind: "new", text: "new", label: "new in the list" };
  const places = Math.abs(was - rank);
  const label = `${was > rank ? "up" : "down"} ${plural(places, "place")}`;
  return { kind: was > rank ? "up" : "down", text: String(places), label };
}
