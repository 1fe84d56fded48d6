// @ts-check
/** Line icons of 24 × 24, drawn with `currentColor`. */

import { html } from "../vendor/preact.js";

/** @type {Record<string, string>} */
const PATHS = {
  heart: "M12 20s-7.5-4.6-7.5-10.2A4.3 4.3 0 0 1 12 7.2a4.3 4.3 0 0 1 7.5 2.6C19.5 15.4 12 20 12 20z",
  cart: "M3.5 4.5h2.2l2.2 10.5h9.8l2-7.5H6.6M9.5 19.5h.01M16.5 19.5h.01",
  bag: "M6 8.5h12l1 11.5H5zM9 8.5V7a3 3 0 0 1 6 0v1.5",
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  hide: "M4 4l16 16M9.9 5.3A9 9 0 0 1 12 5c5 0 8.5 4.5 9.5 7a13 13 0 0 1-2.7 3.8M6.2 7.2A13.5 13.5 0 0 0 2.5 12c1 2.5 4.5 7 9.5 7a9.3 9.3 0 0 0 4.3-1.1M10 10a3 3 0 0 0 4.1 4.2",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM15.5 15.5L20 20",
  eye: "M2.5 12C3.5 9.5 7 5 12 5s8.5 4.5 9.5 7c-1 2.5-4.5 7-9.5 7s-8.5-4.5-9.5-7zM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6z",
  star: "M12 4l2.4 5.1 5.6.7-4.1 3.9 1.1 5.5-5-2.8-5 2.8 1.1-5.5L4 9.8l5.6-.7z",
  undo: "M8.5 5L4.5 9l4 4M4.5 9H14a5 5 0 0 1 0 10H9",
  check: "M5 12.5l4.5 4.5L19 7.5",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  auto: "M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17zM12 3.5v17M12 7l6 0M12 12h8M12 17h6",
  chevron: "M6 15l6-6 6 6",
  down: "M6 9l6 6 6-6",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20a7.5 7.5 0 0 1 15 0",
  sliders: "M4 7h9M17 7h3M15 9.5v-5M4 17h3M11 17h9M9 19.5v-5M4 12h13M19 14.5v-5",
  spark: "M12 3.5l1.8 5.2 5.2 1.8-5.2 1.8L12 17.5l-1.8-5.2L5 10.5l5.2-1.8zM18.5 16v4M16.5 18h4",
};

/**
 * A decorative icon; the text or label beside it gives its meaning.
 *
 * @param {{name: string}} props
 */
export function Icon({ name }) {
  return html`<svg viewBox="0 0 24 24" class="icon" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;
}
