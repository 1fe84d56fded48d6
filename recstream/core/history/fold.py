"""Fold one user's events into a history.

A history is immutable: `apply` returns a new one that shares every unchanged page with the old one.
`recstream.core.history.table_rows` stores it as several rows. An event of a heavy user therefore writes
no more than an event of a light user.

Pages grow by linear hashing: one page is split at a time, when there are more than `PAGE_ENTRIES`
entries a page on average. An event rewrites the header, one page, rarely two more (a split), and every
`CHUNK_IDS` events a chunk of ids.

**Exactly once.** A record at or before the last applied position changes nothing. An event whose id
is among the last `WINDOW_IDS` of the user's changes nothing either, even with another body: a request of 1,000 events sent twice
counts once. An id that returns after more events than that of the same user counts again.
"""

import hashlib
import math
import zlib
from collections.abc import Iterable, Iterator
from typing import Annotated, cast

import msgspec
import numpy as np

from recstream.core.events import EVENT_TYPES, Event, EventWeights, event_weight, timestamp_ms
from recstream.core.history.pages import Page, page_of, split
from recstream.core.history.profile import Pairs, kept_context, merged

PAGE_ENTRIES = 32
CHUNK_IDS = 32
CHUNKS = 32
WINDOW_IDS = CHUNK_IDS * CHUNKS
ID_BYTES = 8
LONG_WINDOW = 2_048
"""Bytes from which numpy finds a digest faster than `bytes.find`."""
MAX_IMPRESSIONS = 64
FADE_ENTRIES = 10.0
"""Half-life of an entry in newer entries of the same user; docs/explanation/research/neighbours.md has the trials."""
CHUNK_BYTES = CHUNK_IDS * ID_BYTES
SEMANTICS = 2
"""Version of the rules by which events are folded; `FoldSettings.semantics` says which are in force.

1: ratings of one item add up. 2: the newest rating of an item replaces the older one, and a rating below
the user's usual one has no weight.
"""
MIN_RATINGS = 3
"""Ratings of a user before their mean is the user's usual rating."""
_NO_ID = hashlib.blake2b(digest_size=ID_BYTES)
_KINDS = {name: code for code, name in enumerate(EVENT_TYPES)}
Int64 = Annotated[int, msgspec.Meta(le=2**63 - 1)]
"""A number of a row; the arrays of trainer and checkpoints hold no larger ones."""
Weight = Annotated[float, msgspec.Meta(ge=0.0, le=1e30)]


