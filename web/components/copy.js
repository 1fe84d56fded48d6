// @ts-check
/** Buttons that copy a text, or the address of the page shown. */

import { html, useState } from "../vendor/preact.js";

const CONFIRMED_MS = 1500;

/** @param {{text: () => string, label: string}} props */
export function Copy({ text, label }) {
  const [said, say] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      say("Copied");
    } catch {
      say("The browser does not allow it");
    }
    setTimeout(() => say(""), CONFIRMED_MS);
  };
  return html`<button type="button" class="button button-small" onClick=${() => void copy()}><span role="status">${said || label}</span></button>`;
}

/** Copies the address of what is shown, to send it to somebody. */
export function CopyLink() {
  return html`<${Copy} text=${() => location.href} label="Copy link" />`;
}
