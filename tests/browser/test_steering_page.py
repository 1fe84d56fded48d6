"""What came with hybrid lists, in a real browser: shelves, sums, merging, impressions, the steering panel."""

import itertools
import re
from typing import Any

import pytest

from tests.browser.looks import violations
from tests.browser.shop_client import expect, get, request
from tests.waiting import wait_until

MOMENT_MS = 5000
LIST = "[data-part=shelf-list] > .place"
FOLLOWS_S = 15.0
"""For a rule to be adopted by every worker, on a busy machine."""
_users = itertools.count()


def new_user() -> str:
    return f"steered-{next(_users)}"


def part(page: Any, name: str):
    return page.locator(f"[data-part={name}]")


def order(page: Any) -> list[str]:
    return page.locator(LIST).evaluate_all("places => places.map((place) => place.dataset.key)")


def like(page: Any, nth: int) -> str:
    card = page.locator(".card").nth(nth)
    card.locator("[data-action=like]").click()
    return card.get_attribute("data-key")


def known_user(visit: Any, user: str = "", **more: Any) -> Any:
    """Return the page of somebody who has liked something, with a list and shelves of their own."""
    page = visit(user or new_user(), **more)
    like(page, 2)
    expect(part(page, "shelf-title")).to_have_text("For you", timeout=MOMENT_MS)
    page.locator(".because .mini").first.wait_for()
    return page


@pytest.fixture(autouse=True)
def unsteered(shop: str):
    """Leave the shop as it was: no rules."""
    yield shop
    if get(f"{shop}/v1/steering")["steering"] == {}:
        return
    request(f"{shop}/v1/steering", "PUT", {"rules": []})
    wait_until(
        lambda: get(f"{shop}/v1/steering")["adopted"] == get(f"{shop}/v1/steering")["partitions"],
        lambda: "workers that adopt no rules",
        deadline_s=20,
    )


def events_of(shop: str, user: str, kind: str) -> list[dict[str, Any]]:
    found = get(f"{shop}/v1/users/{user}/events?limit=200")["events"]
    return [one["event"] for one in found if one["event"]["type"] == kind]


def test_what_was_done_gets_a_row_of_its_own_and_no_item_stands_twice(visit):
    page = known_user(visit)
    expect(page.get_by_role("tab").first).to_contain_text("liked ")

    def standing() -> list[str]:
        row = page.locator(".because .mini").evaluate_all("all => all.map((e) => e.dataset.key)")
        return [*row, *order(page)]

    def is_each_once() -> bool:
        found = standing()
        return len(set(found)) == len(found)

    # The row is asked for again when lists stop coming.
    wait_until(
        is_each_once,
        lambda: f"each item once, got {sorted(standing())}",
        deadline_s=MOMENT_MS / 1000,
    )


def test_tabs_of_rows_are_chosen_by_arrow_keys(visit):
    page = visit("u1")
    tabs = page.get_by_role("tab")
    expect(tabs.nth(1)).to_be_visible()
    tabs.first.focus()
    page.keyboard.press("ArrowRight")

    expect(tabs.nth(1)).to_be_focused()
    expect(tabs.nth(1)).to_have_attribute("aria-selected", "true")
    expect(tabs.first).to_have_attribute("tabindex", "-1")


def test_a_click_on_a_row_names_the_row_it_came_from(visit, shop):
    user = new_user()
    page = known_user(visit, user)
    page.locator(".because .mini-open").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()

    (click,) = wait_until(
        lambda: events_of(shop, user, "click"), lambda: "a click in the log", deadline_s=10
    )
    assert click["rec_id"].startswith("shelves-")


def test_seen_items_are_reported_once_in_a_few_requests(visit, shop):
    user = new_user()
    page = visit(user, has_clock=True)
    sent: list[str] = []
    page.on("request", lambda r: sent.append(r.post_data) if r.url.endswith("/v1/events") else None)

    def shown_for_a_second() -> list[dict[str, Any]]:
        page.clock.run_for(1000)
        return events_of(shop, user, "impression")

    shown = wait_until(shown_for_a_second, "impressions")
    page.clock.run_for(10_000)

    assert set(shown[0]["items"]) <= set(order(page))
    assert shown[0]["rec_id"]
    expect(page.locator(".event")).to_have_count(0)
    page.goto("about:blank")  # sends what still waits
    assert len(events_of(shop, user, "impression")) == len(shown) == len(sent) == 1


def test_sources_and_events_add_up_to_the_same_score(visit):
    page = known_user(visit)
    page.locator(".place-open").first.click()
    part(page, "sum").locator("summary").click()

    totals = []
    for table in ("sum-sources", "sum-lines"):
        lines = part(page, table).locator("[data-part=line-value]").all_inner_texts()
        values = [
            float(text.replace("+ ", "").replace("− ", "-").replace("−", "-")) for text in lines
        ]
        assert len(values) >= 2
        assert sum(values[:-1]) == pytest.approx(values[-1], abs=1e-9)
        totals.append(values[-1])
    assert totals[0] == totals[1]


