"""Clean a row of a product file into an `Item`, or return the reason why there is none."""

import html
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from recstream.core.content.categories import category_levels
from recstream.core.content.product_fields import ATTRIBUTE, cell_value, read_product_fields
from recstream.core.events import MAX_ID_CHARACTERS, is_printable
from recstream.core.records import Item

PRODUCT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    field: tuple(names.split())
    for field, names in {
        "item": "parent_asin asin item item_id product_id productid article_id variant_sku sku id",
        "title": "title name product_name prod_name product_type",
        "category": "main_category main_cat category categories department genres product_type "
        "google_product_category product_category type product_group_name",
        "brand": "brand store manufacturer vendor",
        "price": "price list_price variant_price regular_price",
        "description": "description feature features body_(html) detail_desc",
        "image": "image imurl image_url imageurlhighres imageurl images image_link image_src",
        "available": "available availability in_stock in_stock? is_in_stock stock_status",
        "from": "from available_from",
        "until": "until available_until",
        "vector": "vector embedding",
        "attributes": "attributes",
    }.items()
}
"""By field of an item: columns to take it from; the first with a value wins. See `column_name`."""
_NOT_AVAILABLE = frozenset({"false", "0", "no", "out_of_stock", "out of stock", "outofstock"})

MAX_TITLE = 500
MAX_DESCRIPTION = 2000
MAX_PATH = 8
MAX_PRICE = 1e15
MAX_ADDRESS = 2000
MAX_EXACT = 2.0**53
_OPENING = re.compile(r"<(script\b|style\b|!--)|</?[a-zA-Z][^<>]*>", re.IGNORECASE)
_TAG = re.compile("[^<>]*>")
_CLOSING = {
    "script": re.compile(r"</script\s*>", re.IGNORECASE),
    "style": re.compile(r"</style\s*>", re.IGNORECASE),
    "!--": re.compile("-->"),
}
_SCRIPT = re.compile(r"^\s*(var\s+\w+\s*=|function\s*\(|\$\(document\))")
_NUMBER = re.compile(r"\d(?:[\d.,'’\u00a0\u202f ]*\d)?")
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:\.\d+)*\.\d{3}|[1-9]\d{0,2}(?:,\d+)*,\d{3}")
_AROUND_BRAND = re.compile(
    r"^(?:by\s*\n\s*(.*)|visit the\s(.*)\sstore)$", re.IGNORECASE | re.DOTALL
)
_NOTHING = frozenset({"", "none", "null", "nan", "n/a", "na", "unknown", "undefined", "-"})
_NO_CATEGORY = _NOTHING | {"simple", "variable", "variation", "grouped", "configurable"}
"""Product types of WooCommerce and Magento stand in columns that other shops have categories in."""


class CleanProduct(NamedTuple):
    """A row's item, and the repairs made to it."""

    item: Item
    repairs: tuple[str, ...]


class RejectedRow(NamedTuple):
    """A row without a valid item, and why."""

    reason: str
    shown: str = ""


