"""Text search in a catalogue: folded words, sort keys, tiers of the ranking and opaque cursors.

Both adapters index and page by these functions, so that they find the same items in the same order.
"""

import base64
import binascii
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from recstream.catalogue.port import Page
from recstream.core.records import Item
from recstream.errors import InvalidInput

SEPARATOR = "\x1f"
"""Separates title and id in a sort key; sorts before every letter and is in no folded title."""

MAX_SORT_TITLE = 96
MAX_WORDS = 64
MAX_WORD_LENGTH = 40
MAX_QUERY_WORDS = 8
MAX_PAGE = 1000
TIERS = 3
WORDS_VERSION = "2"
"""Version of `terms`; stores with words of another version are built again."""
_PLAIN_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "þ": "th", "ø": "o", "ł": "l"}
    | dict(zip("đðħıŧŋ", "ddhitn", strict=True))
)
"""Letters that Unicode does not decompose into a plain letter and an accent."""


class Terms(NamedTuple):
    """An item's sort key, and the words it is found by."""

    sort: str
    title_words: tuple[str, ...]
    words: tuple[str, ...]


class PageCursor(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The item before a page: its tier in the ranking and its sort key."""

    tier: int = 0
    after: str = ""


def unicode_forms(text: str) -> tuple[str, ...]:
    r"""Return a text as it is, composed (NFC) and decomposed (NFD), each once.

    >>> [len(form) for form in unicode_forms("Caf\u00e9")], unicode_forms("Tea")
    ([4, 5], ('Tea',))
    """
    return tuple(dict.fromkeys((text, *(unicodedata.normalize(f, text) for f in ("NFC", "NFD")))))


def merged_forms(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    r"""Return counts by name, where both Unicode forms of a name count as one, named in form NFC.

    >>> list(merged_forms([("Cafe\u0301", 2), ("Caf\u00e9", 1)]).values())
    [3]
    """
    names: dict[str, str] = {}
    totals: Counter[str] = Counter()
    for name, n in counts:
        composed = unicodedata.normalize("NFC", name)
        names[composed] = composed if composed in names else name
        totals[composed] += n
    return {names[composed]: n for composed, n in totals.items()}


class TierQuery(NamedTuple):
    """A query for one tier of the ranking.

    Attributes
    ----------
    tier : int
        0: titles that begin with the phrase; 1: all words in the title; 2: all words anywhere.
    phrase : str
        The folded query: titles that begin with it have sort keys that begin with it.
    category : str
        Empty: any.
    after : str
        Sort key of the last item of the page before.
    """

    tier: int
    words: tuple[str, ...]
    phrase: str
    category: str
    after: str


def folded(text: str) -> str:
    """Return the words of a text in lower case without accents, one space between them.

    >>> folded("  Crème-Brûlée  TORCH (2nd ed.)")
    'creme brulee torch 2nd ed'
    >>> folded("Straße")
    'strasse'
    >>> folded("Łóżko, Rødgrød")
    'lozko rodgrod'
    """
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    letters = (c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return " ".join("".join(letters).translate(_PLAIN_LETTERS).split())


def stored_epoch(epoch: str) -> str:
    """Return an epoch as stores keep it: with the version of their words."""
    return f"{epoch}/{WORDS_VERSION}"


def held_epoch(stored: str) -> str:
    """Return the epoch that a store keeps; empty if its words are of another version."""
    epoch, _, version = stored.partition("/")
    return epoch if version == WORDS_VERSION else ""


def terms(item: Item) -> Terms:
    """Return an item's sort key and words; of a long description only the first words count."""
    title = folded(item.title or item.item)
    title_words = _distinct(title)
    rest = _distinct(folded(f"{item.brand} {item.category} {item.description[:2000]}"))
    return Terms(
        sort=f"{title[:MAX_SORT_TITLE]}{SEPARATOR}{item.item}",
        title_words=title_words,
        words=tuple(dict.fromkeys(title_words + rest))[:MAX_WORDS],
    )


def query_words(text: str) -> tuple[str, ...]:
    """Return the words of a query, at most `MAX_QUERY_WORDS`."""
    return _distinct(folded(text))[:MAX_QUERY_WORDS]


def encode_cursor(cursor: PageCursor) -> str:
    """Return a cursor as text of letters, digits, ``-`` and ``_``."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor)).rstrip(b"=").decode()


def decode_cursor(text: str) -> PageCursor:
    """Return the cursor that a client sent back; the empty string means the first page.

    Raises
    ------
    InvalidInput
    """
    if not text:
        return PageCursor()
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.msgpack.decode(raw, type=PageCursor)
    except (binascii.Error, ValueError, RecursionError, msgspec.DecodeError) as error:
        message = f"cursor must be the next of an earlier page, got {text[:40]!r}"
        raise InvalidInput(message) from error
    if not 0 <= cursor.tier < TIERS:
        raise InvalidInput(f"cursor must be the next of an earlier page, got {text[:40]!r}")
    return cursor


def search_page(
    find: Callable[[TierQuery, int], list[tuple[str, Item]]],
    text: str,
    *,
    category: str,
    cursor: str,
    limit: int,
) -> Page:
    """Return a page of a search, tier by tier until it is full.

    Parameters
    ----------
    find : callable
        Returns the first items of a `TierQuery`, at most so many, each with its sort key.
    text, category, cursor, limit
        As in `Catalogue.search`.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"limit must be from 1 to {MAX_PAGE} items a page, got {limit}")
    start = decode_cursor(cursor)
    words = query_words(text)
    found: list[tuple[PageCursor, Item]] = []
    for tier in range(start.tier, TIERS if words else 1):
        after = start.after if tier == start.tier else ""
        query = TierQuery(tier, words, folded(text)[:MAX_SORT_TITLE], category, after)
        some = find(query, limit + 1 - len(found))
        found += [(PageCursor(tier, sort), item) for sort, item in some]
        if len(found) > limit:
            break
    shown = found[:limit]
    next_ = encode_cursor(shown[-1][0]) if len(found) > limit else ""
    return Page(tuple(item for _, item in shown), next_)


def _distinct(text: str) -> tuple[str, ...]:
    """Return the different words of a folded text, in order."""
    return tuple(dict.fromkeys(word[:MAX_WORD_LENGTH] for word in text.split()))
