"""The console in a real browser: each page does what its user came for."""

import itertools
import re
import time
from typing import Any

import pytest

from tests.browser.shop_client import expect, get, request
from tests.waiting import wait_until

MOMENT_MS = 15_000
_users = itertools.count()


def part(page: Any, name: str):
    return page.locator(f"[data-part={name}]")


def post(shop: str, user: str, *events: tuple[str, str]) -> None:
    body = [{"type": kind, "user": user, "item": item} for kind, item in events]
    assert request(f"{shop}/v1/events", "POST", body) == 202


def person(shop: str) -> str:
    """Return a user who liked two products one after the other, with a list after each."""
    user = f"console-{next(_users)}"
    for item in ("p9", "p52"):
        before = get(f"{shop}/v1/users/{user}/recommendations")["items"]
        post(shop, user, ("like", item))
        wait_until(
            lambda before=before: get(f"{shop}/v1/users/{user}/recommendations")["items"] != before,
            lambda: f"a new list of {user}",
            deadline_s=MOMENT_MS / 1000,
        )
    return user


@pytest.fixture
def console(visit, shop):
    """Return a function that opens a page of the console."""

    def open_page(path: str, *, width: int = 1440, **more: Any) -> Any:
        context = visit.browser.new_context(viewport={"width": width, "height": 900}, **more)
        context.set_default_timeout(MOMENT_MS)
        visit.contexts.append(context)
        page = context.new_page()
        page.on("console", visit._heard)
        page.on("pageerror", lambda error: visit.troubles.append(f"uncaught: {error}"))
        page.goto(shop + path)
        page.locator("h1").wait_for()
        return page

    return open_page


def test_the_pipeline_shows_each_role_and_what_came_in(console, shop):
    page = console("/pipeline")
    for role in ("worker", "trainer", "bridge"):
        expect(page.locator("tr", has_text=role).locator(".tag")).to_have_text("ready")
    log = page.locator(".flow-place").nth(1).locator(".flow-value")
    before = int(log.inner_text().replace(",", ""))

    for nth in range(5):
        post(shop, "pipeline-user", ("view", f"p{nth + 1}"))

    wait_until(
        lambda: page.wait_for_timeout(100) or int(log.inner_text().replace(",", "")) >= before + 5,
        lambda: f"5 records more than {before}",
        deadline_s=MOMENT_MS / 1000,
    )
    expect(page.locator(".flow-arrow[data-moving]").first).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Lists by freshness: .* lists"))).to_be_visible()


def test_an_engineer_finds_the_event_that_moved_a_product_and_sends_the_link(console, shop):
    user = person(shop)
    page = console("/users")
    page.get_by_label("Part of a user id").fill(user)
    page.get_by_role("link", name=user, exact=True).click()

    expect(page.locator("h1")).to_have_text(f"User {user}")
    handle = page.get_by_role("slider", name="Moment A")
    handle.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    effect = page.locator(".effect[data-event]")
    expect(effect).to_have_count(1)
    expect(effect).to_contain_text("Liked", ignore_case=True)
    expect(effect).to_contain_text("brought")
    entered = page.get_by_role("list", name="List B").locator("li", has_text="new").first
    expect(entered).to_contain_text("entered: liked")

    colleague = console(page.url.removeprefix(shop))
    theirs = colleague.locator(".effect[data-event]")
    expect(theirs).to_contain_text("brought")
    assert theirs.get_attribute("data-event") == effect.get_attribute("data-event")


def test_lists_of_a_deleted_model_are_compared_as_they_were_published(console, shop, visit):
    visit.expected = ("404",)
    user = person(shop)
    page = console("/pipeline")
    page.route(
        "**/causes?*",
        lambda route: route.fulfill(status=404, json={"detail": "generation 2 was deleted"}),
    )
    page.goto(f"{shop}/users/{user}")

    steps = part(page, "steps").locator("li")
    expect(steps.first).to_contain_text("Liked", ignore_case=True)
    expect(steps.first).to_contain_text("brought")
    expect(page.get_by_text("generation 2 was deleted")).to_be_visible()
    moved = page.get_by_role("list", name="List B").locator("li", has_text="new")
    expect(moved.first).to_be_visible()


