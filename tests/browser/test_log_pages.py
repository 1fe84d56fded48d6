"""The log, lists, dead letters and the lab: each does what its user came for, also by keyboard."""

import json
import re
from typing import Any
from urllib.parse import quote

import pytest

from recstream.log.embedded import EmbeddedLog
from recstream.log.port import NewRecord
from tests.browser.looks import settle, violations
from tests.browser.shop_client import expect, get, request
from tests.waiting import wait_until

SLOW_MS = 60_000
"""For derivations on a busy machine."""
INTERACTIONS = "/log/recstream.interactions"
RECOMMENDATIONS = "/log/recstream.recommendations"


def part(page: Any, name: str) -> Any:
    return page.locator(f"[data-part={name}]")


def goto(visit: Any, path: str, *, width: int = 1440, height: int = 900, **more: Any) -> Any:
    """Return a page of a fresh browser profile at an address."""
    context = visit.browser.new_context(viewport={"width": width, "height": height}, **more)
    context.set_default_timeout(SLOW_MS)
    visit.contexts.append(context)
    page = context.new_page()
    page.on("console", visit._heard)
    page.on("pageerror", lambda error: visit.troubles.append(f"uncaught: {error}"))
    page.goto(visit.url + path)
    page.locator(".page-title").wait_for()
    return page


def send(url: str, user: str, item: str, type_: str = "view", **more: Any) -> None:
    body = {"user": user, "item": item, "type": type_, "id": f"{user}-{item}-{type_}", **more}
    assert request(f"{url}/v1/events", "POST", body) == 202


def list_of(url: str, user: str) -> Any:
    return get(f"{url}/v1/users/{user}/recommendations")


def newest(url: str, user: str) -> int:
    """Return the offset of a user's newest event."""
    return int(get(f"{url}/v1/users/{user}/events")["events"][0]["offset"])


def list_after(url: str, user: str) -> Any:
    """Return the list that was published for a user's newest event."""
    offset = newest(url, user)

    def ask() -> Any:
        body = list_of(url, user)
        return body if body.get("offset", -1) >= 0 and body["as_of"]["offset"] == offset else None

    return wait_until(ask, lambda: f"a list of {user}", deadline_s=60)


@pytest.fixture(scope="module")
def moved(shop):
    """A user whose first item left the list when liked: user, item, list before, list after."""
    user = "engineer"
    for item in ("p1", "p2", "p3"):
        send(shop, user, item)
        before = list_after(shop, user)
    item = before["items"][0]["item"]
    send(shop, user, item, "like")
    return user, item, before, list_after(shop, user)


def test_an_engineer_finds_the_event_that_moved_an_item_out_and_sends_the_link(visit, moved):
    user, item, _, after = moved
    page = goto(visit, f"{INTERACTIONS}?user={user}")
    scrubber = page.get_by_role("slider", name="Event of the user")
    expect(part(page, "left").locator(f"[data-key={item}]")).to_contain_text(
        "moved out by this event", timeout=SLOW_MS
    )
    scrubber.focus()
    page.keyboard.press("ArrowLeft")
    expect(part(page, "left").locator(f"[data-key={item}]")).to_have_count(0, timeout=SLOW_MS)
    page.keyboard.press("ArrowRight")
    expect(part(page, "left").locator(f"[data-key={item}]")).to_have_count(1, timeout=SLOW_MS)
    expect(part(page, "scrub-event")).to_contain_text("liked")
    wait_until(
        lambda: f"as_of={after['as_of']['offset']}" in page.url, lambda: page.url, deadline_s=20
    )

    colleague = goto(visit, page.url.removeprefix(visit.url))

    expect(part(colleague, "left").locator(f"[data-key={item}]")).to_contain_text(
        "moved out by this event", timeout=SLOW_MS
    )


def test_records_are_filtered_opened_and_lead_on(visit, moved):
    user, item, _, after = moved
    page = goto(visit, INTERACTIONS)
    page.get_by_role("textbox", name="User").fill(user)
    page.get_by_label("Type").fill("like")
    page.keyboard.press("Enter")
    rows = page.locator(".grid-row")
    expect(rows).to_have_count(1)
    assert f"user={user}" in page.url

    page.get_by_role("grid", name="Records").focus()
    page.keyboard.press("Enter")

    drawer = page.get_by_role("dialog")
    expect(drawer).to_contain_text(f'"item": "{item}"')
    expect(drawer.get_by_role("link", name=f"Lists of {user} as of here")).to_have_attribute(
        "href", re.compile(f"as_of={after['as_of']['offset']}")
    )
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)