def clean_product(
    row: Mapping[str, Any], columns: Mapping[str, str] | None = None
) -> CleanProduct | RejectedRow:
    """Return a row's product, or why the row is rejected.

    Parameters
    ----------
    row : mapping
        Values by column; texts, numbers, or lists of them.
    columns : mapping, optional
        By field of an item, the column to take; ``attributes.NAME`` is an attribute. Other fields
        use the names in `PRODUCT_COLUMNS`.

    Examples
    --------
    >>> clean_product({"asin": "B1", "title": "Salt &amp; Pepper", "price": "$1,299.00"}).repairs
    ('entities or tags in the title', 'price had more than a number')
    >>> clean_product({"asin": "B1"})
    RejectedRow(reason='no title', shown='B1')
    """
    found = _fields(row, columns or {})
    name = _id(found.get("item"))
    if not name:
        return RejectedRow("no id", _plain(found.get("title"))[:60])
    if len(name) > MAX_ID_CHARACTERS or not is_printable(name):
        return RejectedRow("id is too long or not printable", repr(name[:60]))
    raw_title = _joined(found.get("title"))
    if _SCRIPT.match(raw_title):
        return RejectedRow("title is a script", name)
    title = clean_text(raw_title)[:MAX_TITLE]
    if title.casefold() in _NOTHING:
        return RejectedRow("no title", name)
    path = _path(found.get("category"), row)
    price, price_text = parse_price(found.get("price")), _plain(found.get("price"))
    is_low = _is_number(price_text) and float(price_text) <= 0.0
    repairs = {
        "characters in the title that can't be read; is it --encoding?": _is_damaged(raw_title),
        "entities or tags in the title": not _is_damaged(raw_title)
        and title != " ".join(raw_title.split())[:MAX_TITLE],
        "price had more than a number": price is not None and not _is_number(price_text),
        "price of 0 or less, which is none": price is None and is_low,
        "price could not be read": price is None
        and not is_low
        and price_text.casefold() not in _NOTHING,
    }
    more = read_product_fields(found)
    repairs |= dict.fromkeys(more.unread, True)
    levels = {"categories": path[:MAX_PATH]} if len(path) > 1 else {}
    item = Item(
        item=name,
        title=title,
        category=path[0] if path else "",
        brand=_brand(found.get("brand")),
        price=price,
        description=clean_text(_joined(found.get("description")))[:MAX_DESCRIPTION],
        image=_image(found.get("image")),
        attributes=more.attributes | levels,
        available=_plain(found.get("available")).casefold() not in _NOT_AVAILABLE,
        from_=more.from_,
        until=more.until,
        vector=more.vector,
    )
    return CleanProduct(item, tuple(what for what, is_so in repairs.items() if is_so))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def clean_text(text: str) -> str:
    """Return a text in one line, without tags and entities.

    Entities that were escaped twice are unescaped twice. Unprintable characters become spaces.

    >>> clean_text("  <b>Tom &amp;amp; Jerry&#39;s</b><br/>mug ")
    "Tom & Jerry's mug"
    >>> clean_text("a < b > c")
    'a < b > c'
    """
    for _ in range(2):
        text = html.unescape(text)
    text = _without_tags(text)
    return " ".join("".join(c if is_printable(c) else " " for c in text).split())


def _without_tags(text: str) -> str:
    """Return a text with a space for each tag, comment, script and style, in one pass."""
    kept: list[str] = []
    closings: dict[str, re.Match[str] | None] = {}
    at = begin = 0
    while opening := _OPENING.search(text, at):
        at, kind = opening.end(), (opening[1] or "").lower()
        end = at
        if kind:
            closing = closings.get(kind)
            if kind not in closings or (closing is not None and closing.start() < at):
                closing = closings[kind] = _CLOSING[kind].search(text, at)
            # An unclosed <script> or <style> counts as one tag; an unclosed comment stays text.
            found = closing or (None if kind == "!--" else _TAG.match(text, at))
            if found is None:
                continue
            at = end = found.end()
        kept.append(text[begin : opening.start()])
        begin = end
    return " ".join([*kept, text[begin:]])


def parse_price(value: object) -> float | None:
    """Return a price above 0, the lower end of a range, or None without one.

    A comma or point before three last digits groups thousands where one to three digits, the first not
    0, stand before it and there is no other sign; else it is decimal.

    >>> [parse_price(text) for text in ("$1,299.99", "12,50 €", "1.299", "$5 - $9", "call us")]
    [1299.99, 12.5, 1299.0, 5.0, None]
    >>> [parse_price(text) for text in ("34.0000", "0.990", "-5.00")]
    [34.0, 0.99, None]
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        number = float(value) if abs(value) < MAX_PRICE else math.inf
    else:
        text = _plain(value).split(" - ")[0]
        match = _NUMBER.search(text)
        if match is None or text.startswith("-"):
            return None
        digits = re.sub(r"[^\d.,]", "", match.group())
        whole, separator, rest = _decimal(digits)
        number = float(re.sub(r"\D", "", whole) + ("." + rest if separator else ""))
    return round(number, 2) if 0 < number < MAX_PRICE else None


def _decimal(digits: str) -> tuple[str, str, str]:
    """Return a number's whole part, its decimal separator if it has one, and what follows it."""
    at = max(digits.rfind("."), digits.rfind(","))
    if at < 0 or _GROUPED.fullmatch(digits):
        return digits, "", ""
    return digits[:at], digits[at], digits[at + 1 :]