class FoldSettings(msgspec.Struct, frozen=True):
    """How events are folded: weights by type, half-life of a weight, whether impressions are counted.

    ``keeps_context``: the newest event's context is kept for rules. ``semantics`` is a version, see `SEMANTICS`. A log that does not name one was folded by version 1.
    """

    weights: EventWeights
    half_life_ms: float
    counts_impressions: bool = False
    semantics: int = 1
    keeps_context: bool = False


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All events of one user on one item, folded.

    Attributes
    ----------
    weight : float
        Sum of the events' weights r, each decayed to ``at_ms``.
    at_ms : int
        Time of the item's newest event.
    kind : int
        Place in `EVENT_TYPES` of the event applied last.
    offset : int
        Offset of the record of the event applied last.
    n_events : int
        Applied since the item entered the history.
    """

    item: str
    weight: Weight
    at_ms: Int64
    kind: Int64
    offset: Int64
    n_events: Int64


class RatedEntry(Entry, frozen=True, array_like=True, gc=False):
    """An entry with a rating, which the next rating replaces. Only semantics 2 and later make one.

    Attributes
    ----------
    rating_weight : float
        Part of ``weight`` that the rating adds, decayed to ``at_ms``.
    """

    rating_weight: Weight = 0.0
    rated_at_ms: Int64 = -1


class History(msgspec.Struct, frozen=True, gc=False):
    """Folded events of a user: all that lists depend on.

    Attributes
    ----------
    offset, index : int
        Position of the newest event applied: offset of its record, place inside the record.
    clock_ms : int
        The newest event time; matrix rows decay weights to it.
    n_items : int
        Entries in all pages.
    n_ids : int
        Events applied so far.
    window : bytes
        Digests of the newest ids, `ID_BYTES` each: up to `CHUNKS` full chunks
        and the one being filled.
    impressions : tuple of (item, count)
        Impressions of items since the user's last event on them, the newest last, at most
        `MAX_IMPRESSIONS`. Counted only while fold settings say so.
    n_ratings, rating_sum : int, float
        Number and sum of the user's ratings; counted from semantics 2 on.
    properties : tuple of (name, value)
        The user's properties, by ``profile`` events.
    context : tuple of (name, value)
        Context of the newest event; kept only while fold settings say so.
    """

    user: str
    offset: int = -1
    index: int = -1
    clock_ms: int = 0
    n_items: int = 0
    n_ids: int = 0
    window: bytes = b""
    pages: tuple[dict[str, Entry], ...] = ({},)
    impressions: tuple[tuple[str, int], ...] = ()
    n_ratings: int = 0
    rating_sum: float = 0.0
    properties: Pairs = ()
    context: Pairs = ()

    def entries(self) -> Iterator[Entry]:
        """Yield every entry, page by page."""
        for page in self.pages:
            yield from page.values()

    def has_event(self, event_id: str) -> bool:
        """Whether an event with this id is among the newest ones applied."""
        return _contains(self.window, id_digest(event_id))

    def find(self, item: str) -> Entry | None:
        """Return the entry of an item, or None."""
        return self.pages[page_of(item, len(self.pages))].get(item)

    def find_each(self, items: Iterable[str]) -> list[Entry | None]:
        """Return `find` of each item, with less work."""
        pages, n_pages = self.pages, len(self.pages)
        half = 1 << (n_pages.bit_length() - 1)
        places = [(zlib.crc32(item.encode()) & (2 * half - 1), item) for item in items]
        return [pages[at if at < n_pages else at - half].get(item) for at, item in places]


class Draft:
    """A user's history into which events are folded, with less work than a `History` for each event.

    Attributes
    ----------
    pages : list of dict
        Pages that an event changed are new ones; the others are those of the first history.
    """

    __slots__ = (
        "_first", "clock_ms", "context", "impressions", "index", "n_ids", "n_items", "n_ratings",
        "offset", "pages", "properties", "rating_sum", "user", "window",
    )  # fmt: skip

    def __init__(self, history: History) -> None:
        self._first = history
        self.user = history.user
        self.offset, self.index = history.offset, history.index
        self.clock_ms = history.clock_ms
        self.n_items, self.n_ids = history.n_items, history.n_ids
        self.window = history.window
        self.pages = list(history.pages)
        self.impressions = history.impressions
        self.n_ratings, self.rating_sum = history.n_ratings, history.rating_sum
        self.properties, self.context = history.properties, history.context

    def history(self) -> History:
        """Return the history after the events; the same object if none changed anything."""
        first = self._first
        if self.offset == first.offset and self.index == first.index:
            return first
        return History(
            self.user, self.offset, self.index, self.clock_ms, self.n_items, self.n_ids,
            self.window, tuple(self.pages), self.impressions, self.n_ratings, self.rating_sum,
            self.properties, self.context,
        )  # fmt: skip

    def add(self, event: Event, offset: int, index: int, settings: FoldSettings) -> bool:
        """Fold an event; return whether it changes anything.

        Parameters
        ----------
        event : Event
            Checked, with an id and a time.
        offset, index : int
            The event's position: its record's offset, its place in the record.

        Notes
        -----
        Events count in the order of the log. Their times only decide how far they have decayed: a late
        event is added with its decayed weight. ``dislike`` sets the entry's weight to zero. ``remove``
        deletes the entry. ``impression`` changes `History.impressions` alone, and only if the settings
        count impressions. ``rate`` replaces an older rating of the item, from semantics 2 on; other types
        add to the weight. docs/reference/event-types.md has the semantics of every type.
        """
        if offset < self.offset or (offset == self.offset and index <= self.index):
            return False
        kind = event.type
        if kind == "impression":
            return settings.counts_impressions and self._count_impressions(event, offset, index)
        token = id_digest(event.id)
        window = self.window
        if _contains(window, token):
            return False
        if kind == "profile":
            self.properties = merged(self.properties, event.properties)
        else:
            self._change_entry(event, offset, settings)
        self.offset, self.index = offset, index
        self.n_ids = n_ids = self.n_ids + 1
        window += token
        if n_ids > WINDOW_IDS and n_ids % CHUNK_IDS == 0:
            window = window[CHUNK_BYTES:]
        self.window = window
        return True

    def _change_entry(self, event: Event, offset: int, settings: FoldSettings) -> None:
        """Fold an event on an item into the item's entry."""
        kind, item, ts = event.type, event.item, event.ts
        if item is None or ts is None:
            message = f"event {event.id!r} must have an item and a time; check it before folding"
            raise ValueError(message)
        at_ms = timestamp_ms(ts)
        if at_ms > self.clock_ms or not self.n_ids:
            self.clock_ms = at_ms
        number = page_of(item, len(self.pages))
        page = self._own_page(number, item)
        if kind == "remove":
            page.before = None
            self.n_items -= page.pop(item, None) is not None
        else:
            old = page.get(item)
            if kind == "rate" and settings.semantics >= SEMANTICS:
                page[item] = _rate(old, event, at_ms, offset, self, settings)
                self.n_ratings += 1
                self.rating_sum += event.value or 0.0
            else:
                page[item] = _add(old, event, at_ms, offset, settings)
            self.n_items += old is None
        if self.n_items > PAGE_ENTRIES * len(self.pages):
            self.pages = list(split(self.pages))
        if self.impressions:
            self.impressions = tuple([each for each in self.impressions if each[0] != item])
        self.context = kept_context(event.context) if settings.keeps_context else ()

    def _own_page(self, number: int, item: str) -> Page:
        """Return the page of a number, a copy if it is still the first history's.

        Parameters
        ----------
        item : str
            The item whose entry is about to change.
        """
        pages, first = self.pages, self._first.pages
        page = pages[number]
        if number < len(first) and first[number] is page:
            own = pages[number] = Page(page)
            columns = getattr(page, "columns", None)
            own.before = None if columns is None else (columns, item)
            return own
        own = cast("Page", page)
        if own.before is not None and own.before[1] != item:
            own.before = None
        return own

    def _count_impressions(self, event: Event, offset: int, index: int) -> bool:
        """Count one impression more of each item shown that has no entry."""
        impressions = dict(self.impressions)
        for item in dict.fromkeys((*event.items, *([event.item] if event.item else []))):
            if item not in self.pages[page_of(item, len(self.pages))]:
                impressions[item] = impressions.pop(item, 0) + 1
        newest = tuple(impressions.items())[-MAX_IMPRESSIONS:]
        if newest == self.impressions:
            return False
        self.offset, self.index, self.impressions = offset, index, newest
        return True


