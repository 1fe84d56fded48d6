"""Shelves: similar items, because you viewed, trending, newest, popular, bought together, again.

All are made on request, from the active generation, the catalogue, or counts of recent events.
"""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from recstream.bridge.published import ListInputs
from recstream.bridge.recommender import Recommender
from recstream.bridge.views import Counted
from recstream.core.events import EVENT_TYPES
from recstream.core.generation import Generation
from recstream.core.records import AsOf, Requested
from recstream.core.serving import (
    POOL,
    Neighbour,
    Shelf,
    TopItem,
    compile_for_everybody,
    newest_scores,
    next_cursor,
    rank_requested,
    request_warnings,
    shelves,
    similar_requested,
    top_items,
)
from recstream.core.steering import ListRequest, Steering
from recstream.errors import NotFound

Kind = Literal["trending", "newest", "popular", "bought-together", "again"]
_MAX_CANDIDATES = 1_000
SCORE_DIGITS = 6
MAX_CACHED = 200_000
"""Similar items that are cached, of all items together."""
SimilarKey = tuple[int, int, str, int, bytes]
"""Generation, catalogue offset, item, n, digest of the steering document and placement."""


class Shelves(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's shelves, made on request from the newest history known to this bridge."""

    rec_id: str
    user: str
    generation: int
    delta: int = 0
    as_of: AsOf | None = None
    shelves: tuple[Shelf, ...]
    requested: Requested | None = None


class ShelfEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item of a shelf.

    Attributes
    ----------
    rank : int
        Among all items of the shelf's kind.
    score : float
        ``trending``: log2 of the rate now to the item's own past. ``popular``: popularity, 1 for an
        average item. ``newest``: part of the items that are older. ``bought-together``: lift,
        shrunk towards 1. ``again``: probability that the item is due.
    """

    item: str
    rank: int = 0
    score: float | None = None


class CategoryShelf(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The best items of a category, or of all if it is empty."""

    category: str = ""
    items: tuple[ShelfEntry, ...]


class ShelfAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Shelves of one kind, and what they were made from.

    Attributes
    ----------
    counted : Counted or None
        The events that were counted; absent if none matter.
    now : int
        Time of the request, in milliseconds since 1970.
    next : str
        Cursor of the next page of a single shelf.
    """

    kind: Kind
    generation: int
    delta: int = 0
    now: int = 0
    counted: Counted | None = None
    shelves: tuple[CategoryShelf, ...]
    requested: Requested
    next: str = ""


Scores = Callable[[Generation, int], NDArray[np.float64]]
"""Returns the scores of a generation's items at a time, 0 for none."""


class ShelfMaker:
    """Makes shelves."""

    def __init__(self, sources: ListInputs, recommender: Recommender) -> None:
        self._sources = sources
        self._recommender = recommender
        self._similar: dict[SimilarKey, tuple[Neighbour, ...]] = {}
        self._cached_for = (-1, -1)  # generation and catalogue offset
        self._n_cached = 0
        self._searching = threading.Lock()

    def similar(self, item: str, request: ListRequest) -> tuple[Neighbour, ...] | None:
        """Return the items most similar to one; None if the active generation lacks it."""
        found = self._similar_to(item, request)
        if gone := self._sources.items.unlisted([each.item for each in found or ()]):
            found = self._similar_to(item, request.excluding(gone))
        return found

    def _similar_to(self, item: str, request: ListRequest) -> tuple[Neighbour, ...] | None:
        """Return what `similar` does, from the generation as it is.

        Cached until the generation's catalogue changes: the search scans every item, and events
        between trainings change its result little. Other searches for the cache wait meanwhile.
        """
        generation = self._sources.active.generation
        if generation is None:
            return None
        _, steering = self._sources.steering.document()
        # What depends on the time is not cached, nor are later pages.
        has_times = len(generation.columns.boundaries) > 0
        if (
            request.rules
            or request.cursor
            or request.offset
            or has_times
            or (steering and steering.everybody(request.placement).uses_now)
        ):
            with self._sources.active.lock.read():
                is_known = item in generation.rows
                return (
                    similar_requested(generation, item, request, steering, self._sources.now_ms())
                    if is_known
                    else None
                )
        found = self._similar.get(_key(generation, item, request, steering))
        if found is not None:
            return found
        with self._searching, self._sources.active.lock.read():
            if item not in generation.rows:
                return None
            key = _key(generation, item, request, steering)
            if key not in self._similar:
                made = similar_requested(
                    generation, item, request, steering, self._sources.now_ms()
                )
                size = len(made) + 1  # an entry without items takes space, too
                if key[:2] != self._cached_for or self._n_cached + size > MAX_CACHED:
                    self._similar.clear()
                    self._cached_for, self._n_cached = key[:2], 0
                self._similar[key] = made
                self._n_cached += size
            return self._similar[key]

    def may_list(self, item: str) -> bool:
        """Return whether the active generation contains an item that is not withdrawn."""
        with self._sources.active.lock.read():
            generation = self._sources.active.generation
            row = None if generation is None else generation.rows.get(item)
            return generation is not None and row is not None and not generation.withdrawn[row]

    def knows(self, item: str) -> bool:
        """Return whether the active generation contains an item."""
        with self._sources.active.lock.read():
            generation = self._sources.active.generation
            return generation is not None and item in generation.rows

    def warnings(self, request: ListRequest) -> tuple[str, ...]:
        """Return what a request names that the active generation does not have."""
        _, steering = self._sources.steering.document()
        with self._sources.active.lock.read():
            generation = self._sources.active.generation
            if generation is None or not request.rules:
                return ()
            compiled = compile_for_everybody(generation, request, steering, self._sources.now_ms())
            return request_warnings(request, compiled, generation)

    def because(
        self, user: str, request: ListRequest, *, n_shelves: int, n_items: int, skip: int
    ) -> Shelves:
        """Return shelves of items related to a user's strongest items.

        Parameters
        ----------
        n_shelves, n_items : int
            At most so many shelves, and so many items on each.
        skip : int
            Places of the list whose items are displayed elsewhere.
        """
        found = self._shelves(user, request, n_shelves, n_items, skip)
        listed = [entry.item for shelf in found.shelves for entry in shelf.items]
        if gone := self._sources.items.unlisted(listed):
            found = self._shelves(user, request.excluding(gone), n_shelves, n_items, skip)
        return found

    def _shelves(
        self, user: str, request: ListRequest, n_shelves: int, n_items: int, skip: int
    ) -> Shelves:
        """Return what `because` does, from the generation as it is."""
        history = self._sources.history(user)
        offset, steering = self._sources.steering.document()
        with self._sources.active.lock.read():
            generation = self._sources.active.generation
            if generation is None:
                return Shelves(rec_id="none", user=user, generation=0, delta=0, shelves=())
            ranked = rank_requested(
                history,
                generation,
                replace(request, n=POOL + skip),
                self._sources.active.half_life_of(generation),
                steering,
                self._sources.now_ms(),
            )
            found = shelves(
                ranked, history, generation, n_shelves=n_shelves, n_items=n_items, skip=skip
            )
            return Shelves(
                rec_id=self._recommender.rec_id("shelves", history, generation),
                user=user,
                generation=generation.number,
                delta=generation.delta,
                as_of=self._recommender.as_of(history),
                shelves=found,
                requested=Requested(
                    request=request,
                    steering=offset,
                    warnings=request_warnings(request, ranked.compiled, generation),
                ),
            )

    def of_kind(
        self,
        kind: Literal["trending", "newest", "popular"],
        request: ListRequest,
        *,
        by_category: bool = False,
        n_shelves: int = 5,
    ) -> ShelfAnswer:
        """Return the best items of a kind, for everybody; or those of the best categories."""
        if kind == "trending":

            def scores(generation: Generation, now_ms: int) -> NDArray[np.float64]:
                with self._sources.counts.mutex:
                    return np.maximum(
                        self._sources.counts.counts.trends(generation.items, now_ms), 0.0
                    )

        elif kind == "newest":
            scores = newest_scores
        else:

            def scores(generation: Generation, now_ms: int) -> NDArray[np.float64]:
                del now_ms
                return np.exp(generation.bias.astype(np.float64))

        return self._answer(kind, scores, request, n_shelves if by_category else 0)

    def bought_together(self, item: str, request: ListRequest) -> ShelfAnswer:
        """Return the items that are likelier in a basket with an item than elsewhere."""

        def scores(generation: Generation, now_ms: int) -> NDArray[np.float64]:
            del now_ms
            with self._sources.counts.mutex:
                lifts = self._sources.counts.counts.lifts(item)
            return _dense(lifts, generation)

        return self._answer("bought-together", scores, request)

    def again(self, user: str, request: ListRequest) -> ShelfAnswer:
        """Return the items that a user is due to buy again, where repeats are normal."""
        history = self._sources.history(user)

        def scores(generation: Generation, now_ms: int) -> NDArray[np.float64]:
            found = {}
            with self._sources.counts.mutex:
                counts = self._sources.counts.counts
                for each in history.entries():
                    # The entry has the time of the newest event alone, of any type.
                    is_bought = EVENT_TYPES[each.kind] == "purchase"
                    at_ms = each.at_ms if is_bought else counts.last_bought(user, each.item)
                    if at_ms is not None:
                        found[each.item] = counts.due(each.item, now_ms - at_ms)
            return _dense(found, generation)

        return self._answer("again", scores, request)

    def _answer(
        self, kind: Kind, scores: Scores, request: ListRequest, n_categories: int = 0
    ) -> ShelfAnswer:
        found = self._made(kind, scores, request, n_categories)
        listed = [entry.item for shelf in found.shelves for entry in shelf.items]
        if gone := self._sources.items.unlisted(listed):
            found = self._made(kind, scores, request.excluding(gone), n_categories)
        return found

    def _made(
        self, kind: Kind, scores: Scores, request: ListRequest, n_categories: int
    ) -> ShelfAnswer:
        offset, steering = self._sources.steering.document()
        now_ms = self._sources.now_ms()
        counted = None if kind in {"newest", "popular"} else self._sources.counts.counted()
        with self._sources.active.lock.read():
            generation = self._sources.active.generation
            if generation is None:
                raise NotFound("there is no generation yet; try again after the first training")
            pool = replace(request, n=_MAX_CANDIDATES) if n_categories else request
            found = top_items(scores(generation, now_ms), generation, pool, steering, now_ms)
            grouped = _by_category(found, generation, n_categories, request.n)
        return ShelfAnswer(
            kind=kind,
            generation=generation.number,
            delta=generation.delta,
            now=now_ms,
            counted=counted,
            shelves=grouped,
            requested=Requested(request=request, steering=offset, warnings=self.warnings(request)),
            next="" if n_categories else next_cursor(request, [each.item for each in found]),
        )


def _dense(found: dict[str, float], generation: Generation) -> NDArray[np.float64]:
    scores = np.zeros(generation.n_items)
    for item, score in found.items():
        row = generation.rows.get(item)
        if row is not None:
            scores[row] = score
    return scores


def _by_category(
    found: tuple[TopItem, ...], generation: Generation, n_categories: int, n: int
) -> tuple[CategoryShelf, ...]:
    """Return items as one shelf, or as a shelf of each category, the one of the best item first."""
    column = generation.columns.category
    groups: dict[str, list[ShelfEntry]] = defaultdict(list)
    for each in found:
        name = (column.values[column.codes[each.row]] or "") if n_categories else ""
        if len(groups[name]) < n:
            score = round(each.score, SCORE_DIGITS)
            groups[name].append(ShelfEntry(item=each.item, rank=each.rank, score=score))
    shown = list(groups.items())[: n_categories or 1]
    return tuple(CategoryShelf(category=name, items=tuple(items)) for name, items in shown)


def _key(
    generation: Generation, item: str, request: ListRequest, steering: Steering | None
) -> SimilarKey:
    rules = b"" if steering is None else steering.digest
    return (
        generation.number,
        generation.catalogue_offset,
        item,
        request.n,
        rules + request.placement.encode(),
    )
