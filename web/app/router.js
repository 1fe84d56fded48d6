// @ts-check
/** Addresses. Every page and every view of the shop is one; links are plain `<a href>`. */

import { signal } from "../vendor/preact.js";

/** @typedef {{path: string, query: Record<string, string>}} Address */

/** @returns {Address} */
function read() {
  return { path: location.pathname, query: Object.fromEntries(new URLSearchParams(location.search)) };
}

/** The address shown. */
export const address = signal(typeof location === "undefined" ? { path: "/", query: {} } : read());

/**
 * Goes to an address of this site.
 *
 * @param {string} href
 * @param {{isReplacing?: boolean, keepScroll?: boolean}} [how]
 */
export function go(href, { isReplacing = false, keepScroll = false } = {}) {
  const before = address.value.path;
  if (isReplacing) history.replaceState(null, "", href);
  else history.pushState(null, "", href);
  address.value = read();
  if (!keepScroll && before !== address.value.path) scrollTo({ top: 0 });
}

/**
 * Returns an address with a query; empty values are left out.
 *
 * @param {string} path
 * @param {Record<string, string | number | null | undefined>} [query]
 */
export function href(path, query = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== "" && value !== null && value !== undefined) parameters.set(name, String(value));
  }
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

/**
 * Changes parameters of the address shown; null and "" remove one.
 *
 * @param {Record<string, string | number | null | undefined>} changes
 * @param {{isReplacing?: boolean}} [how]
 */
export function setQuery(changes, { isReplacing = false } = {}) {
  const { path, query } = address.value;
  const next = href(path, { ...query, ...changes });
  if (next !== location.pathname + location.search) go(next, { isReplacing, keepScroll: true });
}

/**
 * Returns the parameters of a path that a pattern like `/users/:id` matches, or null.
 *
 * @param {string} pattern
 * @param {string} path
 * @returns {Record<string, string> | null}
 */
export function match(pattern, path) {
  const wanted = pattern.split("/");
  const parts = path.replace(/(.)\/$/, "$1").split("/");
  if (wanted.length !== parts.length) return null;
  /** @type {Record<string, string>} */
  const found = {};
  for (const [at, name] of wanted.entries()) {
    if (name.startsWith(":")) {
      try {
        found[name.slice(1)] = decodeURIComponent(parts[at]);
      } catch {
        return null;
      }
      if (parts[at] === "") return null;
    } else if (name !== parts[at]) return null;
  }
  return found;
}

/** Follows the browser's buttons, and links of this site without a new page load. */
export function startRouter() {
  addEventListener("popstate", () => {
    address.value = read();
  });
  document.addEventListener("click", (event) => {
    const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey;
    const link = /** @type {Element} */ (event.target).closest?.("a[href]");
    if (!isPlain || event.defaultPrevented || !(link instanceof HTMLAnchorElement)) return;
    if (link.origin !== location.origin || link.target || link.hasAttribute("download")) return;
    const isElsewhere = /^\/(docs|openapi\.json|asyncapi\.json|metrics|health|v1)(\/|$)/.test(link.pathname);
    const isHere = link.pathname === location.pathname && link.search === location.search;
    if (isElsewhere || (isHere && link.hash)) return;
    event.preventDefault();
    go(link.pathname + link.search + link.hash);
  });
}
