// @ts-check
/** Animates the children of a list from their old to their new positions (FLIP: first, last, invert, play). */

import { useLayoutEffect, useRef } from "../vendor/preact.js";

/** Lists that follow each other faster than this are not animated, so that rows never overlap. */
const CALM_MS = 700;
const EASING = "cubic-bezier(0.2, 0.8, 0.2, 1)";

/** Whether the visitor asked their system for less motion. */
export function prefersStillness() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Returns a ref for a list element. A new `order` animates its children; new children fade in.
 *
 * @param {string} order what identifies the order shown, as the id of a list
 */
export function useGlide(order) {
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const last = useRef({ order, atMs: -Infinity });
  /** @type {Map<Element, DOMRect> | null} */
  let first = null;
  const isNew = order !== last.current.order;
  const isCalm = performance.now() - last.current.atMs > CALM_MS;
  if (isNew && list.current !== null && last.current.order !== "") {
    for (const child of list.current.children) for (const moving of child.getAnimations()) moving.cancel();
    if (isCalm && !prefersStillness() && !document.hidden) {
      first = new Map();
      for (const child of list.current.children) first.set(child, child.getBoundingClientRect());
    }
  }
  useLayoutEffect(() => {
    if (!isNew) return;
    // The first list replaces nothing.
    last.current = { order, atMs: last.current.order === "" ? -Infinity : performance.now() };
    if (first === null || list.current === null) return;
    for (const child of list.current.children) {
      const before = first.get(child);
      if (before === undefined) {
        const from = { opacity: 0, transform: "scale(0.92)" };
        child.animate([from, { opacity: 1, transform: "none" }], { duration: 320, easing: EASING });
        continue;
      }
      const after = child.getBoundingClientRect();
      const [dx, dy] = [before.left - after.left, before.top - after.top];
      if (dx === 0 && dy === 0) continue;
      const from = { transform: `translate(${dx}px, ${dy}px)` };
      child.animate([from, { transform: "none" }], { duration: 420, easing: EASING });
    }
  });
  return list;
}
