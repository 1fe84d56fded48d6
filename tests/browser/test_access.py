"""The page for everybody: by keyboard, by name, at every width, in both colour schemes."""

import pytest

from tests.browser.looks import looks, resize
from tests.browser.shop_client import expect

NAMELESS = """() => {
  const nameOf = (element) => {
    const labelled = element.getAttribute("aria-labelledby");
    const byId = labelled && document.getElementById(labelled)?.textContent;
    const label = element.labels?.[0]?.textContent;
    return (element.getAttribute("aria-label") || byId || label || element.textContent).trim();
  };
  const wanted = "button, a[href], input, dialog[open], section, aside, [role=progressbar], [role=img]";
  return [...document.querySelectorAll(wanted)]
    .filter((element) => !element.closest("[hidden]") && nameOf(element) === "")
    .map((element) => element.outerHTML.slice(0, 120));
}"""

# Colours come back in any notation; a canvas turns each into bytes of sRGB.
FAINT = """() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const read = (colour, under) => {
    context.fillStyle = `rgb(${under.join(" ")})`;
    context.fillRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
    return layers.reduce((under, colour) => read(colour, under), [255, 255, 255]);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!hasText || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest(".visually-hidden, .skip-link, noscript, :disabled")) continue;
    const style = getComputedStyle(element);
    const under = behind(element);
    const [a, b] = [luminance(read(style.color, under)), luminance(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) {
      faint.push(`${ratio.toFixed(2)} ${element.className} ${element.textContent.trim().slice(0, 30)}`);
    }
  }
  return faint;
}"""


def part(page, name: str):
    return page.locator(f"[data-part={name}]")


def test_nothing_sticks_out_sideways(visit):
    page = visit("u1")
    page.locator(".because .mini").first.wait_for()
    widths = [320, 375, 600, 768, 1024, 1280, 1600, 2200]

    def sticking_out() -> list[int]:
        found = []
        for width in widths:
            resize(page, width, 800)
            if page.evaluate("() => document.documentElement.scrollWidth") > width:
                found.append(width)
        return found

    assert sticking_out() == []
    part(page, "steer-toggle").click()
    assert sticking_out() == []


def test_texts_for_a_first_visitor_are_not_cut_off(visit):
    page = visit()
    expect(part(page, "latency-caption")).to_contain_text("is measured.")

    for width in [320, 375, 600, 768, 960, 1100, 1440, 2200]:
        resize(page, width, 800)
        for name in ("latency-caption", "training-text", "shelf-note", "hint"):
            cut = part(page, name).evaluate(
                "(e) => [e.scrollWidth - e.clientWidth, e.scrollHeight - e.clientHeight]"
            )
            assert max(cut) <= 1, (width, name)


@pytest.mark.parametrize("width", [375, 768, 1440])
def test_a_title_of_one_long_word_stays_where_it_belongs(visit, width):
    page = visit("u1", width=width)
    page.locator(".because .mini").first.wait_for()

    outside = page.evaluate("""() => {
      for (const title of document.querySelectorAll(".place-open, .card-open, .mini-open")) {
        title.textContent = "Donaudampfschifffahrtsgesellschaftskapitän".repeat(4);
      }
      const caption = document.querySelector("[data-part=latency-caption]");
      caption.textContent = `after you liked ${"Donaudampfschifffahrt".repeat(9)}`;
      const places = [...document.querySelectorAll(".place, .card, .mini"), caption.parentElement];
      const right = (element) => element.getBoundingClientRect().right;
      return places.filter((place) =>
        [...place.querySelectorAll("button, span")].some((e) => right(e) > right(place) + 1)).length;
    }""")

    assert outside == 0


def test_everything_one_can_use_or_jump_to_has_a_name(visit):
    page = visit("u1")
    part(page, "persona").click()
    assert page.evaluate(NAMELESS) == []

    page.keyboard.press("Escape")
    part(page, "steer-toggle").click()
    assert page.evaluate(NAMELESS) == []

    page.keyboard.press("Escape")
    page.locator(".card-open").first.click()
    page.locator("dialog .mini").first.wait_for()

    assert page.evaluate(NAMELESS) == []


def test_there_is_one_of_each_landmark_and_no_id_twice(visit):
    page = visit()

    assert page.locator("main").count() == 1
    assert page.locator("h1").count() == 1
    assert page.get_by_role("banner").count() == 1
    assert page.get_by_role("contentinfo").count() == 1
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert sorted(ids) == sorted(set(ids))


def test_text_is_readable_on_its_ground(visit):
    page = visit("u1", reduced_motion="reduce")

    def faint() -> list[str]:
        found = [f"{look} {text}" for look in looks(page) for text in page.evaluate(FAINT)]
        resize(page, 1440)
        return found

    page.locator("[data-action=cart]").first.click()
    page.locator(".because .mini").first.wait_for()
    assert faint() == []

    part(page, "steer-toggle").click()
    part(page, "push-choices").wait_for()
    assert faint() == []

    part(page, "steer-close").click()
    page.locator(".place-open").first.click()
    page.locator("dialog .mini").first.wait_for()
    page.locator("dialog .sum summary").click()

    assert faint() == []


def test_the_keyboard_alone_opens_likes_and_leaves_a_product(visit):
    page = visit()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the products")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.matches('.card-open')"):
            break
    opener = page.locator(".card-open").first
    expect(opener).to_be_focused()

    page.keyboard.press("Enter")
    expect(page.locator("dialog.product")).to_be_visible()
    page.locator("dialog.product [data-action=like]").focus()
    page.keyboard.press("Space")
    expect(page.locator("dialog.product [data-action=like]")).to_have_attribute(
        "aria-pressed", "true"
    )

    page.keyboard.press("Escape")
    expect(page.locator("dialog.product")).to_be_hidden()
    expect(opener).to_be_focused()


def test_focus_is_seen_where_it_is(visit):
    page = visit()
    for name in ("search", "theme", "persona", "engine-toggle"):
        part(page, name).focus()
        page.keyboard.press("Shift")
        outline = part(page, name).evaluate("(element) => getComputedStyle(element).outlineStyle")
        assert outline != "none", name


def test_focus_stays_with_its_product_when_the_list_moves(visit):
    page = visit("focus-keeper")
    place = page.locator(".place").nth(3)
    key = place.get_attribute("data-key")
    place.locator(".place-open").focus()

    page.evaluate("() => document.querySelector('.card [data-action=like]').click()")
    expect(part(page, "shelf-title")).to_have_text("For you")

    focused = page.evaluate("() => document.activeElement.closest('.place')?.dataset.key ?? null")
    kept = page.locator(f".place[data-key='{key}']")
    neighbour = page.locator(".place").nth(3)
    assert focused == (kept if kept.count() else neighbour).get_attribute("data-key")


def test_a_new_list_is_announced_once_in_a_sentence(visit):
    page = visit()
    page.locator(".card [data-action=like]").nth(2).click()

    expect(part(page, "announcer")).to_contain_text("Your list changed", timeout=15_000)


def test_the_colours_chosen_stay_chosen(visit):
    page = visit(color_scheme="light")
    page.get_by_role("button", name="Colours: auto").click()
    page.get_by_role("button", name="Colours: light").click()
    page.reload()

    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    scheme = page.evaluate("() => getComputedStyle(document.documentElement).colorScheme")
    assert scheme == "dark"


def test_the_hint_is_shown_until_it_was_read(visit):
    page = visit()
    expect(part(page, "hint")).to_be_visible()
    page.get_by_role("button", name="Got it").click()
    page.reload()

    page.locator(".card-open").first.wait_for()
    expect(part(page, "hint")).to_be_hidden()
