"""No page has a violation that axe-core finds, in both colour schemes, wide and narrow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.shop_client import expect
from tests.browser.test_console import console, person  # noqa: F401 - a fixture

PAGES = (
    "/pipeline",
    "/users",
    "/users/{user}",
    "/items",
    "/items/p9?user={user}",
    "/models",
    "/steering",
    "/users/a/b",
)


def violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - with the browser

    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"]]


def settle(page: Any) -> None:
    page.locator("h1").wait_for()
    expect(page.locator(".state", has_text="Loading")).to_have_count(0)
    page.evaluate("() => document.fonts.ready")


@pytest.fixture(scope="module")
def someone(shop: str) -> str:
    return person(shop)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_no_violations_and_fits(console, someone, path, width, scheme):  # noqa: F811
    page = console(
        path.format(user=someone), width=width, color_scheme=scheme, reduced_motion="reduce"
    )
    settle(page)

    assert violations(page) == []
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    moving = "document.getAnimations().filter((a) => a.effect.getTiming().duration > 1)"
    assert page.evaluate(f"() => {moving}.length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_the_shop_has_no_violations_in_any_of_its_states(visit, width, scheme):
    page = visit("u1", width=width, color_scheme=scheme, reduced_motion="reduce")
    assert violations(page) == []

    page.locator("[data-part=steer-toggle]").click()
    page.locator("[data-part=push-choices]").wait_for()
    assert violations(page) == []
    page.keyboard.press("Escape")

    page.locator("[data-part=persona]").click()
    assert violations(page) == []
    page.keyboard.press("Escape")

    page.locator(".place-open").first.click()
    page.locator("dialog .mini").first.wait_for()
    assert violations(page) == []


def test_what_can_not_be_loaded_is_said_and_asked_for_again(console, shop, visit):  # noqa: F811
    visit.expected = ("500",)
    page = console("/pipeline")
    page.route("**/v1/models*", lambda route: route.fulfill(status=500, json={"detail": "a test"}))
    page.goto(f"{shop}/models")
    failed = page.get_by_role("alert")
    expect(failed).to_contain_text("The generations can't be loaded: a test")
    assert violations(page) == []

    page.unroute("**/v1/models*")
    failed.get_by_role("button", name="Try again").click()
    expect(page.locator(".compare")).to_be_visible()
