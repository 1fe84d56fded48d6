// @ts-check
/** The frame of a console page, and what stands in for data: loading, failed, empty. */

import { html } from "../vendor/preact.js";

/** Status of what can't be answered from what the log and the model store keep. */
const GONE = 410;

/**
 * A page of the console: its title, and one sentence that says what it shows.
 *
 * @param {{title: any, about?: any, tools?: any, children?: any}} props
 */
export function Page({ title, about, tools, children }) {
  return html`<main class="page" id="main" tabindex="-1">
    <header class="page-head">
      <div><h1 class="page-title" title=${typeof title === "string" ? title : null}>${title}</h1>${about && html`<p class="page-about">${about}</p>`}</div>
      ${tools && html`<div class="page-tools">${tools}</div>`}
    </header>
    ${children}
  </main>`;
}

/**
 * A part of a page with a heading.
 *
 * @param {{title: any, about?: any, tools?: any, wide?: boolean, children?: any}} props
 */
export function Card({ title, about, tools, wide = false, children }) {
  return html`<section class="box" data-wide=${wide ? "" : null}>
    <header class="box-head"><h2 class="box-title">${title}</h2>${tools}</header>
    ${about && html`<p class="muted">${about}</p>`}
    ${children}
  </section>`;
}

/** @param {{what?: string}} props */
export function Loading({ what = "" }) {
  return html`<p class="state" role="status">${what ? `Loading ${what} …` : "Loading …"}</p>`;
}

/**
 * Says why something is not there. What was pruned does not come back: it can't be tried again.
 *
 * @param {{what: string, error: string, code?: number, retry?: () => void}} props
 */
export function Failed({ what, error, code = 0, retry }) {
  const isGone = code === GONE;
  return html`<div class="state" role="alert" data-state="failed">
    <p>${what} can't be ${isGone ? "derived any more" : "loaded"}: ${error}</p>
    ${!isGone && retry && html`<button class="button button-small" type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

/** @param {{children?: any}} props */
export function Empty({ children }) {
  return html`<p class="state" data-state="empty">${children}</p>`;
}

/**
 * Draws data that was requested, or why it is not there.
 *
 * @template T
 * @param {{of: import("../app/fetch.js").Fetched<T>, what: string, children: (data: T) => any}} props
 */
export function Fetched({ of, what, children }) {
  if (of.data !== null) return children(of.data);
  if (of.status === "failed") return html`<${Failed} what=${what} error=${of.error} code=${of.code} retry=${of.reload} />`;
  return html`<${Loading} />`;
}