def test_pages_of_records_are_loaded_on_both_sides_of_a_time(visit):
    page = goto(visit, f"{RECOMMENDATIONS}?at={quote('2020-01-01 00:00')}")
    expect(part(page, "found")).to_contain_text(re.compile(r"\d+ shown"))
    first = page.locator(".grid-row").first.inner_text()

    page.get_by_role("grid", name="Records").focus()
    page.keyboard.press("End")
    newest = goto(visit, RECOMMENDATIONS)
    expect(part(newest, "found")).to_contain_text("100 shown")
    part(newest, "older").click()
    expect(part(newest, "found")).to_contain_text(re.compile("(1[0-9]{2}|200) shown"))

    assert first


def test_new_records_are_followed_live(visit, shop):
    page = goto(visit, f"{INTERACTIONS}?user=live-one&live=1")
    expect(part(page, "live")).to_have_text("Following (live)")

    send(shop, "live-one", "p9", "cart")

    expect(page.locator(".grid-row")).to_contain_text("cart p9")


def test_a_lists_page_shows_its_whole_origin(visit, shop, moved):
    user, _, before, after = moved
    send(shop, user, after["items"][1]["item"], "click", rec_id=after["rec_id"])
    page = goto(visit, f"/lists/{after['rec_id']}")

    expect(part(page, "derived")).to_contain_text("identical, byte for byte", timeout=SLOW_MS)
    expect(part(page, "origin-event")).to_contain_text("liked")
    expect(page.get_by_role("link", name="List before")).to_have_attribute(
        "href", f"/lists/{before['rec_id']}"
    )
    expect(part(page, "uses")).to_contain_text("opened")


def test_a_lists_page_folds_the_events_of_a_long_record(visit, shop):
    found = next(
        each
        for each in get(
            f"{shop}/v1/log/recstream.recommendations/records?limit=100&at=2020-01-01T00:00:00Z"
        )["records"]
        if len(get(f"{shop}/v1/lists/{each['value']['rec_id']}")["events"]) > 6
    )
    page = goto(visit, f"/lists/{found['value']['rec_id']}")
    expect(part(page, "derived")).to_be_visible(timeout=SLOW_MS)

    events = part(page, "origin-event")
    shown = events.filter(visible=True)
    expect(shown).to_have_count(5)
    part(page, "earlier").locator("summary").first.click()
    expect(shown).to_have_count(events.count())


def test_a_list_that_does_not_exist_says_why(visit):
    visit.expected = ("404",)
    page = goto(visit, "/lists/r-0000")

    expect(page.get_by_role("alert")).to_contain_text("no list 'r-0000' was published")


def test_a_dead_letter_is_mended_and_sent_again(visit, shop, tmp_path_factory):
    path = min(tmp_path_factory.getbasetemp().glob("shop*/log.db"))
    event = {"id": "odd", "type": "dance", "user": "mender", "item": "p5"}
    event["ts"] = "2026-01-01T00:00:00Z"
    log = EmbeddedLog(path)
    log.append([NewRecord("recstream.interactions", b"mender", json.dumps(event).encode())])
    log.close()
    wait_until(
        lambda: "invalid-enum" in get(f"{shop}/v1/dead-letters")["reasons"],
        lambda: "a dead letter",
        deadline_s=60,
    )
    visit.expected = ("422",)
    page = goto(visit, "/dead-letters?reason=invalid-enum")
    page.get_by_role("grid", name="Dead letters").focus()
    page.keyboard.press("Enter")
    content = page.get_by_label("Content")
    expect(content).to_have_value(re.compile("dance"))

    content.fill(json.dumps(event | {"type": "jump"}))
    page.get_by_role("button", name="Send the mended content").click()
    expect(part(page, "letter-error")).to_contain_text("can't be read either")
    content.fill(json.dumps(event | {"type": "like"}))
    page.get_by_role("button", name="Send the mended content").click()

    expect(part(page, "letter-sent")).to_contain_text("interactions")
    wait_until(
        lambda: get(f"{shop}/v1/users/mender/history")["entries"],
        lambda: "the mended event in the history",
        deadline_s=60,
    )


def test_taking_an_event_away_shows_the_other_list_and_the_link_keeps_it(visit, moved):
    user, item, _, after = moved
    page = goto(visit, f"/lab?user={user}&as_of={after['as_of']['offset']}")
    expect(part(page, "what-if-words")).to_contain_text("would be the same", timeout=SLOW_MS)

    page.get_by_role("checkbox", name="liked").uncheck()
    would = part(page, "would").locator(f"[data-key={item}]")
    expect(would).to_be_visible(timeout=SLOW_MS)
    expect(would).to_contain_text("new")

    colleague = goto(visit, page.url.removeprefix(visit.url))
    expect(part(colleague, "would").locator(f"[data-key={item}]")).to_be_visible(timeout=SLOW_MS)
    expect(colleague.get_by_role("checkbox", name="liked")).not_to_be_checked()


