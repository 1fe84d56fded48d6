// @ts-check
/**
 * Generated product pictures: an SVG from an item's id, category and title, the same on every visit.
 * Colours are classes over the custom property `--hue`, so they follow the theme.
 */

import { html } from "../vendor/preact.js";
import { hash } from "./ids.js";
import { FILM, findShape } from "./shapes.js";

/** Hues that go well together; a category gets one by its name. */
const HUES = [22, 48, 78, 110, 145, 172, 200, 228, 255, 282, 312, 345];

/** @type {Record<string, number>} colours of the demo shop's departments, chosen by hand */
const OWN_HUES = {
  ...{ kitchen: 32, "coffee & tea": 58, outdoor: 150, cycling: 205, audio: 285, desk: 85 },
  ...{ books: 15, garden: 128, home: 345, photo: 245, games: 310, running: 180 },
};

/**
 * Returns the hue of a category, in degrees.
 *
 * @param {string} category
 */
export function hueOf(category) {
  const name = category.toLowerCase();
  return OWN_HUES[name] ?? HUES[hash(name) % HUES.length];
}

/**
 * The picture of an item.
 *
 * @param {{item: {item: string, title?: string, category?: string}}} props
 */
export function Picture({ item: { item, title = "", category = "" } }) {
  const seed = hash(item);
  const shape = findShape(title, category);
  const isOwnHue = category === "" || shape === FILM;
  const hue = isOwnHue ? HUES[seed % HUES.length] : hueOf(category);
  const style = {
    "--hue": String((hue + ((seed >>> 4) % 21) - 10 + 360) % 360),
    "--turn": String([0, 150, 190, 40][(seed >>> 9) % 4]),
  };
  return html`<svg viewBox="0 0 200 200" class="picture" aria-hidden="true" focusable="false"
      preserveAspectRatio="xMidYMid slice" style=${style}>
    <path class="tone-ground" d="M-100-100h400v400h-400z" />
    ${backdrop(seed)}
    ${shape === null || isOneOfMany(seed, shape) ? abstract(seed) : drawn(shape)}
  </svg>`;
}

/**
 * Returns whether an item gets an abstract picture because too many items share its silhouette.
 *
 * @param {number} seed
 * @param {import("./shapes.js").Part[]} shape
 */
function isOneOfMany(seed, shape) {
  return shape === FILM && (seed >>> 18) % 4 !== 0;
}

/** @param {number} seed */
function backdrop(seed) {
  const x = 30 + ((seed >>> 3) % 140);
  const glows = [
    html`<circle class="tone-glow" cx=${x} cy="84" r="74" />`,
    html`<path class="tone-glow" d=${`M${x - 60} 158a60 90 0 0 1 120 0z`} />`,
    html`<path class="tone-glow" d=${`M${x - 44}-100h88v258h-88z`} />`,
  ];
  const glow = glows[(seed >>> 12) % 4];
  if (glow === undefined) return html`<path class="tone-glow" d="M-100 158L300-20v178z" />`;
  return [glow, html`<path class="tone-floor" d="M-100 158h400v142h-400z" />`];
}

/** @param {import("./shapes.js").Part[]} parts */
function drawn(parts) {
  const paths = parts.map(([tone, d, width]) =>
    width === undefined
      ? html`<path class=${`tone-${tone}`} d=${d} />`
      : html`<path class=${`line-${tone}`} d=${d} stroke-width=${width} />`,
  );
  return [html`<ellipse class="tone-shadow" cx="100" cy="161" rx="66" ry="6" />`, ...paths];
}

/**
 * Returns an abstract picture: a few forms arranged by the seed.
 *
 * @param {number} seed
 */
function abstract(seed) {
  const at = (/** @type {number} */ shift, /** @type {number} */ range) => (seed >>> shift) % range;
  const r = 30 + at(2, 22);
  const x = 64 + at(6, 72);
  const w = 26 + at(10, 34);
  const hill = `M${30 + at(5, 20)} 158l${24 + at(8, 14)}-${50 + at(11, 40)} ${26 + at(3, 14)} ${50 + at(11, 40)}z`;
  return html`<ellipse class="tone-shadow" cx="100" cy="161" rx="72" ry="6" />
    <rect class="tone-b" x=${150 - w} y=${62 + at(14, 30)} width=${w} height="200" rx="4" />
    <path class="tone-floor" d="M-100 160h400v142h-400z" />
    <circle class="tone-a" cx=${x} cy=${158 - r} r=${r} />
    <circle class="tone-e" cx=${x - r / 3} cy=${150 - r * 1.2} r=${r / 4} />
    <path class="tone-c" d=${hill} />`;
}
