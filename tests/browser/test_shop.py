"""Step 10 of the flow in a real browser: the list follows the clicks, and nothing is lost."""

import itertools
import re
from typing import Any

from tests.browser.shop_client import expect, get, request
from tests.waiting import wait_until

MOMENT_MS = 15_000
LIST = "[data-part=shelf-list] > .place"
_users = itertools.count()


def new_user() -> str:
    return f"browser-{next(_users)}"


def order(page: Any) -> list[str]:
    """Return the ids of the list as it is on the page."""
    return page.locator(LIST).evaluate_all("places => places.map((place) => place.dataset.key)")


def like(page: Any, nth: int) -> str:
    """Like a product of the grid; return its id."""
    card = page.locator(".card").nth(nth)
    card.locator("[data-action=like]").click()
    return card.get_attribute("data-key")


def until_order_changes(page: Any, before: list[str], timeout_ms: int = MOMENT_MS) -> None:
    wait_until(
        lambda: order(page) != before,
        lambda: f"another order; the page says {page.locator('body').inner_text()[:1500]}",
        deadline_s=timeout_ms / 1000,
    )


def items_logged(shop: str, user: str) -> list[str]:
    """Return what a user did something with, newest first."""
    events = [entry["event"] for entry in get(f"{shop}/v1/users/{user}/events")["events"]]
    return [event["item"] for event in events if event["type"] != "impression"]


def part(page: Any, name: str):
    return page.locator(f"[data-part={name}]")


def test_the_list_changes_within_a_moment_of_a_click_and_says_why(visit):
    page = visit(new_user())
    expect(part(page, "shelf-title")).to_have_text("Popular now")
    before = order(page)

    like(page, 2)

    until_order_changes(page, before)
    expect(part(page, "shelf-title")).to_have_text("For you")
    expect(part(page, "reason").filter(has_text="because you liked").first).to_be_visible()
    expect(page.locator(".mark[data-kind]").first).to_be_visible()


def test_the_steps_of_a_click_add_up_to_the_whole(visit):
    page = visit(new_user())
    like(page, 1)
    expect(part(page, "latency-number")).to_have_text(re.compile(r"\d ms|\d s"), timeout=MOMENT_MS)

    lengths = page.locator(".step").evaluate_all(
        "steps => steps.map((step) => Number(step.style.getPropertyValue('--length')))"
    )

    assert len(lengths) == 5
    assert abs(sum(lengths) - 1) < 0.01
    expect(part(page, "latency-median")).to_contain_text("median of 1 click")


def test_what_was_liked_is_not_in_the_list_again(visit):
    page = visit(new_user())
    seen = []
    for nth in (0, 3, 5):
        before = order(page)
        seen.append(like(page, nth))
        until_order_changes(page, before)
        assert not set(order(page)) & set(seen)


def test_the_list_follows_what_happens_in_another_window(visit):
    user = new_user()
    here, there = visit(user), visit(user)
    before = order(here)

    like(there, 4)

    until_order_changes(here, before)
    expect(here.locator(".event").first).to_contain_text("liked ")


def test_a_lost_connection_comes_back_with_everything_that_was_clicked_meanwhile(
    visit, proxy, shop
):
    visit.expected = ("ERR_CONNECTION", "WebSocket connection", "ERR_EMPTY_RESPONSE")
    user = new_user()
    page = visit(user, url=proxy.url)
    before = order(page)
    expect(part(page, "connection-text")).to_have_text("Live")

    proxy.kill()
    expect(part(page, "connection-text")).to_have_text("Reconnecting")
    item = like(page, 1)
    expect(part(page, "banner-text")).to_contain_text("One click is kept and sent later")
    assert order(page) == before

    proxy.revive()
    # The page may be back by itself, and the button gone, before anybody could press it.
    part(page, "banner-retry").dispatch_event("click")
    expect(part(page, "connection-text")).to_have_text("Live", timeout=20_000)
    until_order_changes(page, before, timeout_ms=20_000)
    expect(part(page, "banner")).to_be_hidden()
    assert items_logged(shop, user) == [item]


def test_clicks_outlive_the_page_when_the_log_can_not_be_written(visit, shop):
    visit.expected = ("503",)
    user = new_user()
    page = visit(user)
    page.route(
        "**/v1/events", lambda route: route.fulfill(status=503, json={"detail": "the disk is full"})
    )
    item = like(page, 2)
    expect(part(page, "banner-text")).to_contain_text("the disk is full")

    page.unroute("**/v1/events")
    page.reload()

    expect(page.locator(".event").first).to_contain_text("liked ", timeout=MOMENT_MS)
    expect(page.locator(".event-place").first).to_have_text(re.compile(r"\d+ : \d+"))
    assert items_logged(shop, user) == [item]


def test_opening_a_product_shows_it_beside_what_is_similar_and_counts_as_a_view(visit):
    page = visit(new_user())
    title = part(page, "open").nth(15).inner_text()
    page.locator(".card-open", has_text=title).first.click()

    dialog = page.get_by_role("dialog", name=title)
    expect(dialog).to_be_visible()
    expect(dialog.locator(".mini").first).to_be_visible()
    expect(page.locator(".event").first).to_contain_text(f"viewed {title}")

    dialog.locator(".mini-open").nth(1).click()
    expect(page.locator(".event")).to_have_count(2)


