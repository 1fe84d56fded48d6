"""Tokens of a catalogue item, as bounded bags of words, categories, brand, price and attributes.

Never fails on what an `Item` can hold; values that can't be read give no tokens. Words are Unicode words
after NFKC and case folding; scripts written without spaces give bigrams of characters. Texts are cut
before anything that costs more than one pass over them.
"""

import html
import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from recstream.core.content.categories import CATEGORY_GRAMMAR, category_levels
from recstream.core.content.vectors import vector_tokens
from recstream.core.records import Item

BLOCKS = ("word", "category", "brand", "price", "attribute")
"""Kinds of tokens, in the order of `TokenBags`."""

RAW_CHARACTERS = 16_000
"""Characters read of a text, HTML included."""
MAX_CHARACTERS = 4_000
"""Characters kept of a text without tags and entities."""
MAX_WORDS = 400
"""Words kept of one text."""
MAX_WORD_CHARACTERS = 30
MAX_DIGITS = 6
"""Longer numbers are article numbers, which do not describe an item."""
MAX_NAME_CHARACTERS = 80
"""Characters kept of a brand, a category or an attribute."""
RAW_NAME_CHARACTERS = 400
"""Characters read of a name."""
MAX_NAMES = 32
"""Maximum number of categories, of attributes, and of values of one attribute."""
MAX_SIGNS = 8_192
"""Characters whose class is cached, for the whole process."""
LONG_VALUE = 40
"""A longer attribute text is tokenised into words."""
TITLE_WEIGHT = 2.0
"""Weight of a word of the title; a word of the description has 1."""
BAND = math.log(1.5)
"""Width of a price band on a log scale: prices 50 % higher."""

_SCRIPT_OR_STYLE = re.compile(r"<(/?)(?:script|style)\b[^<>]{0,500}>", re.IGNORECASE)
_TAG = re.compile(r"<[a-zA-Z/!?][^<>]{0,2000}>")
_SPACELESS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003134f"
)
_RUNS = re.compile(f"[{_SPACELESS}]+|[^{_SPACELESS}]+")
_ASCII_WORDS = re.compile(r"[a-z0-9]+")


class TokenBags(NamedTuple):
    """Tokens of an item with their weights, by kind."""

    words: Mapping[str, float]
    categories: Mapping[str, float]
    brand: Mapping[str, float]
    price: Mapping[str, float]
    attributes: Mapping[str, float]


EMPTY_BAGS = TokenBags({}, {}, {}, {}, {})
"""Bags of an item without attributes."""


def token_bags(item: Item | None, grammar: int = CATEGORY_GRAMMAR) -> TokenBags:
    """Return the tokens of an item; empty bags for None.

    >>> found = token_bags(Item(item="1", title="<b>Guitar</b> &amp; strap", category="Music > Strings",
    ...                         brand="Acme", price=10.0, attributes={"left-handed": True}))
    >>> sorted(found.words), sorted(found.categories), sorted(found.brand)
    (['guitar', 'strap'], ['music', 'strings'], ['acme'])
    >>> sorted(found.attributes)
    ['left handed=yes']
    """
    if item is None:
        return EMPTY_BAGS
    bag: dict[str, float] = {}
    for word, count in _counts(words(item.title)).items():
        bag[word] = TITLE_WEIGHT * (1.0 + math.log(count))
    texts = words(item.description)
    categories = _names(category_levels(_clipped(item.category), grammar))
    attributes: dict[str, float] = {}
    for name, value in list(item.attributes.items())[:MAX_NAMES]:
        if name == "categories" and isinstance(value, list | tuple):
            categories += _names(_levels(value, grammar))
            continue
        for token in _attribute(_name(name), value, texts):
            attributes[token] = 1.0
    attributes |= dict.fromkeys(vector_tokens(item.vector), 1.0)
    for word, count in _counts(texts[: 2 * MAX_WORDS]).items():
        bag[word] = bag.get(word, 0.0) + 1.0 + math.log(count)
    return TokenBags(
        bag,
        dict.fromkeys(categories[:MAX_NAMES], 1.0),
        dict.fromkeys(_names([item.brand]), 1.0),
        _price(item.price),
        attributes,
    )


def common_features(one: Item | None, other: Item | None, n: int = 3) -> tuple[str, ...]:
    """Return what two items have in common, the most specific first, for people to read.

    The brand, the narrowest category, equal attributes, then the longest words that both titles
    have, or where there are none, both descriptions.

    >>> common_features(Item(item="1", title="Oak guitar stand", brand="Acme"),
    ...        Item(item="2", title="Electric guitar", brand="ACME"))
    ('brand: Acme', 'word: guitar')
    """
    if one is None or other is None:
        return ()
    return compare(comparable(one), comparable(other), n)


class Comparable(NamedTuple):
    """The parts of an item that `compare` uses; keep it where an item is compared often."""

    brand: str
    brand_tokens: frozenset[str]
    categories: tuple[str, ...]
    attributes: tuple[str, ...]
    title: frozenset[str]
    words: frozenset[str]


def comparable(item: Item, grammar: int = CATEGORY_GRAMMAR) -> Comparable:
    """Return the parts of an item that `compare` uses."""
    bags = token_bags(item, grammar)
    return Comparable(
        " ".join(item.brand.split()),
        frozenset(bags.brand),
        tuple(bags.categories),
        # Bands make close numbers similar; people compare equal values only.
        tuple(name for name in bags.attributes if "~" not in name),
        frozenset(words(item.title)),
        frozenset(bags.words),
    )


