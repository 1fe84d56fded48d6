"""A page in all its looks: wide and narrow, light and dark, without loading it again."""

from collections.abc import Iterator
from typing import Any

from tests.browser.shop_client import expect

WIDTHS = (1440, 375)


def looks(page: Any) -> Iterator[tuple[int, str]]:
    """Draw a page at each width in each colour scheme; yield which is drawn."""
    for width in WIDTHS:
        resize(page, width)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            next_frame(page)
            yield width, scheme


def resize(page: Any, width: int, height: int = 900) -> None:
    """Change the width of a page, and wait until it is drawn."""
    page.set_viewport_size({"width": width, "height": height})
    next_frame(page)


def next_frame(page: Any) -> None:
    """Wait until what changed is drawn, and transitions are over."""
    page.evaluate("""async () => {
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      const ends = (each) => Number.isFinite(each.effect.getComputedTiming().endTime);
      await Promise.allSettled(document.getAnimations().filter(ends).map(({ finished }) => finished));
    }""")


def settle(page: Any) -> None:
    """Wait until a page of the console has what it shows."""
    page.locator("h1").wait_for()
    expect(page.locator(".state", has_text="Loading")).to_have_count(0)
    page.evaluate("() => document.fonts.ready")


def violations(page: Any, part: str | None = None) -> list[str]:
    """Return what axe-core finds in a page or a part of it, in all its looks, and what sticks out.

    Dark colours can change nothing but contrasts.
    """
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - with the browser

    found = []
    for width, scheme in looks(page):
        options: dict[str, Any] = {"resultTypes": ["violations"]}
        if scheme == "dark":
            options["runOnly"] = ["color-contrast"]
        answer = Axe().run(page, context=part, options=options).response
        found += [
            f"{width} {scheme} {each['id']}: {node['html'][:160]}"
            for each in answer["violations"]
            for node in each["nodes"]
        ]
        if page.evaluate("() => document.documentElement.scrollWidth") > width:
            found.append(f"{width} sticks out")
    resize(page, WIDTHS[0])
    return found
