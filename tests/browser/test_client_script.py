"""The script for other shops: a page that knows nothing but its tag shows live lists."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import PATIENCE_MS
from tests.browser.shop_client import get
from tests.waiting import wait_until

SHOP = (Path(__file__).parents[2] / "docs" / "examples" / "shop.html").read_text()
TEMPLATE = """
<!doctype html><title>Templates</title><script type="module" src="/client/recstream.js"></script>
<recstream-list n="3" link="/products/{item}" click="cart">
  <template><a><b data-field="title"></b> <i data-field="rank"></i></a></template>
</recstream-list>
"""


@pytest.fixture
def foreign(chromium: Any, shop: str) -> Iterator[Any]:
    """Return a function that opens a page which the bridge does not serve, at the bridge's origin."""
    context = chromium.new_context(viewport={"width": 1000, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    troubles: list[str] = []

    def open_page(content: str) -> Any:
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.route(
            "**/my-shop", lambda route: route.fulfill(body=content, content_type="text/html")
        )
        page.goto(f"{shop}/my-shop")
        page.locator("recstream-list li").first.wait_for()
        return page

    yield open_page
    context.close()
    assert troubles == []


def titles(page: Any) -> list[str]:
    return [each.strip() for each in page.locator("recstream-list li").all_inner_texts()]


def events(shop: str, user: str, type_: str) -> list[dict[str, Any]]:
    answer = get(f"{shop}/v1/users/{user}/events?limit=50")
    return [each["event"] for each in answer["events"] if each["event"]["type"] == type_]


def test_a_list_changes_after_the_visitors_clicks(foreign: Any, shop: str) -> None:
    page = foreign(SHOP)
    before = titles(page)
    assert len(before) == 6

    page.locator("recstream-list a").nth(2).click()

    wait_until(lambda: titles(page) not in ([], before), f"another list than {before}")
    user = page.evaluate("recstream.user")
    (view,) = wait_until(lambda: events(shop, user, "view"), "the click in the log")
    assert view["rec_id"]
    assert page.url.endswith("#" + view["item"])


def test_a_list_that_is_moved_before_it_was_drawn_is_drawn_where_it_is(foreign: Any) -> None:
    page = foreign(TEMPLATE)
    page.evaluate(
        """() => {
          const list = document.createElement("recstream-list");
          list.id = "moved";
          document.body.append(list);
          document.body.prepend(list);
        }"""
    )

    page.locator("#moved li").first.wait_for()


def test_what_was_seen_is_an_impression(foreign: Any, shop: str) -> None:
    page = foreign(SHOP)
    user = page.evaluate("recstream.user")
    (shown,) = wait_until(lambda: events(shop, user, "impression"), "an impression")
    assert len(shown["items"]) == 6


def test_what_was_seen_before_a_login_is_the_visitors(foreign: Any, shop: str) -> None:
    page = foreign(SHOP)
    visitor, user = page.evaluate("recstream.user"), f"user-{uuid.uuid4()}"
    page.evaluate("globalThis.begunMs = performance.now()")
    page.wait_for_function("performance.now() > begunMs + 1500")  # seen after 0.8 s, sent after 5 s

    page.evaluate("user => recstream.configure({ user })", user)

    wait_until(lambda: events(shop, visitor, "impression"))


def test_a_login_draws_the_users_list(foreign: Any) -> None:
    page = foreign(SHOP)
    before = titles(page)
    page.locator("#login input").fill("u1")
    page.locator("#login button").click()
    wait_until(lambda: titles(page) != before, "the list of u1")
    assert page.evaluate("recstream.user") == "u1"


def test_search_results_come_in_the_visitors_order(foreign: Any) -> None:
    page = foreign(SHOP)
    page.locator("#search input").fill("a")
    page.locator("#search button").click()
    page.locator("#found li").first.wait_for()


def test_a_template_draws_what_the_shop_wants(foreign: Any, shop: str) -> None:
    page = foreign(TEMPLATE)
    assert [each[-1] for each in titles(page)] == ["1", "2", "3"]
    assert "/products/" in page.locator("recstream-list a").first.get_attribute("href")
    user = page.evaluate("recstream.user")
    page.route("**/products/*", lambda route: route.abort())
    page.locator("recstream-list a").first.click()
    assert wait_until(lambda: events(shop, user, "cart"), "the cart event")


def test_a_list_is_named_and_its_links_are_reached_by_keyboard(foreign: Any) -> None:
    page = foreign(SHOP)
    assert page.get_by_role("list", name="For you").count() == 1
    page.locator("#login button").focus()
    page.keyboard.press("Tab")
    focused = "document.activeElement.shadowRoot.activeElement.closest('li').dataset.key"
    assert page.evaluate(focused)


def test_two_visitors_have_ids_of_their_own(foreign: Any) -> None:
    visitors = {foreign(SHOP).evaluate("recstream.user")}
    page = foreign(SHOP)
    page.evaluate("localStorage.clear()")
    visitors.add(page.evaluate("recstream.user"))

    assert len(visitors) == 2
    assert all(re.fullmatch("visitor-[a-z0-9]{16}", each) for each in visitors)