def compare(a: Comparable, b: Comparable, n: int = 3) -> tuple[str, ...]:
    """Return what two items have in common; see `common_features`."""
    found = [f"brand: {a.brand}"] if a.brand_tokens and a.brand_tokens == b.brand_tokens else []
    found += [f"category: {name}" for name in [x for x in a.categories if x in b.categories][-1:]]
    found += [f"attribute: {name}" for name in a.attributes if name in b.attributes][:1]
    if len(found) < n:
        both = (a.title & b.title) or (a.words & b.words)
        specific = sorted(
            (word for word in both if not word.isdigit()), key=lambda word: (-len(word), word)
        )
        found += [f"word: {word}" for word in specific if len(word) > 1]
    return tuple(found[:n])


def words(text: object) -> list[str]:
    """Return the words of a text in any script, in order, at most `MAX_WORDS`.

    >>> words("Straße &amp; CAFÉ no. 1234567890")
    ['strasse', 'café', 'no']
    >>> words("電気ギター")
    ['電気', '気ギ', 'ギタ', 'ター']
    """
    if not isinstance(text, str) or not text:
        return []
    plain = _plain(text)
    if plain.isascii():
        tokens = _ASCII_WORDS.findall(plain)
    else:
        tokens = [token for part in plain.translate(_SIGNS).split() for token in _tokens(part)]
    return [
        token[:MAX_WORD_CHARACTERS]
        for token in tokens[:MAX_WORDS]
        if len(token) <= MAX_DIGITS or not token.isdigit()
    ]


class _Signs(dict[int, int]):
    """Maps letters, digits and the marks on them to themselves, everything else to a space.

    A cache of at most `MAX_SIGNS` characters, however many different ones texts hold.
    """

    def __missing__(self, point: int) -> int:
        if len(self) >= MAX_SIGNS:
            self.clear()
        sign = chr(point)
        keeps = sign.isalnum() or unicodedata.category(sign)[0] == "M"
        self[point] = point if keeps else 0x20
        return self[point]


_SIGNS = _Signs()


def _tokens(part: str) -> Iterable[str]:
    """Yield a word, or the bigrams of a run in a script without spaces."""
    for run in _RUNS.findall(part):
        if len(run) > 1 and re.match(f"[{_SPACELESS}]", run):
            yield from (run[at : at + 2] for at in range(len(run) - 1))
        else:
            yield run


def _plain(text: str) -> str:
    """Return a text without tags and entities, case-folded and cut."""
    text = text[:RAW_CHARACTERS]
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if "<" in text:
        if _SCRIPT_OR_STYLE.search(text):
            text = _without_scripts(text)
        text = _TAG.sub(" ", text)
    text = text[:MAX_CHARACTERS]
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())[
        :MAX_CHARACTERS
    ]


def _without_scripts(text: str) -> str:
    """Return a text without the contents of script and style elements, in one pass."""
    kept: list[str] = []
    at, inside = 0, False
    for tag in _SCRIPT_OR_STYLE.finditer(text):
        if not inside:
            kept.append(text[at : tag.start()])
        inside = not tag.group(1)
        at = tag.end()
    if not inside:
        kept.append(text[at:])
    return " ".join(kept)


def _clipped(text: object, most: int = MAX_CHARACTERS) -> str:
    return text[:most] if isinstance(text, str) else ""


def _name(text: object) -> str:
    """Return a name as a token: its words, separated by spaces."""
    return " ".join(words(_clipped(text, RAW_NAME_CHARACTERS)))[:MAX_NAME_CHARACTERS].strip()


def _names(texts: Iterable[object]) -> list[str]:
    """Return distinct names that are not empty."""
    first = itertools.islice(texts, MAX_NAMES)
    return [name for name in dict.fromkeys(map(_name, first)) if name]


def _levels(values: Iterable[object], grammar: int) -> list[str]:
    """Return the levels of several category paths."""
    return [
        level
        for value in list(values)[:MAX_NAMES]
        if isinstance(value, str)
        for level in category_levels(_clipped(value), grammar)
    ]


def _counts(tokens: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for token in tokens:
        counts[token] = counts.get(token, 0) + 1
    return counts


def _price(value: object) -> dict[str, float]:
    """Return the two nearest price bands, weighted by linear interpolation."""
    number = _number(value)
    if number is None or number <= 0.0:
        return {}
    at = math.log(number) / BAND
    low = math.floor(at)
    part = at - low
    return {
        str(band): weight for band, weight in ((low, 1.0 - part), (low + 1, part)) if weight > 0
    }


def _number(value: object) -> float | None:
    """Return a finite number that a float can hold, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _attribute(name: str, value: Any, texts: list[str]) -> Iterable[str]:
    """Yield an attribute's tokens; the words of a long text join `texts`."""
    values = list(value)[:MAX_NAMES] if isinstance(value, list | tuple | set) else [value]
    for each in values:
        if isinstance(each, bool):
            yield f"{name}={'yes' if each else 'no'}"
        elif isinstance(each, str):
            if len(each) > LONG_VALUE:
                texts += words(each) if len(texts) < 2 * MAX_WORDS else ()
            elif plain := _name(each):
                yield f"{name}={plain}"
        elif (number := _number(each)) is not None:
            yield from _bands(name, number)


def _bands(name: str, number: float) -> Iterable[str]:
    """Yield a number itself, its first three digits (of a year: the decade) and its size."""
    yield f"{name}={number:.6g}"
    if number == 0.0:
        return
    size = math.floor(math.log10(abs(number))) - 2
    yield f"{name}~{math.floor(number / 10.0**size) if size > -300 else 0}e{size}"  # noqa: PLR2004
    yield f"{name}~{'-' if number < 0 else ''}{math.floor(math.log(abs(number)) / BAND)}"
