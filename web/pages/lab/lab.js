// @ts-check
/** What if: one list with other events, rules or another model; a range of the log; synthetic traffic. */

import { html } from "../../vendor/preact.js";
import { address, href } from "../../app/router.js";
import { CopyLink } from "../../components/copy.js";
import { Page } from "../../components/states.js";
import { ListWhatIf } from "./list-what-if.js";
import { LogWhatIf } from "./log-what-if.js";
import { Traffic } from "./traffic.js";

const VIEWS = [
  { name: "list", label: "One list", View: ListWhatIf },
  { name: "log", label: "A range of the log", View: LogWhatIf },
  { name: "traffic", label: "Synthetic traffic", View: Traffic },
];

/** @param {{title: string, about: string}} props */
export function Lab({ title, about }) {
  const { view = "list" } = address.value.query;
  const chosen = VIEWS.find(({ name }) => name === view) ?? VIEWS[0];
  return html`<${Page} title=${title} about=${about} tools=${html`<${CopyLink} />`}>
    <nav class="reasons" aria-label="What to try">${VIEWS.map(({ name, label }) => html`<a class="button" key=${name} href=${href("/lab", { view: name === "list" ? null : name })} aria-current=${name === chosen.name ? "page" : null}>${label}</a>`)}</nav>
    <${chosen.View} key=${chosen.name} />
  <//>`;
}
