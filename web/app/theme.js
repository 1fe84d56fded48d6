// @ts-check
/** Light, dark, or as the system has it; remembered in this browser. */

import { html, useState } from "../vendor/preact.js";
import { Icon } from "../elements/icons.js";
import { recall, remember } from "../state/preferences.js";

const THEMES = ["auto", "light", "dark"];
/** @type {Record<string, string>} */
const ICONS = { auto: "auto", light: "sun", dark: "moon" };

export function Theme() {
  const stored = recall("theme", "auto");
  const [theme, setTheme] = useState(THEMES.includes(stored) ? stored : "auto");
  document.documentElement.dataset.theme = theme;
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  const change = () => {
    remember("theme", next);
    setTheme(next);
  };
  return html`<button class="tool" type="button" data-part="theme" title=${`Colours: ${theme}`} aria-label=${`Colours: ${theme}. Change to ${next}`} onClick=${change}>
    <${Icon} name=${ICONS[theme]} />
  </button>`;
}