def test_an_added_event_and_other_weights_are_tried(visit, moved):
    user, *_ = moved
    page = goto(visit, f"/lab?user={user}")
    form = page.get_by_role("form", name="Add an event")
    form.get_by_label("Item").fill("p200")
    page.keyboard.press("Enter")
    expect(part(page, "added")).to_contain_text("like:p200")
    page.get_by_label("Rules").select_option("blend")
    page.get_by_label("Popularity").fill("5")
    page.keyboard.press("Enter")

    expect(part(page, "what-if-words")).to_contain_text("would be new", timeout=SLOW_MS)
    assert "popularity=5" in page.url


@pytest.mark.usefixtures("moved")
def test_a_range_is_replayed_without_the_factors(visit):
    page = goto(visit, "/lab?view=log")
    page.get_by_label("Rules").select_option("blend")
    page.get_by_label("Factors").fill("0")
    page.get_by_label("Content").fill("0")
    page.get_by_label("Behaviour neighbours").fill("0")
    page.get_by_role("button", name="Replay").click()

    expect(part(page, "replay")).to_contain_text("Hit@10", timeout=SLOW_MS)
    assert "factors=0" in page.url


def test_traffic_is_switched_on_and_off(visit, shop):
    page = goto(visit, "/lab?view=traffic")
    page.get_by_label("Events a second").fill("20")
    page.get_by_role("button", name="Switch on").click()
    wait_until(lambda: get(f"{shop}/v1/traffic")["n_sent"] > 0, lambda: "traffic", deadline_s=20)
    page.get_by_role("button", name="Switch off").click()

    expect(page.get_by_role("button", name="Switch on")).to_be_enabled()
    assert get(f"{shop}/v1/traffic")["rate"] == 0


def test_a_slice_is_exported_and_looked_into(visit, moved):
    user, *_ = moved
    page = goto(visit, f"{INTERACTIONS}?user={user}")
    page.get_by_role("button", name="Export a slice").click()
    page.get_by_role("button", name="Export", exact=True).click()
    expect(part(page, "exported")).to_contain_text("records", timeout=SLOW_MS)
    page.get_by_role("link", name="look into it").click()
    page.get_by_role("link", name="interactions").click()

    expect(page.locator(".grid-row").first).to_be_visible()
    expect(page.locator(".page-title")).to_contain_text("interactions in slice-")


def test_a_slice_of_a_colleague_is_opened_from_a_file(visit, moved, shop, tmp_path):
    user, *_ = moved
    page = goto(visit, f"{INTERACTIONS}?user={user}")
    page.get_by_role("button", name="Export a slice").click()
    page.get_by_role("button", name="Export", exact=True).click()
    download = page.get_by_role("link", name="download")
    with page.expect_download(timeout=SLOW_MS) as saved:
        download.click()
    path = tmp_path / "from-a-colleague.zip"
    saved.value.save_as(path)

    page.goto(f"{shop}/log")
    page.get_by_label("Open a file").set_input_files(path)

    expect(page.locator(".page-title")).to_contain_text("from-a-colleague", timeout=SLOW_MS)
    page.get_by_role("link", name="interactions").click()
    expect(page.locator(".grid-row").first).to_be_visible()

    visit.expected = ("400",)
    path.write_bytes(b"no slice")
    page.goto(f"{shop}/log")
    page.get_by_label("Open a file").set_input_files(path)
    expect(page.get_by_role("alert")).to_contain_text("must be a file that")


def test_anything_is_found_by_keyboard(visit, moved):
    user, _, _, after = moved
    page = goto(visit, "/log")
    page.keyboard.press("/")
    page.keyboard.type(user)
    expect(page.get_by_role("option", name=user)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{visit.url}/users/{user}")

    page.keyboard.press("Control+k")
    page.keyboard.type(after["rec_id"])
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{visit.url}/lists/{after['rec_id']}")

    page.keyboard.press("Control+k")
    page.keyboard.type(f"{after['as_of']['partition']}:{after['as_of']['offset']}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text(user)


PATHS = (
    "/log",
    INTERACTIONS + "?user={user}",
    RECOMMENDATIONS + "?user={user}&open={list}",
    "/lists/{rec_id}",
    "/dead-letters",
    "/lab?user={user}",
    "/lab?view=log&rules=json",
    "/lab?view=traffic",
)


@pytest.mark.parametrize("path", PATHS)
def test_no_page_has_a_violation_or_sticks_out(visit, moved, path):
    user, _, _, after = moved
    place = f"{after.get('partition', 0)}:{after['offset']}"
    at = path.format(user=user, rec_id=after["rec_id"], list=place)
    page = goto(visit, at, reduced_motion="reduce")
    settle(page)

    assert violations(page) == []
