// @ts-check
/** The user menu: users that the log has, any user id, or a new visitor. */

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { api, chooseUser, isVisitor, shown } from "../../app/session.js";
import { plural } from "../../elements/format.js";
import { Icon } from "../../elements/icons.js";
import { hash, newVisitor } from "../../elements/ids.js";

/** Users of the made-up shop; offered only if the log has events of theirs. */
/** @type {{user: string, name: string}[]} */
const REGULARS = [
  { user: "u1", name: "Mara" },
  { user: "u2", name: "Jonas" },
  { user: "u3", name: "Priya" },
  { user: "u4", name: "Tomás" },
];

/**
 * @param {string} user
 * @param {{user: string}[]} [known] users that the log has
 */
function nameOf(user, known = []) {
  const regular = REGULARS.find((each) => each.user === user);
  if (regular !== undefined && known.some((each) => each.user === user)) return regular.name;
  return isVisitor(user) ? "New visitor" : user;
}

/** @param {{user: string, name: string}} props */
function Avatar({ user, name }) {
  return html`<span class="avatar" aria-hidden="true" style=${{ "--hue": String(hash(user) % 360) }}>${name.slice(0, 1).toUpperCase()}</span>`;
}

/** Returns users to choose from: regulars of the made-up shop that the log has, else users with the newest events. */
function useKnown() {
  const [known, setKnown] = useState(/** @type {typeof REGULARS} */ ([]));
  useEffect(() => {
    const hasEvents = (/** @type {{user: string}} */ { user }) =>
      api.get(`/v1/users/${user}/events`, { limit: 1 }).then(({ events }) => events.length > 0);
    const load = async () => {
      const found = await Promise.all(REGULARS.map(hasEvents));
      const regulars = REGULARS.filter((_, at) => found[at]);
      if (regulars.length > 0) return regulars;
      const { users } = await api.get("/v1/users", { limit: REGULARS.length });
      return users.filter((/** @type {any} */ { user }) => !isVisitor(user)).map((/** @type {any} */ { user }) => ({ user, name: user }));
    };
    // Without the right to see other users, none are offered.
    load().then(setKnown, () => {});
  }, []);
  return known;
}

export function Personas() {
  const menu = useRef(/** @type {any} */ (null));
  const [isMerging, setMerging] = useState(true);
  const user = shown.user.value;
  const known = useKnown();
  const n = shown.activity.value.filter(({ status }) => status !== "refused").length;
  const canMerge = isVisitor(user) && n > 0;
  const pick = (/** @type {string} */ chosen) => {
    menu.current?.hidePopover();
    void chooseUser(chosen, canMerge && isMerging && !isVisitor(chosen));
  };
  const submit = (/** @type {any} */ event) => {
    event.preventDefault();
    const chosen = String(new FormData(event.currentTarget).get("user") ?? "").trim();
    if (chosen) pick(chosen);
  };
  const name = nameOf(user, known);
  return html`<button class="persona" type="button" popovertarget="personas" title=${user} data-part="persona">
      <${Avatar} user=${user} name=${name} />
      <span class="persona-text"><span class="persona-label">Shopping as</span><span class="visually-hidden"> </span><span class="persona-name" data-part="persona-name">${name}</span></span>
      <span class="persona-caret"><${Icon} name="down" /></span>
    </button>
    <div class="personas" id="personas" popover="auto" role="dialog" aria-labelledby="personas-title" ref=${menu}>
      <h2 class="personas-title" id="personas-title">Who is shopping?</h2>
      <p class="muted">Each user has a history in the log. Open two windows to act as two users.</p>
      ${canMerge && html`<label class="persona-merge" data-part="merge"><input type="checkbox" checked=${isMerging} onChange=${(/** @type {any} */ event) => setMerging(event.currentTarget.checked)} />
        <span data-part="merge-text">Move my events as a visitor to this user (${plural(n, "event")})</span></label>`}
      <ul class="persona-list" role="list">
        ${known.map((each) => html`<${Choice} key=${each.user} ...${each} about=${each.name === each.user ? "has a history" : `user ${each.user}`} isCurrent=${each.user === user} pick=${pick} />`)}
        <${Choice} user="" name="New visitor" about="no history yet" isCurrent=${false} pick=${() => pick(newVisitor())} />
      </ul>
      <form class="persona-form" onSubmit=${submit}>
        <label for="persona-id">Any user id</label>
        <span class="persona-row">
          <input id="persona-id" name="user" required maxlength="256" autocomplete="off" spellcheck=${false} placeholder="u42" data-part="persona-id" />
          <button class="button" type="submit">Switch</button>
        </span>
      </form>
    </div>`;
}

/** @param {{user: string, name: string, about: string, isCurrent: boolean, pick: (user: string) => void}} props */
function Choice({ user, name, about, isCurrent, pick }) {
  return html`<li><button type="button" class="persona-choice" data-user=${user} aria-current=${isCurrent ? "true" : null} onClick=${() => pick(user)}>
    ${user ? html`<${Avatar} user=${user} name=${name} />` : html`<span class="avatar" aria-hidden="true"><${Icon} name="spark" /></span>`}
    <span>${name}</span><span class="muted">${about}</span>
  </button></li>`;
}
