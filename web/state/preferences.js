// @ts-check
/** What the browser remembers between visits; without storage, until the page is left. */

/** @type {Map<string, string>} */
const fallback = new Map();

/**
 * @param {string} name
 * @param {string} [otherwise]
 */
export function recall(name, otherwise = "") {
  try {
    return localStorage.getItem(`recstream.${name}`) ?? fallback.get(name) ?? otherwise;
  } catch {
    return fallback.get(name) ?? otherwise;
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
export function remember(name, value) {
  fallback.set(name, value);
  try {
    localStorage.setItem(`recstream.${name}`, value);
  } catch {
    // Private window or full storage: kept in memory.
  }
}

/** A store with the interface of localStorage that lives as long as the page. */
export function pageStore() {
  /** @type {Map<string, string>} */
  const entries = new Map();
  return {
    get length() {
      return entries.size;
    },
    key: (/** @type {number} */ index) => [...entries.keys()][index] ?? null,
    getItem: (/** @type {string} */ key) => entries.get(key) ?? null,
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => void entries.set(key, value),
    removeItem: (/** @type {string} */ key) => void entries.delete(key),
  };
}

/** Returns localStorage, or a store for this page where the browser refuses one. */
export function durableStore() {
  try {
    localStorage.getItem("recstream");
    return localStorage;
  } catch {
    return pageStore();
  }
}
