// @ts-check
/**
 * All pages. A new page is one line here, and its first part of the address in `PAGES` of
 * recstream/bridge/http/routes/site.py.
 */

import { match } from "./router.js";
import { Shop } from "../pages/shop/shop.js";

/**
 * @typedef {{path: string, title: string, about: string, nav?: string,
 *   load: () => Promise<(parameters: Record<string, any>) => any>}} Page
 */

/** Title of a page in the navigation: `nav`. One sentence on what it shows: `about`. */
/** @type {Page[]} */
export const PAGES = [
  {
    ...{ path: "/", title: "Shop", nav: "Shop", about: "" },
    load: () => Promise.resolve(Shop),
  },
  {
    ...{ path: "/pipeline", title: "Pipeline", nav: "Pipeline" },
    about: "How events become lists: each process, what waits in front of it, and how fresh lists are.",
    load: () => import("../pages/pipeline/pipeline.js").then((page) => page.Pipeline),
  },
];

/**
 * Returns the page of a path and its parameters, or null.
 *
 * @param {string} path
 */
export function findPage(path) {
  for (const page of PAGES) {
    const parameters = match(page.path, path);
    if (parameters !== null) return { page, parameters };
  }
  return null;
}
