// @ts-check
/** Light, dark, or as the system has it; remembered in this browser. */

import { setAttribute } from "../elements/dom.js";
import { icon } from "../elements/icons.js";
import { recall, remember } from "../state/preferences.js";

const THEMES = ["auto", "light", "dark"];

/** @type {Record<string, string>} */
const ICONS = { auto: "auto", light: "sun", dark: "moon" };

/** @param {HTMLElement} button */
export function offerTheme(button) {
  const show = (/** @type {string} */ theme) => {
    document.documentElement.dataset.theme = theme;
    button.replaceChildren(icon(ICONS[theme]));
    const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    setAttribute(button, "aria-label", `Colours: ${theme}. Change to ${next}`);
    setAttribute(button, "title", `Colours: ${theme}`);
  };
  const stored = recall("theme", "auto");
  let theme = THEMES.includes(stored) ? stored : "auto";
  show(theme);
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remember("theme", theme);
    show(theme);
  });
}
