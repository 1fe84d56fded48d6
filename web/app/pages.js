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
  {
    ...{ path: "/log", title: "Log", nav: "Log" },
    about: "Everything that happened, in order. All state is derived from it, and can be derived again.",
    load: () => import("../pages/log/log.js").then((page) => page.Log),
  },
  {
    ...{ path: "/log/:topic", title: "Topic", about: "" },
    load: () => import("../pages/log/topic.js").then((page) => page.Topic),
  },
  {
    ...{ path: "/lists/:id", title: "List" },
    about: "The whole origin of one published list.",
    load: () => import("../pages/lists/list.js").then((page) => page.List),
  },
  {
    ...{ path: "/users", title: "Users", nav: "Users" },
    about: "Users with the newest events. Search by a part of the id; each leads to a timeline.",
    load: () => import("../pages/users/users.js").then((page) => page.Users),
  },
  {
    ...{ path: "/users/:id", title: "User", about: "" },
    load: () => import("../pages/users/user.js").then((page) => page.User),
  },
  {
    ...{ path: "/items", title: "Items", nav: "Items" },
    about: "The catalogue. Each item leads to what is similar, whose lists hold it, and why a user gets it or not.",
    load: () => import("../pages/items/items.js").then((page) => page.Items),
  },
  {
    ...{ path: "/items/:id", title: "Item", about: "" },
    load: () => import("../pages/items/item.js").then((page) => page.Item),
  },
  {
    ...{ path: "/models", title: "Models", nav: "Models" },
    about: "Generations of the model side by side: how well they predict, what they were trained with, and how their lists differ.",
    load: () => import("../pages/models/models.js").then((page) => page.Models),
  },
  {
    ...{ path: "/steering", title: "Steering", nav: "Steering" },
    about: "Rules that shape all lists: exclude, boost, pin, diversity, A/B tests. Try them on real users before they hold.",
    load: () => import("../pages/steering/steering.js").then((page) => page.SteeringPage),
  },
  {
    ...{ path: "/dead-letters", title: "Dead letters", nav: "Dead letters" },
    about: "Records that could not be read. Mend one and send it again; an event that was sent twice counts once.",
    load: () => import("../pages/letters/letters.js").then((page) => page.Letters),
  },
  {
    ...{ path: "/lab", title: "Lab", nav: "Lab" },
    about: "What if? Lists under other rules, events or models, compared with what was published.",
    load: () => import("../pages/lab/lab.js").then((page) => page.Lab),
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
