"""No page has a violation that axe-core finds, in both colour schemes, wide and narrow."""

import pytest

from tests.browser.looks import settle, violations
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


@pytest.fixture(scope="module")
def someone(shop: str) -> str:
    return person(shop)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_no_violations_and_fits(console, someone, path):  # noqa: F811
    page = console(path.format(user=someone), reduced_motion="reduce")
    settle(page)

    assert violations(page) == []
    moving = "document.getAnimations().filter((a) => a.effect.getTiming().duration > 1)"
    assert page.evaluate(f"() => {moving}.length") == 0


def test_the_shop_has_no_violations_in_any_of_its_states(visit):
    page = visit("u1", reduced_motion="reduce")
    assert violations(page) == []

    page.locator("[data-part=steer-toggle]").click()
    page.locator("[data-part=push-choices]").wait_for()
    assert violations(page, "[data-part=steer]") == []
    page.keyboard.press("Escape")

    page.locator("[data-part=persona]").click()
    assert violations(page, "#personas") == []
    page.keyboard.press("Escape")

    page.locator(".place-open").first.click()
    page.locator("dialog .mini").first.wait_for()
    assert violations(page, "dialog") == []


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
