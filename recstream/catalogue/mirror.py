"""In-memory copy of a MongoDB collection, for FerretDB over SQLite alone, which the tests use.

That server has no indexes and reads all documents for each query. Real MongoDB needs no mirror.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from recstream.catalogue.text import TIERS

Document = dict[str, Any]

AGAIN_S = 5.0
"""Least time between two full reads while other processes change the collection."""


class Mirror:
    """The documents of a collection. Safe to share between threads.

    Parameters
    ----------
    read_all : callable
        Reads every document; expensive.
    state : callable
        Returns a value that changes when other processes change the collection; cheap.
    """

    def __init__(
        self, read_all: Callable[[], Iterable[Document]], state: Callable[[], Hashable]
    ) -> None:
        self._read_all = read_all
        self._state = state
        self._lock = threading.RLock()
        self._known: Hashable = None
        self._read_s: float | None = None
        self._documents: dict[str, Document] = {}
        self._sorted: list[Document] | None = None

    def by_id(self, names: Iterable[str]) -> list[Document]:
        """Return the documents that exist, those of deleted items included."""
        with self._lock:
            self._refresh()
            return [self._documents[name] for name in names if name in self._documents]

    def find(
        self, tier: int, words: tuple[str, ...], phrase: str, category: str, after: str, limit: int
    ) -> list[Document]:
        """Return a tier's first items after a sort key, in sort order.

        Parameters
        ----------
        tier : int
        words : tuple of str
        phrase : str
            The folded query.
        category : str
            Empty: any.
        after : str
        limit : int
        """

        def matches(document: Document) -> bool:
            return (
                document["sort"] > after
                and (not category or document["category"] == category)
                and (not words or _tier(document, words, phrase) == tier)
            )

        return list(islice(filter(matches, self._live()), limit))

    def categories(self) -> dict[str, int]:
        """Return the categories that have items, with their number of items."""
        return dict(Counter(each["category"] for each in self._live() if each["category"]))

    def count(self) -> int:
        """Return the number of items."""
        return len(self._live())

    def put(self, written: Mapping[str, Document | None]) -> None:
        """Apply documents written by this process; None means deleted."""
        with self._lock:
            for name, document in written.items():
                if document is None:
                    self._documents.pop(name, None)
                else:
                    self._documents[name] = document
            self._sorted = None

    def accept_state(self) -> None:
        """Take the collection's current state as read: this process changed it."""
        state = self._state()
        with self._lock:
            if self._read_s is not None:
                self._known = state

    def invalidate(self) -> None:
        """Read all documents again before the next answer."""
        with self._lock:
            self._read_s = None

    def _live(self) -> list[Document]:
        with self._lock:
            self._refresh()
            if self._sorted is None:
                items = (each for each in self._documents.values() if "sort" in each)
                self._sorted = sorted(items, key=lambda each: str(each["sort"]))
            return self._sorted

    def _refresh(self) -> None:
        state = self._state()
        now_s = time.monotonic()
        if self._read_s is None or (state != self._known and now_s - self._read_s > AGAIN_S):
            self._documents = {each["_id"]: each for each in self._read_all()}
            self._sorted = None
            self._known = state
            self._read_s = time.monotonic()


def _tier(document: Document, words: tuple[str, ...], phrase: str) -> int:
    """Return the tier in which a query matches a document, `TIERS` if in none."""
    if document["sort"].startswith(phrase):
        return 0
    fields: Iterator[tuple[int, list[str]]] = iter(
        ((1, document["title_words"]), (TIERS - 1, document["words"]))
    )
    for tier, there in fields:
        if all(any(each.startswith(word) for each in there) for word in words):
            return tier
    return TIERS
