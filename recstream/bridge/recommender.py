"""Lists, similar items, shelves and explanations, made on request from the active generation.

The worker publishes a list after each event. Lists that are not published (of a visitor, of a
category, of another length) are made here, by the same functions and from the same generation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from recstream.bridge.active_generation import ActiveGeneration
from recstream.bridge.views import Mask, Views, without
from recstream.control import SteeringFeed
from recstream.core.generation import Generation
from recstream.core.history import Entry, History, seen_items
from recstream.core.ranking import (
    POOL,
    Explanation,
    Neighbour,
    Ranked,
    Shelf,
    describe,
    explain,
    rank,
    shelves,
    similar,
    steering_warnings,
)
from recstream.core.records import AsOf, Recommendations, RecommendedItem
from recstream.core.steering import Steering
from recstream.errors import NotFound
from recstream.log import partition_for

CACHED_NEIGHBOURS = 4096


class Shelves(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's shelves, made on request from the newest history known to this bridge."""

    rec_id: str
    user: str
    generation: int
    delta: int = 0
    as_of: AsOf | None = None
    shelves: tuple[Shelf, ...]


class Recommender:
    """Answers queries from published lists, histories and the active generation.

    Parameters
    ----------
    views : Views
        Published lists and histories.
    active : ActiveGeneration
    list_size : int
        Items in a published list.
    partitions : int
        Of the interactions topic, for `AsOf`.
    steering : SteeringFeed
        Lists made here follow the newest document.
    """

    def __init__(
        self,
        views: Views,
        active: ActiveGeneration,
        *,
        list_size: int,
        partitions: int,
        steering: SteeringFeed,
    ) -> None:
        self._views = views
        self._active = active
        self._list_size = list_size
        self._partitions = partitions
        self._steering = steering
        self._similar: dict[tuple[int, int, str, int], tuple[Neighbour, ...]] = {}
        self._similar_of = (-1, -1)

    @property
    def current(self) -> tuple[int, int] | None:
        """Number of the active generation and of its delta; None before the first."""
        return self._active.current

    @property
    def half_life_ms(self) -> float:
        """Half-life of an event's weight in lists made now."""
        generation = self._active.generation
        return (
            self._active.half_life_ms
            if generation is None
            else self._active.half_life_of(generation)
        )

    def list_offset(self, user: str) -> int:
        """Return the offset of a user's published list, -1 for none."""
        return self._views.list_offset(user)

    def published(self, user: str) -> Recommendations | None:
        """Return a user's published list without items seen or withdrawn since."""
        stored = self._views.latest(user)
        if stored is None:
            return None
        unwanted = self._withdrawn(stored)
        # The list excludes what its history contained; without newer events there is nothing to add.
        if stored.as_of is None or stored.as_of.offset != self._views.newest_offset(user):
            history = self._views.history(user)
            unwanted |= set() if history is None else seen_items(history)
        return without(stored, unwanted)

    def _in_force(self, user: str) -> Recommendations | None:
        """Return the published list, None if it does not follow the newest steering document.

        Pushed lists are not checked: this bridge may not know the newest rules yet, and the next
        list follows.
        """
        stored = self.published(user)
        is_current = stored is not None and self._steering.is_current(stored.control)
        return stored if is_current else None

    def _withdrawn(self, body: Recommendations) -> set[str]:
        """Return the items of a list that were withdrawn from the catalogue since."""
        generation = self._active.generation
        listable = None if generation is None else generation.listable
        if generation is None or listable is None:
            return set()
        rows = {entry.item: generation.rows.get(entry.item) for entry in body.items}
        return {
            item
            for item, row in rows.items()
            if row is not None and row < len(listable) and not listable[row]
        }

    def list_of(self, user: str) -> Recommendations:
        """Return a user's list: the published one, or one made now."""
        return self._in_force(user) or self.rank_for_user(user, self._list_size)

    def recommend(self, user: str, n: int, *, mask: Mask | None, known: bool) -> Recommendations:
        """Return a user's ``n`` best items.

        Parameters
        ----------
        mask : callable or None
            None: any item.
        known : bool
            Include items that the user has seen.
        """
        if mask is None and not known:
            stored = self._in_force(user)
            if stored is not None and (n <= len(stored.items) or self._active.generation is None):
                return _cut(stored, n)
        return self.rank_for_user(user, n, mask=mask, known=known)

    def rank_for_user(
        self, user: str, n: int, *, mask: Mask | None = None, known: bool = False
    ) -> Recommendations:
        """Return a user's list made now, from the newest history known to this bridge."""
        history = self._views.history(user) or History(user)
        return self._list(history, n, mask=mask, known=known, epoch=self._views.epoch)

    def rank_for_items(
        self, items: Iterable[str], n: int, *, mask: Mask | None, session: str = ""
    ) -> Recommendations:
        """Return a list for a visitor who viewed some items.

        The arm of an experiment depends on the session; without one, on the items.
        """
        page = {item: Entry(item, 1.0, 0, 1, 0, 1) for item in items}
        visitor = History(session or "\0".join(page), n_items=len(page), pages=(page,))
        found = self._list(visitor, n, mask=mask, known=False, epoch=self._views.epoch)
        return replace(found, user=session)

    def _list(
        self, history: History, n: int, *, mask: Mask | None, known: bool, epoch: str
    ) -> Recommendations:
        with self._active.mutex:
            generation = self._active.generation
            if generation is None:
                return Recommendations(
                    rec_id="none",
                    user=history.user,
                    generation=0,
                    source="popular",
                    items=(),
                    epoch=epoch,
                )
            allowed = None if mask is None else mask(generation)
            ranked = self._ranked(history, generation, n, allowed, known=known)
            items: tuple[RecommendedItem, ...] = describe(ranked, history, generation)
            return Recommendations(
                rec_id=f"{self._rec_id(ranked.source, history, generation)}-{_digest(items)}",
                user=history.user,
                generation=generation.number,
                delta=generation.delta,
                arm=ranked.arm,
                as_of=self._as_of(history),
                source=ranked.source,
                items=items,
                epoch=epoch,
            )

    def _ranked(
        self,
        history: History,
        generation: Generation,
        n: int,
        allowed: NDArray[np.bool_] | None = None,
        *,
        known: bool = False,
    ) -> Ranked:
        """Return the ``n`` best items; without those of the history unless ``known`` is set."""
        return rank(
            [history],
            generation,
            n,
            self._active.half_life_of(generation),
            mask=allowed,
            steering=self._steering.steering(),
            known=known,
        )[0]

    def _rec_id(self, what: str, history: History, generation: Generation) -> str:
        """Return the id of an answer made on request: equal for equal inputs."""
        as_of = self._as_of(history)
        place = "" if as_of is None else f"-{as_of.partition}.{as_of.offset}"
        return f"{what}-{generation.number}.{generation.delta}{place}"

    def _as_of(self, history: History) -> AsOf | None:
        if history.offset < 0:
            return None
        partition = partition_for(history.user.encode(), self._partitions)
        return AsOf(partition=partition, offset=history.offset)

    def explain(self, user: str, item: str) -> Explanation:
        """Return the contribution of each entry of a user's history to an item's score.

        Raises
        ------
        NotFound
            The generation does not contain the item, or there is none yet.
        """
        history = self._views.history(user) or History(user)
        with self._active.mutex:
            generation = self._active.generation
            if generation is None:
                raise NotFound("there is no generation yet; try again after the first training")
            return explain(
                history,
                generation,
                item,
                list_size=self._list_size,
                half_life_ms=self._active.half_life_of(generation),
                steering=self._steering.steering(),
            )

    def steering_warnings(self, steering: Steering) -> tuple[str, ...]:
        """Return probably unintended effects of a document on the active generation."""
        with self._active.mutex:
            return (
                ()
                if self._active.generation is None
                else steering_warnings(steering, self._active.generation)
            )

    def similar(self, item: str, n: int) -> tuple[Neighbour, ...] | None:
        """Return the items most similar to one; None if the active generation lacks it.

        Cached until the generation's catalogue changes: the search scans every item, and events
        between trainings change its result little. Lists are made meanwhile; deltas and other
        searches wait.
        """
        generation = self._active.generation
        if generation is None:
            return None
        found = self._similar.get(_key(generation, item, n))
        if found is not None:
            return found
        with self._active.unchanged:
            if item not in generation.rows:
                return None
            key = _key(generation, item, n)
            if key not in self._similar:
                if key[:2] != self._similar_of or len(self._similar) >= CACHED_NEIGHBOURS:
                    self._similar.clear()
                    self._similar_of = key[:2]
                self._similar[key] = similar(generation, item, n)
            return self._similar[key]

    def shelves(self, user: str, *, n_shelves: int, n_items: int, skip: int) -> Shelves:
        """Return shelves of items related to a user's strongest items."""
        history = self._views.history(user) or History(user)
        with self._active.mutex:
            generation = self._active.generation
            if generation is None:
                return Shelves(rec_id="none", user=user, generation=0, delta=0, shelves=())
            ranked = self._ranked(history, generation, POOL + skip)
            found = shelves(
                ranked, history, generation, n_shelves=n_shelves, n_items=n_items, skip=skip
            )
            return Shelves(
                rec_id=self._rec_id("shelves", history, generation),
                user=user,
                generation=generation.number,
                delta=generation.delta,
                as_of=self._as_of(history),
                shelves=found,
            )


def _digest(items: Iterable[RecommendedItem]) -> str:
    """Return a hash of a list's items and their order."""
    hasher = hashlib.blake2b(digest_size=6)
    for entry in items:
        name = entry.item.encode()
        hasher.update(len(name).to_bytes(4, "little") + name)
    return hasher.hexdigest()


def _cut(body: Recommendations, n: int) -> Recommendations:
    return body if n >= len(body.items) else replace(body, items=body.items[:n])


def _key(generation: Generation, item: str, n: int) -> tuple[int, int, str, int]:
    return generation.number, generation.catalogue_offset, item, n
