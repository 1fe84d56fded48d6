// @ts-check
/** Texts of the page: names, prices, reasons and events. */

/** @typedef {import("../state/state.js").Item} Item */

const money = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });
const whole = new Intl.NumberFormat("en");

/** @type {Record<string, string>} */
const DONE = {
  ...{ view: "viewed", click: "opened", cart: "put in your cart", purchase: "bought" },
  ...{ rate: "rated", like: "liked", dislike: "did not like", remove: "removed" },
  ...{ impression: "were shown" },
};

/**
 * Returns an item's title, or its id.
 *
 * @param {Record<string, Item>} items
 * @param {string} id
 */
export function titleOf(items, id) {
  return items[id]?.title || id;
}

/**
 * Returns an item's title without the brand that it begins with.
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
 * Returns the first reason for a list entry: "because you viewed X", "same brand as X".
 *
 * @param {readonly import("../connection/protocol.js").Reason[]} why
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
      return "popular now";
    case "content":
      return likenessText(reason.shared ?? [], reason.item ? shortTitleOf(items, reason.item) : "");
    case "pinned":
      return "pinned by the shop";
    case "boosted":
      return "boosted by the shop";
    case "newcomer":
      return "new item";
    default:
      return reason.kind;
  }
}

/**
 * Returns what two items have in common: "same brand as X".
 *
 * @param {readonly string[]} shared facts like `brand: Acme`
 * @param {string} other the title of the other item
 */
export function likenessText(shared, other) {
  const facts = shared.map((fact) => {
    const at = fact.indexOf(": ");
    return at < 0 ? ["", fact] : [fact.slice(0, at), fact.slice(at + 2)];
  });
  const words = facts.filter(([kind]) => kind === "word").map(([, word]) => `‘${word}’`);
  const same = facts.filter(([kind]) => kind === "brand" || kind === "category").map(([kind]) => kind);
  if (same.includes("brand")) return other ? `same brand as ${other}` : "same brand";
  if (words.length > 0) return `shares ${words.join(", ")}${other ? ` with ${other}` : ""}`;
  if (same.length > 0) return other ? `same ${same[0]} as ${other}` : `same ${same[0]}`;
  const [first] = facts;
  if (first !== undefined) return `${first.filter(Boolean).join(" ")}${other ? `, like ${other}` : ""}`;
  return other ? `similar to ${other}` : "similar to what you looked at";
}

/**
 * @param {import("../connection/protocol.js").Place} place
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
