// @ts-check
/**
 * Silhouettes of the generated pictures on a field of 200 × 200, found by words of a product's title. Tones: `a` main, `b` its shade, `c` accent, `d` ink, `e` paper.
 */

import { DESK } from "./shapes/desk.js";
import { HOME } from "./shapes/home.js";
import { KITCHEN } from "./shapes/kitchen.js";
import { OUTDOORS } from "./shapes/outdoors.js";
import { PLAY } from "./shapes/play.js";

/**
 * @typedef {"a" | "b" | "c" | "d" | "e"} Tone
 * @typedef {[Tone, string] | [Tone, string, number]} Part a filled path, or with a width a stroke
 */

/** @type {Record<string, Part[]>} */
const SHAPES = { ...KITCHEN, ...OUTDOORS, ...DESK, ...HOME, ...PLAY };

/** Pictures of films; one picture would not be enough for a catalogue of them. */
export const FILM = SHAPES.film;

/** The first expression that a title fits decides; the more special come first. */
/** @type {[RegExp, string][]} */
const WORDS = [
  [/kitchen radio|radio/, "radio"],
  [/amplifier|\bamp\b|receiver/, "amplifier"],
  [/skillet|frying|\bpan\b/, "skillet"],
  [/dutch oven|saucepan|\bpot\b|cooker/, "pot"],
  [/knife|blade/, "knife"],
  [/mill\b/, "mill"],
  [/bowl/, "bowls"],
  [/servers|spoon|fork|utensil/, "servers"],
  [/cutting board/, "board"],
  [/gratin|dish/, "dish"],
  [/dripper/, "dripper"],
  [/kettle/, "kettle"],
  [/grinder/, "grinder"],
  [/espresso|\bcup\b|\bmug\b/, "cup"],
  [/teapot/, "teapot"],
  [/french press/, "press"],
  [/frother/, "frother"],
  [/scale/, "scale"],
  [/tent\b/, "tent"],
  [/sleeping|yoga/, "roll"],
  [/backpack|rucksack/, "backpack"],
  [/torch|front light|flashlight/, "torch"],
  [/shell|windbreaker|jacket|half-zip|\btop\b|shirt/, "jacket"],
  [/poles/, "poles"],
  [/stove/, "stove"],
  [/hammock/, "hammock"],
  [/helmet/, "helmet"],
  [/pannier|camera bag|\bbag\b|\bcase\b/, "pannier"],
  [/pump/, "pump"],
  [/multi-tool/, "multitool"],
  [/saddle/, "saddle"],
  [/\block\b|padlock/, "lock"],
  [/headphones/, "headphones"],
  [/earbuds/, "earbuds"],
  [/speaker/, "speakers"],
  [/turntable|record player/, "turntable"],
  [/soundbar/, "soundbar"],
  [/microphone|\bmic\b/, "microphone"],
  [/desk lamp/, "desklamp"],
  [/floor lamp|\blamp\b/, "floorlamp"],
  [/notebook|journal/, "notebook"],
  [/\bpen\b(?! tray)|pencil/, "pen"],
  [/monitor/, "monitor"],
  [/tray/, "tray"],
  [/desk mat/, "mat"],
  [/sleeve/, "sleeve"],
  [/calendar/, "calendar"],
  [/keyboard|piano/, "keyboard"],
  [/watering can/, "can"],
  [/planter|raised bed|herb|plant\b/, "planter"],
  [/shears|scissors/, "shears"],
  [/seeds/, "seeds"],
  [/trowel/, "trowel"],
  [/feeder/, "feeder"],
  [/blanket|towel/, "blanket"],
  [/cushion|pillow/, "cushion"],
  [/table runner/, "runner"],
  [/candle/, "candle"],
  [/basket/, "basket"],
  [/duvet|mattress/, "bed"],
  [/mirror/, "mirror"],
  [/tripod|stand\b/, "tripod"],
  [/strap|cable/, "strap"],
  [/camera/, "camera"],
  [/lens/, "lens"],
  [/album/, "album"],
  [/nd filter/, "filter"],
  [/water filter|bottle|flask/, "bottle"],
  [/frame/, "frame"],
  [/strategy game|board game/, "board_game"],
  [/puzzle/, "puzzle"],
  [/chess/, "chess"],
  [/card game/, "cards"],
  [/word game/, "letters"],
  [/mystery box|gift/, "mystery"],
  [/dice/, "dice"],
  [/marble/, "marbles"],
  [/shoes|boots|sneaker/, "shoe"],
  [/socks/, "socks"],
  [/belt/, "belt"],
  [/shorts|trousers/, "shorts"],
  [/\bcap\b|\bhat\b/, "cap"],
  [/roller/, "cylinder"],
  [/guitar|ukulele|strings\b|violin/, "guitar"],
];

/** @type {[RegExp, string][]} */
const CATEGORIES = [
  [/book/, "book"],
  [/drama|comedy|action|adventure|thriller|crime|mystery|horror|romance|fantasy|sci-fi/, "film"],
  [/animation|children|documentary|western|\bwar\b|musical\b|imax|film|movie/, "film"],
  [/music|instrument|guitar/, "guitar"],
];

/**
 * Returns the silhouette for a title, or null.
 *
 * @param {string} title
 * @param {string} category
 * @returns {Part[] | null}
 */
export function findShape(title, category) {
  const kind = category.toLowerCase();
  const words = title.toLowerCase();
  const found =
    CATEGORIES.find(([expression]) => expression.test(kind)) ??
    WORDS.find(([expression]) => expression.test(words));
  return found === undefined ? null : SHAPES[found[1]];
}
