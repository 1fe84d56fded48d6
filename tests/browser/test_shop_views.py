"""The shop in a real browser: addresses, bursts of lists, what a click did, a stopped worker, a slow network."""

import contextlib
import itertools
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.browser.shop_client import expect, request

MOMENT_MS = 15_000
_users = itertools.count()


def new_user() -> str:
    return f"views-{next(_users)}"


def part(page: Any, name: str):
    return page.locator(f"[data-part={name}]")


def known_user(visit: Any, **more: Any) -> Any:
    page = visit(new_user(), **more)
    page.locator(".card [data-action=like]").nth(2).click()
    expect(part(page, "shelf-title")).to_have_text("For you", timeout=MOMENT_MS)
    page.locator(".because .mini").first.wait_for()
    return page


def test_search_category_and_product_have_addresses_that_survive_a_reload(visit, shop):
    page = visit("u1")
    part(page, "search").fill("teapot")
    expect(part(page, "products-title")).to_contain_text("teapot")
    page.wait_for_url("**q=teapot**")
    page.locator(".card-open").first.click()
    page.wait_for_url("**item=p**")
    title = page.get_by_role("dialog").locator("h2").inner_text()

    page.reload()
    expect(page.get_by_role("dialog").locator("h2")).to_have_text(title)
    expect(part(page, "persona-name")).to_have_text("Mara")
    page.keyboard.press("Escape")
    expect(part(page, "products-title")).to_contain_text("teapot")
    page.wait_for_url(lambda url: "item=" not in url)

    page.goto(f"{shop}/?category=Garden&user=u2")
    expect(part(page, "products-title")).to_have_text("Garden")
    expect(part(page, "persona-name")).to_have_text("Jonas")
    page.get_by_role("button", name=re.compile("^All")).click()
    page.go_back()
    expect(part(page, "products-title")).to_have_text("Garden")


def test_results_are_seen_at_once_while_one_types(visit):
    page = known_user(visit)
    part(page, "search").fill("tea")

    expect(part(page, "products-title")).to_contain_text("tea")
    card = page.locator(".card").first
    expect(card).to_be_in_viewport(ratio=0.5)


def test_many_lists_a_second_are_drawn_four_times_and_always_consistent(visit, shop):
    page = known_user(visit)
    user = re.search(r"user=([\w-]+)", page.url)[1]
    page.evaluate(
        """() => {
          window.drawn = []; window.torn = [];
          const list = document.querySelector("[data-part=shelf-list]");
          new MutationObserver(() => {
            const now = performance.now();
            if (now - (window.drawn.at(-1) ?? -100) > 40) window.drawn.push(now);
            const ranks = [...list.children].map((e) => Number(e.querySelector(".place-rank").textContent));
            const tops = [...list.children].map((e) => e.offsetTop);
            const isSorted = (values) => values.every((value, at) => at === 0 || value > values[at - 1]);
            if (!isSorted(ranks) || !isSorted(tops)) window.torn.push(ranks.join());
          }).observe(list, { childList: true, subtree: true, characterData: true, attributes: true, attributeFilter: ["data-rec"] });
        }"""
    )
    shelves: list[float] = []
    page.on(
        "request", lambda sent: shelves.append(time.monotonic()) if "shelves" in sent.url else None
    )
    for nth in range(80):
        body = {"type": "view", "user": user, "item": f"p{100 + nth}"}
        assert request(f"{shop}/v1/events", "POST", body) == 202
        page.wait_for_timeout(40)

    drawn = page.evaluate("() => window.drawn")
    assert page.evaluate("() => window.torn") == []
    assert len(drawn) > 4
    for at in drawn:
        # Four, and one more for the clock's grain.
        assert len([one for one in drawn if at <= one < at + 1000]) <= 5
    assert len(shelves) >= 2, "shelves follow during the burst, not only after it"


SOAK_S = int(os.environ.get("RECSTREAM_SOAK_S", "60"))
"""300 for five minutes, as in `RECSTREAM_SOAK_S=300 pytest -m slow -k minute tests/browser`."""


