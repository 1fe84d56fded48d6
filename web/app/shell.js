// @ts-check
/** The frame of every page: navigation, connection, banner, messages; and the page of the address. */

import { Component, html, useEffect, useRef, useState } from "../vendor/preact.js";
import { Failed, Loading, Page } from "../components/states.js";
import { Icon } from "../elements/icons.js";
import { debounce } from "../elements/timing.js";
import { ShopSearch, ShopTools } from "../pages/shop/shop.js";
import { bannerText } from "../state/banner.js";
import { troubleText, rolesNotReady } from "../state/pipeline-words.js";
import { announcement } from "../state/shelf-words.js";
import { PAGES, findPage } from "./pages.js";
import { Palette } from "./palette.js";
import { address } from "./router.js";
import { retry, shown, store } from "./session.js";
import { Theme } from "./theme.js";

/** Delays of screen-reader announcements: after a burst of lists, and at the latest during one. */
const ANNOUNCE_AFTER_MS = 1500;
const ANNOUNCE_AT_LATEST_MS = 6000;
const TOAST_MS = 5000;
/** @type {Record<string, string>} */
const PHASES = { connecting: "Connecting", live: "Live", stale: "Reconnecting", failed: "Failed" };

export function Shell() {
  const { path } = address.value;
  const found = findPage(path);
  const isShop = found?.page.path === "/";
  const title = found?.page.title ?? "No such page";
  useEffect(() => {
    document.title = isShop ? "recstream · live recommendations" : `${title} · recstream`;
    document.body.dataset.view = isShop ? "shop" : "console";
  }, [title, isShop]);
  return html`<a class="skip-link" href=${isShop ? "#products" : "#main"}>${isShop ? "Skip to the products" : "Skip to the page"}</a>
    <header class="top">
      <div class="top-inner">
        <a class="brand" href="/" aria-label="recstream, home"><${Brand} /></a>
        ${isShop ? html`<${ShopSearch} />` : html`<span class="top-space"></span>`}
        <div class="top-tools">
          <${Connection} />
          <${Palette} />
          <${Theme} />
          ${isShop && html`<${ShopTools} />`}
        </div>
      </div>
      <${Navigation} path=${path} />
    </header>
    <${Banner} />
    ${found === null ? html`<${NoPage} path=${path} />` : html`<${Outlet} key=${found.page.path} ...${found} />`}
    <${Toast} />
    <${Announcer} />`;
}

function Brand() {
  return html`<svg class="brand-mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect class="brand-ground" width="32" height="32" rx="9" />
      <path class="brand-line" d="M7 11h10a4 4 0 0 1 0 8h-3a3.5 3.5 0 0 0 0 7" />
      <path class="brand-line" d="M22 7l4 4-4 4" />
    </svg><span class="brand-name">recstream</span>`;
}

/** @param {{path: string}} props */
function Navigation({ path }) {
  const first = path.split("/")[1];
  const strip = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    // On a narrow screen the word of the page may be outside of the strip.
    const link = /** @type {HTMLElement | null} */ (strip.current?.querySelector("[aria-current]"));
    if (strip.current !== null && link) strip.current.scrollLeft = link.offsetLeft - strip.current.clientWidth / 2;
  }, [first]);
  const links = PAGES.filter(({ nav }) => nav !== undefined).map(
    (page) => html`<a href=${page.path} key=${page.path} aria-current=${page.path.split("/")[1] === first ? "page" : null}>${page.nav}</a>`,
  );
  return html`<nav class="nav" aria-label="Pages"><div class="nav-inner" ref=${strip}>${links}</div></nav>`;
}

/** @param {{state: string}[]} ill */
const phaseOf = (ill) => (ill.some(({ state }) => state === "down") ? "failed" : "stale");

function Connection() {
  const { phase, detail } = shown.connection.value;
  const ill = rolesNotReady(shown.pipeline.value);
  const isIll = phase === "live" && ill.length > 0;
  const words = isIll ? ill.map(troubleText).join(" ") : detail;
  return html`<a class="connection" href="/pipeline" data-part="connection" data-phase=${isIll ? phaseOf(ill) : phase} title=${words || null}>
    <span class="dot" aria-hidden="true"></span><span data-part="connection-text">${isIll ? `${ill[0].name} ${ill[0].state}` : PHASES[phase]}</span>
  </a>`;
}

function Banner() {
  const ill = rolesNotReady(shown.pipeline.value);
  const { phase } = shown.connection.value;
  const lost = bannerText({ connection: shown.connection.value, outbox: shown.outbox.value });
  const text = lost || ill.map(troubleText).join(" ");
  if (text === "") return html`<div class="banner" data-part="banner" hidden></div>`;
  return html`<div class="banner" role="status" data-part="banner" data-phase=${lost ? phase : phaseOf(ill)}>
    <span class="banner-text" data-part="banner-text">${text}</span>
    ${lost && html`<button class="button button-small" type="button" data-part="banner-retry" onClick=${retry}>Try now</button>`}
  </div>`;
}

/** Shows an error of a page instead of the page. */
class Boundary extends Component {
  state = { error: null };
  /** @param {any} error */
  static getDerivedStateFromError(error) {
    return { error };
  }
  /** @param {any} error */
  componentDidCatch(error) {
    console.error(error);
  }
  /** @param {any} props */
  render({ children }) {
    const { error } = this.state;
    if (error === null) return children;
    return html`<${Page} title="This page has failed"><${Failed} what="The page" error=${String(/** @type {any} */ (error).message ?? error)} retry=${() => location.reload()} /><//>`;
  }
}

/** @param {{page: import("./pages.js").Page, parameters: Record<string, string>}} props */
function Outlet({ page, parameters }) {
  const [View, setView] = useState(/** @type {any} */ (null));
  const [error, setError] = useState("");
  useEffect(() => {
    page.load().then(
      (loaded) => setView(() => loaded),
      (failure) => setError(failure.message),
    );
  }, [page]);
  if (error) return html`<${Page} title=${page.title}><${Failed} what="This page" error=${error} retry=${() => location.reload()} /><//>`;
  if (View === null) return html`<${Page} title=${page.title} about=${page.about}><${Loading} /><//>`;
  return html`<${Boundary}><${View} ...${parameters} about=${page.about} title=${page.title} /><//>`;
}

/** @param {{path: string}} props */
function NoPage({ path }) {
  return html`<${Page} title="No such page" about=${`Nothing is at ${path}.`}><p><a href="/">Go to the shop</a>, or choose a page above.</p><//>`;
}

function Toast() {
  const { text, serial } = shown.notice.value;
  const [isShown, show] = useState(false);
  useEffect(() => {
    if (text === "") return undefined;
    show(true);
    const timer = setTimeout(() => show(false), TOAST_MS);
    return () => clearTimeout(timer);
  }, [serial]);
  return html`<div class="toast" role="status" data-part="toast" data-shown=${isShown ? "" : null}>${text}</div>`;
}

function Announcer() {
  const [text, setText] = useState("");
  const soon = useRef(debounce(() => setText(announcement(store.state)), ANNOUNCE_AFTER_MS, ANNOUNCE_AT_LATEST_MS));
  const recs = shown.recs.value;
  useEffect(() => {
    if (recs !== null) soon.current();
  }, [recs]);
  return html`<p class="visually-hidden" role="status" data-part="announcer">${text}</p>`;
}
