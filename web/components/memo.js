// @ts-check
/** Skips the drawing of a component whose properties are the same as before. */

import { Component, html } from "../vendor/preact.js";

/**
 * @template P
 * @param {(props: P) => any} draw
 */
export function memo(draw) {
  return class Memo extends Component {
    /** @param {any} next */
    shouldComponentUpdate(next) {
      const before = /** @type {any} */ (this).props;
      const names = new Set([...Object.keys(before), ...Object.keys(next)]);
      return [...names].some((name) => before[name] !== next[name]);
    }
    /** @param {any} props */
    render(props) {
      return html`<${draw} ...${props} />`;
    }
  };
}
