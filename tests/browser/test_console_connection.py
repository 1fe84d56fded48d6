"""A bridge that dies and comes back under the console, and forms that are drawn again."""

from typing import Any

import pytest

from tests.browser.shop_client import expect, request
from tests.browser.test_log_pages import INTERACTIONS, SLOW_MS, goto, part

DEAD = ("WebSocket connection", "ERR_CONNECTION", "ERR_EMPTY", "Failed to load resource")


def send(shop: str, user: str, item: str) -> None:
    assert request(f"{shop}/v1/events", "POST", {"type": "like", "user": user, "item": item}) == 202


def open_at(visit, url, path):
    visit.expected = DEAD
    visit.url = url
    return goto(visit, path)


def test_a_log_page_says_that_the_bridge_is_gone_and_shows_what_came_meanwhile(visit, shop, proxy):
    page = open_at(visit, proxy.url, f"{INTERACTIONS}?user=before-death&live=1")
    expect(part(page, "live")).to_have_text("Following (live)")
    send(shop, "before-death", "p1")
    expect(page.locator(".grid-row")).to_have_count(1)

    proxy.kill()

    expect(part(page, "banner-text")).to_contain_text("connection", ignore_case=True)
    expect(part(page, "live")).to_have_text("Following (reconnecting)")
    send(shop, "before-death", "p2")
    proxy.revive()

    expect(part(page, "live")).to_have_text("Following (live)", timeout=SLOW_MS)
    expect(part(page, "banner")).to_be_hidden()
    expect(page.locator(".grid-row")).to_have_count(2)


@pytest.mark.parametrize("path", ["/log", INTERACTIONS])
def test_what_a_dead_bridge_could_not_answer_is_asked_again(visit, proxy, path):
    page = open_at(visit, proxy.url, path)
    page.locator("h1").wait_for()
    page.get_by_role("link", name="Steering", exact=True).click()
    expect(part(page, "check")).to_be_visible()
    proxy.kill()
    expect(part(page, "banner-text")).to_be_visible()
    # Back to a page whose code is loaded: its data can't be.
    page.go_back()

    failed = page.locator("[data-state=failed], [data-part=records-failed]").first
    expect(failed).to_contain_text("loaded")
    proxy.revive()

    expect(
        page.get_by_role("link", name="interactions").or_(page.locator(".grid-row")).first
    ).to_be_visible(timeout=SLOW_MS)
    expect(failed).to_have_count(0)


def test_what_is_typed_into_the_lab_stays_while_the_page_is_drawn_again(visit, shop):
    send(shop, "typist", "p3")
    page = goto(visit, "/lab?user=typist")
    expect(part(page, "what-if-words")).to_be_visible(timeout=SLOW_MS)
    waiting: list[Any] = []
    page.route("**/v1/what-if", lambda route: waiting.append(route))  # noqa: PLW0108 - its own method can't be a handler
    page.get_by_label("Rules").select_option("none")
    field = page.get_by_label("As of")
    field.press_sequentially("2026-01-0")
    waiting[0].continue_()
    expect(page.get_by_text("Deriving")).to_have_count(0, timeout=SLOW_MS)

    field.press_sequentially("2")

    expect(field).to_have_value("2026-01-02")


def test_a_choice_of_the_lab_survives_another_choice(visit):
    page = goto(visit, "/lab?view=log")
    page.get_by_label("From").fill("0")
    page.get_by_label("Model").select_option("0")
    page.get_by_label("Rules").select_option("blend")

    expect(page.get_by_label("Factors")).to_be_visible()
    expect(page.get_by_label("Model")).to_have_value("0")
    expect(page.get_by_label("From")).to_have_value("0")
