// @ts-check
/** Entry point: draws the shell and connects. */

import { html, render } from "./vendor/preact.js";
import { startRouter } from "./app/router.js";
import { startSession } from "./app/session.js";
import { Shell } from "./app/shell.js";

const root = /** @type {HTMLElement} */ (document.getElementById("app"));
startRouter();
root.replaceChildren();
render(html`<${Shell} />`, root);
startSession();
