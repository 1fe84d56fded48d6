// @ts-check
/** What can be done with an item, in words. The event types that the log has decide which actions are offered. */

/** @type {Record<string, {icon: string, label: string, done: string}>} */
const ACTIONS = {
  like: { icon: "heart", label: "Like", done: "Liked" },
  cart: { icon: "cart", label: "Add to cart", done: "In your cart" },
  purchase: { icon: "bag", label: "Buy", done: "Bought" },
  dislike: { icon: "hide", label: "Not for me", done: "Not for you" },
};
/** Event types that decide which actions are offered: those of a shop, and ratings. */
export const TELLING_TYPES = ["cart", "purchase", "rate"];
export const MOST_STARS = 5;
/** Actions that make sense for items of any kind. */
const ALWAYS = new Set(["like", "dislike"]);

/**
 * Returns the actions to offer: those whose event type occurs in the log; all of them while the log is
 * empty.
 *
 * @param {string[] | null} types event types that occur in the log; null while unknown
 * @returns {{type: string, icon: string, label: string, done: string}[]}
 */
export function actionsOf(types) {
  const isShop = types === null || types.includes("cart") || types.includes("purchase");
  return Object.entries(ACTIONS)
    .filter(([type]) => ALWAYS.has(type) || isShop)
    .map(([type, action]) => ({ type, ...action }));
}

/**
 * Returns whether ratings are offered: where the log has some.
 *
 * @param {string[] | null} types as in `actionsOf`
 */
export const hasRatings = (types) => types !== null && types.includes("rate");

/** Words too common to be a reason, in the languages of shops: English, German, French, Spanish, Italian, Dutch. */
const COMMON = new Set(
  (
    "a an and are as at be by for from has have he her his i in into is it its me my no not of off on one or our out " +
    "over she so than that the their them then there they this to two under up us was we were what when where who " +
    "will with without you your all am about after before new " +
    "der die das den dem des ein eine einen einem einer eines und oder mit ohne von vom zu zum zur im am an auf aus bei " +
    "für ist nicht sie wir ihr sich als auch nach über um " +
    "le la les l un une des du de d et ou avec sans pour par sur dans en au aux est ne pas ce cette son sa ses " +
    "el los las lo uno unos unas del y o con sin para por es no su sus al " +
    "il gli lo i e ed di da dal della dei con per su una che non " +
    "het een van voor met zonder en of op te bij naar niet"
  ).split(" "),
);

/**
 * Returns whether a shared word says anything about an item.
 *
 * @param {string} word
 */
export function isInformative(word) {
  return word.length > 2 && !COMMON.has(word.toLowerCase());
}