def apply(
    history: History, event: Event, offset: int, index: int, settings: FoldSettings
) -> History:
    """Return the history after one event, the same object if it changes nothing; see `Draft.add`."""
    draft = Draft(history)
    draft.add(event, offset, index, settings)
    return draft.history()


def _add(old: Entry | None, event: Event, at_ms: int, offset: int, settings: FoldSettings) -> Entry:
    """Return an entry with one more event in it, a new one for None."""
    if old is None:
        weight = event_weight(event, settings.weights)
        return Entry(event.item or "", weight, at_ms, _KINDS[event.type], offset, 1)
    newest, half_life_ms = max(old.at_ms, at_ms), settings.half_life_ms
    if event.type == "dislike":
        total = 0.0
    else:
        kept = decay(newest - old.at_ms, half_life_ms)
        total = event_weight(event, settings.weights) * decay(newest - at_ms, half_life_ms)
        total += old.weight * kept
        if old.__class__ is RatedEntry:
            return RatedEntry(
                old.item, total, newest, _KINDS[event.type], offset, old.n_events + 1,
                old.rating_weight * kept, old.rated_at_ms,
            )  # fmt: skip
    return Entry(old.item, total, newest, _KINDS[event.type], offset, old.n_events + 1)


def _rate(
    old: Entry | None, event: Event, at_ms: int, offset: int, history: Draft, settings: FoldSettings
) -> RatedEntry:
    """Return an entry with a new rating in place of the older one (semantics 2).

    Parameters
    ----------
    at_ms : int
        Its time. A rating that is older than the entry's changes no weight.
    history : Draft
        Before the event; its ratings give the user's usual one.
    """
    weight = event_weight(event, settings.weights)
    if history.n_ratings >= MIN_RATINGS and event.value is not None:
        is_below_usual = event.value * history.n_ratings < history.rating_sum
        weight = 0.0 if is_below_usual else weight
    kind = _KINDS["rate"]
    if old is None:
        return RatedEntry(event.item or "", weight, at_ms, kind, offset, 1, weight, at_ms)
    newest = max(old.at_ms, at_ms)
    kept = decay(newest - old.at_ms, settings.half_life_ms)
    rated, rated_at_ms = 0.0, -1
    if isinstance(old, RatedEntry):
        rated, rated_at_ms = old.rating_weight, old.rated_at_ms
    elif old.kind == kind and old.n_events == 1:  # rated once, by semantics 1
        rated, rated_at_ms = old.weight, old.at_ms
    others = max(0.0, old.weight - rated) * kept
    if at_ms < rated_at_ms:
        weight, rated_at = rated * kept, rated_at_ms
    else:
        weight, rated_at = weight * decay(newest - at_ms, settings.half_life_ms), at_ms
    return RatedEntry(
        old.item, others + weight, newest, kind, offset, old.n_events + 1, weight, rated_at
    )


def decay(age_ms: int, half_life_ms: float) -> float:
    """Return the part of a weight that is left after a time: ``2^(-age / half_life)``.

    >>> decay(0, 5.0), decay(5, 5.0), decay(10, 5.0)
    (1.0, 0.5, 0.25)
    """
    return math.exp2(-age_ms / half_life_ms) if age_ms else 1.0


def id_digest(event_id: str) -> bytes:
    """Return the 8-byte digest of an event id that a history keeps."""
    hasher = _NO_ID.copy()
    hasher.update(event_id.encode())
    return hasher.digest()


def _contains(window: bytes, token: bytes) -> bool:
    """Return whether the window holds a digest, at a multiple of its length."""
    if len(window) > LONG_WINDOW:
        found = np.frombuffer(window, np.uint64) == np.frombuffer(token, np.uint64)
        return bool(np.count_nonzero(found))
    at = window.find(token)
    while at % ID_BYTES and at >= 0:
        at = window.find(token, at + 1)
    return at >= 0


def seen_items(history: History) -> set[str]:
    """Return the ids of all items in a history, whatever their weight."""
    return {item for page in history.pages for item in page}
