// @ts-check
/** Finds pages, users, items, records and lists by what is typed. Opened by Ctrl K, ⌘ K or /. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { Icon } from "../elements/icons.js";
import { debounce } from "../elements/timing.js";
import { directEntries } from "../state/palette.js";
import { PAGES } from "./pages.js";
import { go } from "./router.js";
import { api } from "./session.js";

const ASK_AFTER_MS = 120;
const ASK_AT_LATEST_MS = 500;
const MOST = 6;

/** @typedef {import("../state/palette.js").Entry} Entry */

/**
 * @param {string} text
 * @returns {Promise<Entry[]>}
 */
async function found(text) {
  const none = () => ({ users: [], items: [], events: [] });
  const [users, items, events] = await Promise.all([
    api.get("/v1/users", { q: text, limit: MOST }).catch(none),
    api.get("/v1/items", { q: text, limit: MOST }).catch(none),
    text.length >= 8 ? api.get("/v1/events", { id: text, limit: 3 }).catch(none) : none(),
  ]);
  return [
    ...users.users.map((/** @type {any} */ one) => ({ kind: "User", text: one.user, href: `/users/${encodeURIComponent(one.user)}` })),
    ...items.items.map((/** @type {any} */ one) => ({ kind: "Item", text: one.title ? `${one.title} (${one.item})` : one.item, href: `/items/${encodeURIComponent(one.item)}` })),
    ...events.events.map((/** @type {any} */ one) => ({
      ...{ kind: "Event", text: `${one.event.type} ${one.event.item ?? ""} by ${one.event.user}` },
      href: `/log/recstream.interactions?open=${one.partition}:${one.offset}`,
    })),
  ];
}

export function Palette() {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [isOpen, setOpen] = useState(false);
  const open = () => {
    setOpen(true);
    if (!dialog.current?.open) dialog.current?.showModal();
  };
  useEffect(() => {
    const onKey = (/** @type {KeyboardEvent} */ event) => {
      const isTyping = /** @type {Element} */ (event.target).closest?.("input, textarea, select, [contenteditable]");
      const isShortcut = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey);
      if (!isShortcut && !(event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey)) return;
      if (document.querySelector("dialog[open]") !== null) return;
      event.preventDefault();
      open();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  return html`<button type="button" class="tool" title="Find anything (Ctrl K or /)" aria-label="Find anything" aria-keyshortcuts="Control+K Meta+K /" data-part="find" onClick=${open}><${Icon} name="search" /></button>
    <dialog class="palette" aria-label="Find anything" ref=${dialog} onClose=${() => setOpen(false)}
        onClick=${(/** @type {any} */ event) => event.target === dialog.current && dialog.current?.close()}>
      ${isOpen && html`<${Finder} onChoose=${(/** @type {Entry} */ entry) => {
        dialog.current?.close();
        go(entry.href);
      }} />`}
    </dialog>`;
}

/** @param {{onChoose: (entry: Entry) => void}} props */
function Finder({ onChoose }) {
  const [text, setText] = useState("");
  const [answers, setAnswers] = useState(/** @type {Entry[]} */ ([]));
  const [at, setAt] = useState(0);
  const typed = useRef("");
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const ask = useRef(
    debounce(() => {
      const wanted = typed.current;
      if (wanted === "") return setAnswers([]);
      return void found(wanted).then((entries) => wanted === typed.current && setAnswers(entries));
    }, ASK_AFTER_MS, ASK_AT_LATEST_MS),
  );
  // Before the next key: what is typed at once after the shortcut belongs to the field.
  useLayoutEffect(() => field.current?.focus(), []);
  const entries = [...directEntries(text, PAGES), ...answers];
  const chosen = Math.min(at, Math.max(0, entries.length - 1));
  const onInput = (/** @type {any} */ event) => {
    setText(event.target.value);
    typed.current = event.target.value.trim();
    setAt(0);
    ask.current();
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      setAt((chosen + step + entries.length) % Math.max(1, entries.length));
    } else if (event.key === "Enter" && entries[chosen]) {
      event.preventDefault();
      onChoose(entries[chosen]);
    }
  };
  useEffect(() => document.getElementById(`find-${chosen}`)?.scrollIntoView({ block: "nearest" }), [chosen]);
  return html`<input class="palette-field" type="text" ref=${field} value=${text} placeholder="A user, an item, 0:123, r-…, or a page" autocomplete="off" spellcheck=${false}
      role="combobox" aria-expanded="true" aria-controls="find-list" aria-label="Find" aria-activedescendant=${entries.length > 0 ? `find-${chosen}` : null} onInput=${onInput} onKeyDown=${onKeyDown} />
    <ul class="palette-list" id="find-list" role="listbox" aria-label="Found">
      ${entries.map((entry, place) => html`<li class="palette-entry" role="option" id=${`find-${place}`} key=${entry.href + entry.kind} aria-selected=${String(place === chosen)} onClick=${() => onChoose(entry)}>
        <span class="muted">${entry.kind}</span><span>${entry.text}</span></li>`)}
      ${entries.length === 0 && html`<li class="palette-entry" role="option" aria-selected="false" aria-disabled="true"><span></span><span class="muted">${text ? "Nothing found." : ""}</span></li>`}
    </ul>`;
}