def test_a_shop_owner_asks_why_not_this_product_for_this_user(console, shop):
    user = person(shop)
    page = console("/items")
    expect(page.get_by_text(re.compile(r"^100 of \d+ items$"))).to_be_visible()
    page.get_by_label("Title, brand or category").fill("teapot")
    row = page.get_by_role("grid", name="Items").locator("a").first
    expect(row).to_have_text(re.compile("teapot", re.IGNORECASE))
    row.click()
    expect(page.locator(".similar-row").first).to_be_visible()

    page.get_by_label("User id").fill(user)
    page.get_by_role("button", name="Explain").click()

    expect(part(page, "verdict")).to_contain_text(re.compile("It is (not )?in the list"))
    assert f"user={user}" in page.url
    page.goto(f"{shop}/items/p9?user={user}")
    expect(part(page, "verdict")).to_contain_text("history already")


def test_a_students_question_what_the_factors_say_has_an_answer_in_words(console, shop):
    user = person(shop)
    page = console(f"/users/{user}")

    expect(part(page, "taste").locator("tbody tr").first).to_contain_text("%")
    first = page.get_by_role("list", name="Items in the direction").locator("li").first
    expect(first).to_contain_text("score")


def test_ratings_are_offered_where_the_log_has_some(console, shop):
    rated = {"partition": 0, "offset": 1, "event": {"type": "rate", "user": "x", "item": "p9"}}
    # A tab keeps which types the log has: this one has not asked yet.
    page = console("/pipeline").context.new_page()
    answer = {"events": [rated], "has_more": False}
    page.route(
        "**/v1/events?type=*", lambda route: route.fulfill(json={"events": [], "has_more": False})
    )
    page.route("**/v1/events?type=rate*", lambda route: route.fulfill(json=answer))
    page.goto(f"{shop}/?user=rater&item=p9")
    dialog = page.get_by_role("dialog")

    expect(dialog.get_by_role("button", name="Buy")).to_have_count(0)
    dialog.get_by_role("button", name="4 of 5 stars").click()

    expect(part(page, "stars")).to_contain_text("rated 4 of 5")
    wait_until(
        lambda: [one["event"]["value"] for one in get(f"{shop}/v1/users/rater/events")["events"]
                 if one["event"]["type"] == "rate"] == [4],
        lambda: "the rating in the log", deadline_s=MOMENT_MS / 1000,
    )  # fmt: skip


def test_a_link_to_a_listed_product_says_why_it_is_listed(console, shop):
    user = person(shop)
    listed = get(f"{shop}/v1/users/{user}/recommendations")["items"][0]["item"]

    page = console(f"/?user={user}&item={listed}")

    expect(part(page, "why")).to_contain_text("Why it is in your list")


def test_what_is_typed_stays_while_the_page_is_drawn_again(console):
    page = console("/items")
    address, held = page.url, []
    page.goto("about:blank")  # no request of the page before is among those held
    is_holding = True
    page.route(
        "**/v1/categories", lambda route: held.append(route) if is_holding else route.continue_()
    )
    page.goto(address)
    field = page.get_by_label("Title, brand or category")
    page.get_by_role("grid", name="Items").locator("a").first.wait_for()
    page.evaluate(
        "() => { const later = setTimeout; window.setTimeout = (run, ms) => later(run, ms + 500); }"
    )
    field.fill("teapot")
    is_holding = False
    for route in held:
        route.continue_()
    page.get_by_role("option", name=re.compile("Audio")).wait_for(state="attached")

    expect(field).to_have_value("teapot")
    row = page.get_by_role("grid", name="Items").locator("a").first
    expect(row).to_have_text(re.compile("teapot", re.IGNORECASE))


def test_generations_are_compared_and_one_can_be_asked_back(console):
    page = console("/models?a=0&b=1")
    expect(page.get_by_role("columnheader", name=re.compile("^0"))).to_be_visible()
    expect(page.locator("[data-differs]").first).to_be_visible()
    expect(page.locator(".stat", has_text="In both lists").locator(".stat-value")).to_have_text(
        re.compile(r"\d+ %")
    )
    asked = []
    page.route(
        "**/v1/models/0/rollback",
        lambda route: (asked.append(route.request.method), route.fulfill(status=202, json={})),
    )
    if page.get_by_role("button", name="Roll back to it").count():
        page.get_by_role("button", name="Roll back to it").first.click()
        expect(part(page, "toast")).to_contain_text("generation 0 serves again")
        assert asked == ["POST"]


