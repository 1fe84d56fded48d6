// @ts-check
/** The page's only ways to make and change elements: text goes in by `textContent`, lists by key. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Returns a new element. Properties starting with "on" are listeners, `text` is its text, everything
 * else an attribute; null, undefined and false leave an attribute out.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function html(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else setAttribute(element, name, value);
  }
  element.append(...children);
  return element;
}

/**
 * Returns a new SVG element.
 *
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {...Node} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {any} value
 */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/**
 * Sets a text if it differs.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Returns the element below `root` with this `data-part`; throws if there is none.
 *
 * @param {ParentNode} root
 * @param {string} part
 * @returns {any}
 */
export function find(root, part) {
  const element = root.querySelector(`[data-part="${part}"]`);
  if (element === null) throw new Error(`the page has no part ${JSON.stringify(part)}`);
  return element;
}

/**
 * Makes the children of a list match `keys`, in their order. Elements of keys that stay are kept, with
 * focus, hover and running animations.
 *
 * @param {Element} list
 * @param {readonly string[]} keys all different
 * @param {(key: string) => HTMLElement} create
 * @param {(element: HTMLElement, key: string, index: number) => void} update
 */
export function keyed(list, keys, create, update) {
  /** @type {Map<string, HTMLElement>} */
  const present = new Map();
  for (const child of /** @type {HTMLElement[]} */ ([...list.children])) {
    const { key } = child.dataset;
    if (key !== undefined) present.set(key, child);
  }
  const wanted = new Set(keys);
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  for (const [key, child] of present) if (!wanted.has(key)) child.remove();
  let before = list.firstElementChild;
  keys.forEach((key, index) => {
    let child = present.get(key);
    if (child === undefined) {
      child = create(key);
      child.dataset.key = key;
    }
    if (child === before) before = before.nextElementSibling;
    else list.insertBefore(child, before);
    update(child, key, index);
  });
  const lostFocus = focused !== document.activeElement && focused?.isConnected;
  if (lostFocus) focused.focus({ preventScroll: true });
}

/** Whether the visitor asked their system for less motion. */
export function prefersStillness() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Runs a change and animates the children of a list from their old to their new positions (FLIP:
 * first, last, invert, play). New children fade in.
 *
 * @param {Element} list
 * @param {() => void} change
 */
export function glide(list, change) {
  if (prefersStillness() || document.hidden) {
    change();
    return;
  }
  /** @type {Map<Element, DOMRect>} */
  const first = new Map();
  for (const child of list.children) first.set(child, child.getBoundingClientRect());
  change();
  const easing = "cubic-bezier(0.2, 0.8, 0.2, 1)";
  for (const child of list.children) {
    const before = first.get(child);
    if (before === undefined) {
      const from = { opacity: 0, transform: "scale(0.92)" };
      child.animate([from, { opacity: 1, transform: "none" }], { duration: 380, easing });
      continue;
    }
    const after = child.getBoundingClientRect();
    const [dx, dy] = [before.left - after.left, before.top - after.top];
    if (dx === 0 && dy === 0) continue;
    const from = { transform: `translate(${dx}px, ${dy}px)` };
    child.animate([from, { transform: "none" }], { duration: 480, easing });
  }
}
