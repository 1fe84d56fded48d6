/** What a text names without asking the bridge. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { directEntries } from "../../web/state/palette.js";

const PAGES = [{ path: "/", title: "Shop", nav: "Shop" }, { path: "/log", title: "Log", nav: "Log" }, { path: "/log/:topic", title: "Topic" }];
const hrefs = (text) => directEntries(text, PAGES).map(({ href }) => href);

test("without a text all pages of the navigation are offered", () => {
  assert.deepEqual(hrefs(""), ["/", "/log"]);
});

test("a place, a list and a generation lead to their pages", () => {
  assert.deepEqual(hrefs("2:17")[0], "/log/recstream.interactions?open=2:17");
  assert.deepEqual(hrefs("r-9f19ae9a6e7858ac"), ["/lists/r-9f19ae9a6e7858ac"]);
  assert.deepEqual(hrefs("generation 12"), ["/models?a=12"]);
});

test("a part of a page's title finds the page", () => {
  assert.deepEqual(hrefs("lo"), ["/log"]);
  assert.deepEqual(hrefs("nothing"), []);
});