def test_rules_are_checked_while_typing_previewed_and_set(console, shop, visit):
    visit.expected = ("422",)  # the browser logs the answer to a wrong document
    post(shop, "steered-console", ("like", "p9"))
    page = console("/steering")
    editor = page.get_by_label("Rules as JSON")
    editor.fill('{"rules": [{"action": "pon"')
    expect(part(page, "check")).to_contain_text("not JSON yet")
    editor.fill('{"rules": [{"action": "pon", "name": "x"}]}')
    expect(part(page, "check")).to_contain_text("/rules/0/action")
    expect(page.get_by_role("button", name="Set it")).to_be_disabled()

    editor.fill('{"rules": [{"action": "pin", "name": "launch", "items": ["p9"]}]}')
    expect(part(page, "check")).to_contain_text("pin p9")
    page.get_by_role("button", name="Preview").click()
    expect(part(page, "previewed").first).to_be_visible()
    assert get(f"{shop}/v1/steering")["steering"] == {}

    page.get_by_role("button", name="Set it").click()
    expect(part(page, "toast")).to_contain_text("Set")
    expect(page.locator(".effect", has_text="pin p9").first).to_be_visible()
    assert get(f"{shop}/v1/steering")["steering"]["rules"][0]["name"] == "launch"

    editor.fill("{}")
    page.get_by_role("button", name="Set it").click()
    expect(part(page, "check")).to_contain_text("No rules")
    wait_until(
        lambda: get(f"{shop}/v1/steering")["steering"] == {}, lambda: "no rules", deadline_s=15
    )


def test_pages_are_reached_by_keyboard_and_by_the_buttons_of_the_browser(console):
    page = console("/pipeline")
    link = page.get_by_role("link", name="Models", exact=True)
    link.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Models")
    page.go_back()
    expect(page.locator("h1")).to_have_text("Pipeline")

    page.get_by_role("link", name="Users", exact=True).focus()
    page.keyboard.press("Enter")
    table = page.get_by_role("grid", name="Users")
    table.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(re.compile("^User "))


def test_an_address_that_does_not_exist_says_so(console):
    page = console("/users/a/b/c")

    expect(page.locator("h1")).to_have_text("No such page")


def test_a_number_says_what_it_means_when_focused(console):
    page = console("/pipeline")
    term = page.locator(".stat .term").first
    term.focus()

    expect(term.get_by_role("tooltip")).to_be_visible()
    expect(term.get_by_role("tooltip")).to_contain_text("no worker has committed")


def test_a_table_of_100000_rows_draws_only_what_is_seen(console, shop):
    page = console("/pipeline")
    rows = {"users": [row(nth) for nth in range(100_000)]}
    page.route("**/v1/users?*", lambda route: route.fulfill(json=rows))
    page.goto(f"{shop}/users?q=user")  # a search is not repeated every few seconds
    page.locator(".grid-row").first.wait_for()

    assert page.locator(".grid-row").count() < 60
    page.get_by_role("grid", name="Users").focus()
    begun = time.monotonic()
    page.keyboard.press("End")
    expect(page.locator(".grid-row", has_text="user-99999")).to_be_visible()
    assert time.monotonic() - begun < 5


def row(nth: int) -> dict[str, Any]:
    return {"user": f"user-{nth}", "n_items": 1, "n_events": 1, "last_ts": 1, "rec_id": ""}


def test_what_was_pruned_is_named_and_not_tried_again(console, visit, shop):
    visit.expected = ("410",)
    page = console("/pipeline")
    problem = {
        "status": 410,
        "title": "Gone",
        "detail": "partition 3 keeps events from offset 9 on",
    }
    page.route("**/v1/lists/*", lambda route: route.fulfill(status=410, json=problem))
    nothing = {"epoch": "e", "events": [], "older": "", "n_scanned": 0, "has_more": False}
    page.route("**/v1/events?user=u1&*", lambda route: route.fulfill(json=nothing))

    page.goto(f"{shop}/lists/r-0123456789abcdef")
    failed = page.locator("[data-state=failed]")
    expect(failed).to_contain_text(
        "can't be derived any more: partition 3 keeps events from offset 9"
    )
    expect(failed.get_by_role("button")).to_have_count(0)

    page.goto(f"{shop}/users/u1")
    expect(page.locator("[data-state=empty]").first).to_contain_text(
        "no longer keeps this user's events"
    )

    seen = {"id": "e", "type": "view", "user": "u2", "item": "p9", "ts": "2026-11-22T10:00:00Z"}
    entry = {"partition": 0, "offset": 9, "index": 0, "appended_ts": 1, "event": seen}
    kept = nothing | {"events": [entry], "is_pruned": True}
    page.route("**/v1/users/u2/**", lambda route: route.fulfill(status=410, json=problem))
    page.route("**/v1/events?user=u2&*", lambda route: route.fulfill(json=kept))
    page.goto(f"{shop}/users/u2")
    expect(page.get_by_text("1 moment with 1 event; older events were pruned")).to_be_visible()