@pytest.mark.slow
def test_a_minute_of_twenty_lists_a_second_leaves_nothing_behind(visit, shop):
    user = new_user()
    page = visit(user)
    devtools = page.context.new_cdp_session(page)
    used: list[tuple[float, int]] = []

    def sizes() -> tuple[float, int]:
        devtools.send("HeapProfiler.collectGarbage")
        heap = devtools.send("Runtime.getHeapUsage")["usedSize"] / 1e6
        nodes = devtools.send("Memory.getDOMCounters")["nodes"]
        return heap, nodes

    def browse(first: int) -> None:
        """Send 400 events, as fast as twenty a second."""
        for at in range(first, first + 20):
            begun = time.monotonic()
            batch = [
                {"type": "view", "user": user, "item": f"p{1 + (20 * at + nth) % 480}"}
                for nth in range(20)
            ]
            for event in batch:
                assert request(f"{shop}/v1/events", "POST", event) == 202
            page.wait_for_timeout(max(0.0, 1000 - 1000 * (time.monotonic() - begun)))

    browse(0)
    for at in range(20, SOAK_S, 20):
        used.append(sizes())
        browse(at)
    used.append(sizes())

    # The activity and the times that are kept are full after the first 400 events.
    heaps, nodes = zip(*used, strict=True)
    assert heaps[-1] < 1.15 * heaps[0] + 1.0, used
    assert nodes[-1] < 1.2 * nodes[0] + 200, used


def test_one_line_says_what_a_click_did(visit):
    page = known_user(visit)
    expect(part(page, "shelf-effect")).to_have_text(re.compile(r"^You liked .* → \d+ (new|moved)"))

    page.locator(".card [data-action=cart]").nth(4).click()
    expect(part(page, "shelf-effect")).to_have_text(
        re.compile(r"^You put .* in the cart → (\d+ (new|moved)|the same products|your list)"),
        timeout=MOMENT_MS,
    )


def test_a_product_that_left_the_list_says_so_and_gives_the_focus_to_its_place(visit):
    page = known_user(visit)
    place = page.locator(".place-open").nth(2)
    title = place.inner_text()
    place.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=title)).to_be_visible()
    expect(page.locator("#why-title")).to_have_text("Why it was in your list")
    expect(part(page, "why-left")).to_contain_text("it has left the list")
    expect(page.locator(".place-open", has_text=title)).to_have_count(0)

    page.keyboard.press("Escape")

    expect(page.locator(".place-open").nth(2)).to_be_focused()


def test_actions_and_users_are_those_that_the_log_has(visit):
    context = visit.browser.new_context(viewport={"width": 1440, "height": 900})
    visit.contexts.append(context)
    nothing = {"epoch": "", "events": [], "older": "", "n_scanned": 1, "has_more": False}
    for kind in ("cart", "purchase"):
        context.route(f"**/v1/events?type={kind}&*", lambda route: route.fulfill(json=nothing))
    context.route(re.compile(r"/v1/users/u\d/events"), lambda route: route.fulfill(json=nothing))
    page = visit.open(context)

    expect(page.locator(".card [data-action=purchase]")).to_have_count(0)
    expect(page.locator(".card [data-action=like]").first).to_be_visible()
    part(page, "persona").click()
    expect(page.get_by_role("button", name="Mara")).to_have_count(0)


@pytest.mark.slow
def test_a_stopped_worker_is_seen_on_every_page_and_recovers(visit, shop, shop_folder):
    page = visit(new_user())
    worker = worker_process(shop_folder)
    os.kill(worker, signal.SIGSTOP)
    try:
        request(f"{shop}/v1/events", "POST", {"type": "view", "user": "u9", "item": "p1"})
        expect(part(page, "banner-text")).to_contain_text("The worker is down", timeout=60_000)
        expect(part(page, "connection")).to_have_attribute("data-phase", "failed")
        page.goto(f"{shop}/pipeline")
        expect(page.locator(".flow-place[data-state=down]")).to_contain_text("Worker")
        expect(page.locator("tr", has_text="worker").locator(".tag")).to_have_text("down")
    finally:
        os.kill(worker, signal.SIGCONT)

    expect(part(page, "connection")).to_have_attribute("data-phase", "live", timeout=60_000)
    expect(part(page, "banner")).to_be_hidden()


def worker_process(folder: Path) -> int:
    """Return the process id of the worker of the shop in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"worker" in words and any(bytes(folder) in word for word in words):
                found.append(int(path.parent.name))
    (pid,) = found
    return pid


@pytest.mark.slow
def test_the_first_list_is_there_within_three_seconds_on_fast_3g(visit, shop):
    context = visit.browser.new_context(viewport={"width": 1440, "height": 900})
    visit.contexts.append(context)
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    network.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": 562.5,
            "downloadThroughput": 1.6e6 * 0.9 / 8,
            "uploadThroughput": 750e3 * 0.9 / 8,
        },
    )
    wire: list[float] = []
    network.on("Network.loadingFinished", lambda sent: wire.append(sent["encodedDataLength"]))
    begun = time.monotonic()
    page.goto(f"{shop}/?user=u1", wait_until="commit")
    page.locator(".place-open").first.wait_for()
    took_s = time.monotonic() - begun

    assert took_s < 3
    page.wait_for_load_state("networkidle")
    assert sum(wire) < 120_000
