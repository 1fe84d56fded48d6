// @ts-check
/** Texts of the page: names, prices, reasons and events. */

import { isInformative } from "../state/vocabulary.js";

/** @typedef {import("../state/state.js").Item} Item */

const money = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });
const whole = new Intl.NumberFormat("en");

/** @type {Record<string, string>} */
const DONE = {
  ...{ view: "viewed", click: "opened", cart: "put in the cart", purchase: "bought" },
  ...{ rate: "rated", like: "liked", dislike: "did not like", remove: "removed" },
  ...{ impression: "was shown" },
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
 * Returns a text of at most so many characters, cut after a word if it is longer.
 *
 * @param {string} text
 * @param {number} most
 */
export function cut(text, most) {
  const letters = [...text];
  if (letters.length <= most) return text;
  const start = letters.slice(0, most - 1).join("");
  return `${start.replace(/[\s,;:-]+\S*$/u, "") || start}…`;
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
 * @param {string} [nouns]
 */
export function plural(n, noun, nouns = `${noun}s`) {
  return `${whole.format(n)} ${n === 1 ? noun : nouns}`;
}

/** @param {string} type */
export function verb(type) {
  return DONE[type] ?? type;
}

/**
 * Returns what somebody did to a product: "liked X", "put X in the cart".
 *
 * @param {string} type
 * @param {string} title
 */
export function did(type, title) {
  return type === "cart" ? `put ${title} in the cart` : `${verb(type)} ${title}`;
}

/**
 * Returns the reason that makes more than half of a list entry's score, or the first one: "because you viewed X".
 *
 * @param {readonly import("../connection/protocol.js").Reason[]} why
 * @param {Record<string, Item>} items
 * @param {string} category
 * @param {string} [who] whose list it is
 */
export function reasonText(why, items, category, who = "you") {
  const [reason] = why[0]?.kind === "pinned" ? why : [...why.filter(isMostOfTheScore), ...why];
  switch (reason?.kind) {
    case undefined:
      return category;
    case "because":
      return `because ${who} ${did(reason.event ?? "view", shortTitleOf(items, reason.item ?? ""))}`;
    case "popular":
      return "popular now";
    case "content":
      return commonFeaturesText(reason.shared ?? [], reason.item ? shortTitleOf(items, reason.item) : "");
    case "pinned":
      return "pinned by the shop";
    case "boosted":
      // The page sends no boosts: those of a request are the bridge's, for users without events.
      return reason.rule?.startsWith("request:") ? "popular with people like you" : "boosted by the shop";
    case "newcomer":
      return "new item";
    default:
      return reason.kind;
  }
}

const isMostOfTheScore = (/** @type {import("../connection/protocol.js").Reason} */ { share }) => (share ?? 0) > 0.5;

/**
 * Returns what two items have in common: "same brand as X", "same genres: drama".
 *
 * @param {readonly string[]} shared facts like `brand: Acme`, `word: teapot`, `attribute: genres=drama`
 * @param {string} other the title of the other item
 */
export function commonFeaturesText(shared, other) {
  const facts = shared.map((fact) => {
    const at = fact.indexOf(": ");
    return at < 0 ? ["", fact] : [fact.slice(0, at), fact.slice(at + 2)];
  });
  const of = (/** @type {string} */ wanted) => facts.filter(([kind]) => kind === wanted).map(([, text]) => text);
  const words = of("word").filter(isInformative).map((word) => `‘${word}’`);
  const [attribute] = of("attribute");
  const [same] = ["brand", "category"].filter((kind) => of(kind).length > 0);
  if (same === "brand") return other ? `same brand as ${other}` : "same brand";
  if (words.length > 0) return `shares ${words.join(", ")}${other ? ` with ${other}` : ""}`;
  if (attribute !== undefined) {
    const [name, ...value] = attribute.split("=");
    return `same ${name}${value.length > 0 ? `: ${value.join("=")}` : ""}${other ? `, as ${other}` : ""}`;
  }
  if (same !== undefined) return other ? `same ${same} as ${other}` : `same ${same}`;
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