def column_name(name: object) -> str:
    """Return a column's name in the form of `PRODUCT_COLUMNS`.

    >>> column_name("Image Link"), column_name("g:id")
    ('image_link', 'id')
    """
    return str(name).strip().casefold().replace(" ", "_").removeprefix("g:")


def _fields(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Return the row's values by field of an item."""
    by_name = {column_name(name): value for name, value in row.items()}
    found: dict[str, Any] = {}
    own = {column_name(column) for name, column in columns.items() if name.startswith(ATTRIBUTE)}
    for field, names in PRODUCT_COLUMNS.items():
        wanted = (column_name(columns[field]),) if field in columns else names
        if field == "attributes" and own.issuperset(wanted):
            continue
        for name in wanted:
            value = by_name.get(name)
            if value not in (None, "", [], {}):
                found[field] = value
                break
    named = {
        field.partition(".")[2]: by_name.get(column_name(column))
        for field, column in columns.items()
        if field.startswith(ATTRIBUTE)
    }
    if named:
        found[ATTRIBUTE] = {k: cell_value(v) for k, v in named.items() if v not in (None, "")}
    return found


def _plain(value: object) -> str:
    """Return a value as text, without spaces around it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def _id(value: object) -> str:
    """Return an id as text; empty where a value is no text or exact number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, float) and not abs(value) < MAX_EXACT:
        return ""
    return _plain(value)


def _joined(value: object) -> str:
    """Return a text, or several of a list in one; empty for other values."""
    if isinstance(value, list | tuple):
        return " ".join(_plain(each) for each in value if isinstance(each, str | int | float))
    return _plain(value) if isinstance(value, str | int | float) else ""


def _is_damaged(text: str) -> bool:
    """Whether a text has bytes or halves of characters that no encoding gives."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _texts(value: object) -> Iterable[str]:
    """Yield the levels of a category: of a list, of the first inner list or path, or of a text."""
    if isinstance(value, list | tuple):
        inner = value[0] if value and isinstance(value[0], list | tuple) else value
        texts = [each for each in inner if isinstance(each, str)]
        yield from category_levels(texts[0]) if texts and ">" in texts[0] else texts
    elif value is not None:
        text = clean_text(_plain(value))
        paths = [category_levels(each) for each in text.split(",")]
        longest = max(paths, key=len)
        # Several paths have a common first level; a comma may also be part of a name.
        is_several = len(longest) > 1 and {tuple(each[:1]) for each in paths} == {(longest[0],)}
        yield from longest if is_several else category_levels(text)


def _path(value: object, row: Mapping[str, Any]) -> list[str]:
    """Return the category path from broad to narrow: the main category, then the listed ones."""
    listed = row.get("categories") or row.get("category") or ()
    path = [clean_text(text) for text in (*_texts(value), *_texts(listed))]
    return [each for each in dict.fromkeys(path) if each.casefold() not in _NO_CATEGORY]


def _brand(value: object) -> str:
    """Return a brand without what Amazon's pages put around it."""
    text = _joined(value)
    match = _AROUND_BRAND.match(text)
    brand = clean_text((match.group(1) or match.group(2)) if match else text)
    return "" if brand.casefold() in _NOTHING else brand[:200]


def _image(value: object) -> str:
    """Return the address of the first image, if it is one."""
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    if isinstance(value, Mapping):
        value = value.get("hi_res") or value.get("large") or value.get("thumb")
    text = _plain(value).partition(", ")[0]
    is_address = text.startswith(("https://", "http://")) and " " not in text
    return text if is_address and len(text) <= MAX_ADDRESS and text.isprintable() else ""
