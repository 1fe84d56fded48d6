// @ts-check
/** The user menu: users of the demo shop, any user id, or a new visitor. */

import { find, html, keyed, setAttribute, setText } from "../elements/dom.js";
import { icon } from "../elements/icons.js";
import { hash, newVisitor } from "../elements/ids.js";
import { plural } from "../elements/format.js";

const VISITOR = "visitor-";

/** @type {{user: string, name: string}[]} */
const REGULARS = [
  { user: "u1", name: "Mara" },
  { user: "u2", name: "Jonas" },
  { user: "u3", name: "Priya" },
  { user: "u4", name: "Tomás" },
];

/** @param {string} user */
export function nameOf(user) {
  const regular = REGULARS.find((known) => known.user === user);
  if (regular !== undefined) return regular.name;
  return user.startsWith(VISITOR) ? "New visitor" : user;
}

/**
 * @param {HTMLElement} avatar
 * @param {string} user
 */
function updateAvatar(avatar, user) {
  avatar.style.setProperty("--hue", String(hash(user) % 360));
  setText(avatar, nameOf(user).slice(0, 1).toUpperCase());
}

export class Personas {
  /**
   * @param {ParentNode} root
   * @param {{choose: (user: string, isMerging: boolean) => void}} handlers
   */
  constructor(root, { choose }) {
    this.root = root;
    const popover = find(root, "personas");
    const pick = (/** @type {string} */ user) => {
      popover.hidePopover();
      const isMerging = !find(root, "merge").hidden && find(root, "merge-choice").checked;
      choose(user, isMerging && !user.startsWith(VISITOR));
    };
    const entries = [...REGULARS, { user: "", name: "New visitor" }];
    find(root, "persona-caret").append(icon("down"));
    keyed(
      find(root, "persona-list"),
      entries.map(({ user }) => user || "new"),
      () => html("li"),
      (element, _, index) => {
        const { user, name } = entries[index];
        const avatar = html("span", { class: "avatar", "aria-hidden": "true" });
        if (user) updateAvatar(avatar, user);
        else avatar.append(icon("spark"));
        const about = user ? `user ${user}` : "no history yet";
        element.append(
          html(
            "button",
            {
              ...{ type: "button", class: "persona-choice", "data-user": user },
              onclick: () => pick(user || newVisitor()),
            },
            avatar,
            html("span", { text: name }),
            html("span", { class: "muted", text: about }),
          ),
        );
      },
    );
    find(root, "persona-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      const user = find(root, "persona-id").value.trim();
      if (user) pick(user);
    });
  }

  /** @param {import("../state/state.js").State} state */
  render({ user, activity }) {
    const n = activity.filter(({ status }) => status !== "refused").length;
    find(this.root, "merge").hidden = !user.startsWith(VISITOR) || n === 0;
    setText(find(this.root, "merge-text"), `Move my events as a visitor to this user (${plural(n, "event")})`);
    setText(find(this.root, "persona-name"), nameOf(user));
    setAttribute(find(this.root, "persona"), "title", user);
    updateAvatar(find(this.root, "persona-avatar"), user);
    for (const choice of this.root.querySelectorAll(".persona-choice")) {
      setAttribute(choice, "aria-current", choice.getAttribute("data-user") === user ? "true" : null);
    }
  }
}