def test_a_regular_has_a_history_and_reasons_from_the_start(visit):
    page = visit(new_user())
    part(page, "persona").click()
    page.get_by_role("button", name="Mara").click()

    expect(part(page, "persona-name")).to_have_text("Mara")
    expect(part(page, "shelf-title")).to_have_text("For you", timeout=MOMENT_MS)
    tabs = page.get_by_role("tablist", name="More for you, because you").get_by_role("tab")
    expect(tabs.first).to_be_visible()
    # Each tab says what she did with a product: "opened Olive-Wood Salad Servers".
    done = [
        re.sub(r"^(put|opened|liked|bought) | in the cart$", "", text)
        for text in tabs.all_inner_texts()
    ]
    expect(part(page, "reason").first).to_have_text(re.compile("|".join(map(re.escape, done))))
    expect(page.locator(".event").first).to_be_visible()


def test_search_and_categories_narrow_the_products(visit):
    page = visit(new_user())
    part(page, "search").fill("teapot")
    expect(part(page, "products-title")).to_contain_text("teapot")
    page.wait_for_function(
        """() => [...document.querySelectorAll(".card-open")]
          .every((title) => /teapot/i.test(title.textContent))"""
    )
    part(page, "search").fill("no such thing")
    expect(part(page, "empty")).to_contain_text("Nothing here is called")

    part(page, "search").fill("")
    page.locator(".chip", has_text="Garden").click()
    expect(part(page, "products-title")).to_have_text("Garden")
    expect(page.locator(".card-category").first).to_have_text("Garden")


def test_more_products_come_while_scrolling(visit):
    page = visit(new_user())
    before = page.locator(".card").count()
    page.locator(".card").last.scroll_into_view_if_needed()

    expect(page.locator(".card").nth(before)).to_be_attached()


def test_a_title_is_text_whatever_it_says(visit, shop):
    title = '<img src=x onerror=alert(1)> & "quotes"'
    assert request(f"{shop}/v1/items/hostile", "PUT", {"title": title, "category": "Zz"}) < 300
    page = visit(new_user())
    part(page, "search").fill("onerror")

    expect(page.locator(".card-open").first).to_have_text(title)
    assert page.locator("img").count() == 0


def test_a_training_is_shown_and_its_generation_arrives(visit, shop):
    page = visit(new_user())
    generation = get(f"{shop}/v1/pipeline")["generation"]

    part(page, "train").click()

    expect(part(page, "model-title")).to_have_text(
        f"Model, generation {generation + 1}", timeout=30_000
    )


def test_less_motion_means_none(visit):
    page = visit(new_user(), reduced_motion="reduce")
    before = order(page)
    like(page, 2)
    until_order_changes(page, before)

    moving = (
        "() => document.getAnimations().filter((a) => a.effect.getTiming().duration > 1).length"
    )
    assert page.evaluate(moving) == 0


def test_a_list_glides_from_the_old_order_to_the_new(visit):
    page = visit(new_user())
    page.evaluate(
        """() => {
          window.glides = 0;
          const animate = Element.prototype.animate;
          Element.prototype.animate = function (...given) {
            if (this.matches(".place")) window.glides += 1;
            return animate.apply(this, given);
          };
        }"""
    )
    before = order(page)
    like(page, 2)
    until_order_changes(page, before)

    assert page.evaluate("() => window.glides") > 0


def test_without_a_websocket_the_list_is_asked_for(visit):
    visit.expected = ("WebSocket",)
    context = visit.browser.new_context(viewport={"width": 1440, "height": 900})
    visit.contexts.append(context)
    context.route_web_socket("**/v1/ws", lambda socket: socket.close(code=1011))
    page = visit.open(context, new_user())
    before = order(page)

    like(page, 2)

    until_order_changes(page, before, timeout_ms=20_000)


def test_an_empty_shop_says_how_to_fill_it_and_not_what_to_click(visit):
    context = visit.browser.new_context()
    visit.contexts.append(context)
    context.route("**/v1/items?*", lambda route: route.fulfill(json={"items": [], "next": None}))
    page = context.new_page()
    page.goto(visit.url)

    expect(part(page, "empty")).to_contain_text("No products yet")
    expect(part(page, "hint")).to_be_hidden()


def test_shown_items_are_not_reported_as_actions_of_the_visitor(visit, shop):
    user = new_user()
    first = visit(user, has_clock=True)
    first.wait_for_timeout(1000)  # what is visible for a moment is seen
    first.clock.fast_forward(6000)
    wait_until(
        lambda: first.wait_for_timeout(50) or get(f"{shop}/v1/users/{user}/events")["events"],
        lambda: "impressions in the log",
        deadline_s=MOMENT_MS / 1000,
    )

    page = visit(user)
    like(page, 3)

    expect(page.locator(".event").first).to_contain_text("liked ")
    expect(page.locator(".event")).to_have_count(1)