def test_a_visitor_takes_along_what_they_did(visit, shop):
    context = visit.browser.new_context(viewport={"width": 1440, "height": 900})
    visit.contexts.append(context)
    page = visit.open(context)
    item = like(page, 3)
    expect(page.locator(".event-place").first).to_have_text(re.compile(r"\d+ : \d+"))
    user = new_user()

    part(page, "persona").click()
    expect(part(page, "merge-text")).to_contain_text("1 event")
    part(page, "persona-id").fill(user)
    page.get_by_role("button", name="Switch").click()

    expect(part(page, "toast")).to_contain_text("now belong to this user")
    expect(part(page, "shelf-title")).to_have_text("For you", timeout=MOMENT_MS)
    expect(page.locator(".event").first).to_contain_text("liked ", ignore_case=True)
    (copy,) = events_of(shop, user, "like")
    assert copy["item"] == item
    assert copy["context"]["merged_from"].startswith("visitor-")


def test_what_is_hidden_and_pinned_in_the_panel_changes_lists_at_once(visit, shop):
    page = known_user(visit)
    part(page, "steer-toggle").click()
    expect(part(page, "steer-rules")).to_contain_text("No rules")
    pinned = page.locator("[data-part=pin-choices] option").nth(5).get_attribute("value")

    part(page, "pin-choices").select_option(pinned)
    page.get_by_role("button", name="Pin", exact=True).click()

    expect(part(page, "steer-rules")).to_contain_text("Pinned at place 1")
    wait_until(
        lambda: order(page)[0] == pinned,
        lambda: f"{pinned} on top of {order(page)}",
        deadline_s=FOLLOWS_S,
    )
    expect(part(page, "reason").first).to_have_text("pinned by the shop")

    brand = get(f"{shop}/v1/items/{order(page)[1]}")["brand"]
    part(page, "hide-choices").select_option(brand)
    page.get_by_role("button", name="Hide").click()
    hidden = order(page)[1]
    wait_until(lambda: hidden not in order(page), lambda: "the brand gone", deadline_s=FOLLOWS_S)

    page.get_by_title("Take it back").first.click()
    page.get_by_title("Take it back").first.click()
    expect(part(page, "steer-rules")).to_contain_text("No rules")
    wait_until(lambda: hidden in order(page), lambda: "the brand back", deadline_s=FOLLOWS_S)


def test_a_test_of_two_blends_shows_results_by_arm(visit):
    page = known_user(visit)
    part(page, "steer-toggle").click()
    page.get_by_role("button", name="Test two blends").click()
    expect(part(page, "steer-rules")).to_contain_text("A/B test")
    expect(page.get_by_role("button", name="Test two blends")).to_have_attribute(
        "aria-pressed", "true"
    )

    part(page, "steer-close").click()
    for nth in range(4):
        like(page, 5 + nth)
    part(page, "steer-toggle").click()

    measure = page.locator(".measure").first
    expect(measure).to_contain_text("Hit@10", timeout=15_000)
    expect(measure.locator(".arm-of").first).to_have_text(
        re.compile(r"% to .* %, \d+ events|no events")
    )
    expect(measure.locator(".measure-verdict")).to_contain_text("Too early to say")
    expect(page.locator(".arm-name").first).to_have_text(re.compile("as it is|more content"))

    page.goto(f"{visit.url}/steering")
    expect(page.locator(".measure").first).to_contain_text("Hit@10")
    assert violations(page) == []


def test_an_added_product_is_new_at_once_and_can_be_recommended_within_two_seconds(visit):
    page = visit(new_user())
    part(page, "steer-toggle").click()
    form = part(page, "add-form")
    form.get_by_label("Title").fill("Halvor Copper Skillet 26 cm")
    form.get_by_label("Brand").fill("Halvor")
    form.get_by_label("Category").fill("Kitchen")
    form.get_by_role("button", name="Add it").click()

    expect(page.locator(".card").first).to_contain_text("Halvor Copper Skillet")
    expect(page.locator(".card").first).to_have_attribute("data-new", "")
    expect(part(page, "add-result")).to_contain_text("could be recommended after", timeout=15_000)
    said = part(page, "add-result").inner_text()
    ms = re.search(r"after ([\d.,]+) (ms|s)\.", said)
    assert ms is not None, said
    assert float(ms[1].replace(",", "")) * (1000 if ms[2] == "s" else 1) < 2000, said

    page.locator(".card-open").first.click()
    expect(page.locator("dialog .mini-why").first).to_have_text(re.compile("same brand|shares"))


def test_the_panel_is_left_by_escape_and_its_button_has_the_focus_again(visit):
    page = visit()
    part(page, "steer-toggle").focus()
    page.keyboard.press("Enter")
    expect(part(page, "steer-close")).to_be_focused()
    page.keyboard.press("Escape")

    expect(part(page, "steer")).to_be_hidden()
    expect(part(page, "steer-toggle")).to_be_focused()
