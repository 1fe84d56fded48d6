"""Lists and explanations, made on request from the active generation.

The worker publishes a list after each event. Lists that are not published (of a visitor, of a
category, of another length) are made here, by the same functions and from the same generation.
"""

import hashlib
import threading
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from recstream.bridge.published import ListInputs, PublishedLists
from recstream.core.generation import Generation
from recstream.core.history import History
from recstream.core.ranking import Explanation, describe, explain, rank, steering_warnings
from recstream.core.records import AsOf, Recommendations, RecommendedItem, Requested
from recstream.core.serving import (
    Taste,
    Unranked,
    among,
    next_cursor,
    rank_requested,
    read_cursor,
    request_warnings,
    unranked,
    user_taste,
    visitor_history,
)
from recstream.core.steering import (
    MAX_REQUEST_BOOSTS,
    Condition,
    ListRequest,
    RequestBoost,
    Steering,
)
from recstream.errors import NotFound, Overloaded
from recstream.log import Record, partition_for


class SteeringEffect(msgspec.Struct, frozen=True, kw_only=True):
    """A user's list now, and under another steering document.

    Attributes
    ----------
    arm : str
        The user's arm under the other document.
    overlap : float
        Share of items that are in both lists.
    before, after : tuple of RecommendedItem
        ``was`` in ``after`` is the rank in ``before``.
    """

    user: str
    arm: str
    overlap: float
    before: tuple[RecommendedItem, ...]
    after: tuple[RecommendedItem, ...]


MAX_WAITING = 8
"""Requests of all routes that wait for an offset at a time: each holds one of the server's threads."""


class Recommender:
    """Answers queries from published lists, histories and the active generation.

    Parameters
    ----------
    partitions : int
        Partition count of the interactions topic, for `AsOf`.
    """

    def __init__(self, sources: ListInputs, *, list_size: int, partitions: int) -> None:
        self._sources = sources
        self._list_size = list_size
        self._partitions = partitions
        self._published = PublishedLists(sources)
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)

    @property
    def current(self) -> tuple[int, int] | None:
        """Number of the active generation and of its delta; None before the first."""
        return self._sources.active.current

    @property
    def half_life_ms(self) -> float:
        """Half-life of an event's weight in lists made now."""
        return self._sources.active.half_life_of(self._sources.active.generation)

    def taste(self, user: str, n: int) -> Taste:
        """Return what a user's factors point to; empty before the first generation."""
        history = self._sources.history(user)
        with self._sources.active.lock.read():
            generation = self._sources.active.generation
            if generation is None:
                return Taste(user=user, generation=0, delta=0)
            return user_taste(history, generation, self._sources.active.half_life_of(generation), n)

    def list_offset(self, user: str) -> int:
        """Return the offset of a user's published list, -1 for none."""
        return self._sources.views.list_offset(user)

    def published(self, user: str) -> Recommendations | None:
        """Return a user's published list without items seen or withdrawn since."""
        return self._published.of(user)

    def newest(self, user: str, record: Record) -> Recommendations | None:
        """Return what `published` returns of a user whose newest list is this record."""
        return self._published.newest(user, record)

    def is_published(self, user: str) -> bool:
        """Return whether a user's list is the published one; others are made when asked for."""
        stored = self._published.in_force(user)
        return stored is not None and stored.source != "popular"

    def list_of(self, user: str) -> Recommendations:
        """Return a user's list: the published one, or one made now."""
        return self.recommend(user, ListRequest(n=self._list_size))

    def recommend(
        self, user: str, request: ListRequest, *, is_fresh: bool = False
    ) -> Recommendations:
        """Return the list of a user that a request asks for: from the published one, or made now.

        Parameters
        ----------
        is_fresh : bool
            The list must contain the newest event that this bridge knows.
        """
        stored = self._published.in_force(user) if request.is_plain else None
        if stored is None or stored.source == "popular":
            history = self._sources.history(user)
            request = self._by_segment(history, request)
        if request.is_plain:
            if stored is not None and is_fresh and stored.as_of is not None:
                is_newest = stored.as_of.offset == self._sources.views.newest_offset(user)
                stored = stored if is_newest else None
            has_all = stored is not None and request.n <= len(stored.items)
            if stored is not None and (has_all or self._sources.active.generation is None):
                page = stored.items[: request.n]
                return replace(stored, items=page, next=_next(request, page))
        return self._list(self._sources.history(user), request)[0]

    def _by_segment(self, history: History, request: ListRequest) -> ListRequest:
        """Return a request with the boosts of the user's segments; for a user without events alone."""
        generation, n = self._sources.active.generation, MAX_REQUEST_BOOSTS - len(request.boost)
        if not history.properties or history.n_items or generation is None or n <= 0:
            return request
        weight = float(generation.hyperparameters.get("popularity_weight", 0.0))
        with self._sources.counts.mutex:
            boosts = self._sources.counts.counts.segments.boosts(
                history.properties, weight, n, self._sources.now_ms()
            )
        added = [
            RequestBoost(where=Condition(items=(item,)), by=by)
            for item, by in boosts
            if item in generation.rows
        ]
        return replace(request, boost=(*request.boost, *added))

    def rank_for_items(
        self, items: Iterable[str], request: ListRequest, *, session: str = ""
    ) -> Recommendations:
        """Return a list for a visitor who viewed some items.

        The arm of an experiment depends on the session; without one, on the items.
        """
        names = tuple(items)
        found, _ = self._list(visitor_history(names, session), request, items=names)
        return replace(found, user=session)

    def rank_candidates(
        self,
        candidates: tuple[str, ...],
        request: ListRequest,
        *,
        user: str = "",
        items: tuple[str, ...] = (),
        session: str = "",
    ) -> tuple[Recommendations, tuple[Unranked, ...]]:
        """Rank some items for a user, or for a visitor; return those without a place, too.

        Parameters
        ----------
        user : str
            Ranked by this user's history; empty for a visitor.
        session : str
            The visitor's session, for rules that divide users.
        """
        history = visitor_history(items, session)
        if user:
            history = self._sources.history(user)
        found, rest = self._list(history, request, items=items, candidates=candidates)
        return replace(found, user=user or session), rest

    def placed(self, user: str, placement: str) -> Recommendations | None:
        """Return a user's list of a placement, at the position of the published list; None without it."""
        _, steering = self._sources.steering.document()
        place = None if steering is None else steering.placement(placement)
        if place is None:
            return None
        request = ListRequest(n=place.size or self._list_size, placement=placement)
        found = self.recommend(user, request)
        partition = partition_for(user.encode(), self._partitions)
        stored = self._sources.views.latest(user)
        return replace(found, partition=partition, offset=-1 if stored is None else stored.offset)

    def has_folded(self, partition: int, offset: int) -> bool:
        """Return whether this bridge's histories contain an offset of a partition."""
        return self._sources.views.wait_folded(partition, offset, 0.0)

    def wait_for(self, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until this bridge's histories contain an offset of a partition.

        Raises
        ------
        Overloaded
            Too many requests wait already.
        """
        if not self._waiting.acquire(blocking=False):
            raise Overloaded(f"{MAX_WAITING} requests wait for their min_position; try again later")
        try:
            return self._sources.views.wait_folded(partition, offset, timeout_s)
        finally:
            self._waiting.release()

    def _list(
        self,
        history: History,
        request: ListRequest,
        *,
        items: tuple[str, ...] = (),
        candidates: tuple[str, ...] = (),
    ) -> tuple[Recommendations, tuple[Unranked, ...]]:
        """Return a list made now, and the candidates without a place in it.

        Parameters
        ----------
        items : tuple of str
            What a visitor viewed: the history's items.
        """
        found, rest = self._made(history, request, items, candidates)
        # A delta will exclude these items within a second; until then the request does.
        if gone := self._sources.items.unlisted([entry.item for entry in found.items]):
            found, rest = self._made(history, request.excluding(gone), items, candidates)
        return found, rest

    def _made(
        self,
        history: History,
        request: ListRequest,
        items: tuple[str, ...],
        candidates: tuple[str, ...],
    ) -> tuple[Recommendations, tuple[Unranked, ...]]:
        """Return what `_list` does, from the generation as it is."""
        offset, steering = self._sources.steering.document()
        with self._sources.active.lock.read():
            generation = self._sources.active.generation
            if generation is None:
                nothing = Recommendations(
                    rec_id="none",
                    user=history.user,
                    generation=0,
                    source="popular",
                    items=(),
                    epoch=self._sources.views.epoch,
                )
                return nothing, tuple(Unranked(item=each, reason="unknown") for each in candidates)
            asked = among(request, candidates) if candidates else request
            ranked = rank_requested(
                history,
                generation,
                asked,
                self._sources.active.half_life_of(generation),
                steering,
                self._sources.now_ms(),
            )
            first = 1 + request.offset + len(read_cursor(request.cursor))
            page = describe(ranked, history, generation, first=first)
            found = Recommendations(
                rec_id=f"{self.rec_id(ranked.source, history, generation)}-{_digest(page)}",
                user=history.user,
                generation=generation.number,
                delta=generation.delta,
                arm=ranked.arm,
                now=ranked.now_ms,
                as_of=self.as_of(history),
                source=ranked.source,
                items=page,
                epoch=self._sources.views.epoch,
                requested=Requested(
                    request=asked,
                    steering=offset,
                    items=items,
                    warnings=request_warnings(request, ranked.compiled, generation, items),
                ),
                next=_next(request, page),
            )
            return found, unranked(candidates, ranked, generation)

    def rec_id(self, what: str, history: History, generation: Generation) -> str:
        """Return the id of an answer made on request: equal for equal inputs."""
        as_of = self.as_of(history)
        place = "" if as_of is None else f"-{as_of.partition}.{as_of.offset}"
        return f"{what}-{generation.number}.{generation.delta}{place}"

    def as_of(self, history: History) -> AsOf | None:
        """Return the position of the newest event in a history; None without one."""
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
        history = self._sources.history(user)
        active_steering = self._sources.steering.steering()
        with self._sources.active.lock.read():
            generation = self._sources.active.generation
            if generation is None:
                raise NotFound("there is no generation yet; try again after the first training")
            return explain(
                history,
                generation,
                item,
                list_size=self._list_size,
                half_life_ms=self._sources.active.half_life_of(generation),
                steering=active_steering,
                now_ms=self._sources.now_ms(),
            )

    def steering_warnings(self, steering: Steering) -> tuple[str, ...]:
        """Return probably unintended effects of a document on the active generation."""
        with self._sources.active.lock.read():
            generation = self._sources.active.generation
            if generation is None:
                return ()
            return steering_warnings(steering, generation, self._sources.now_ms())

    def preview(
        self, users: Iterable[str], steering: Steering, n: int
    ) -> tuple[SteeringEffect, ...]:
        """Return users' lists of ``n`` items now, and as they would be under a document."""
        histories = [self._sources.history(user) for user in users]
        active_steering = self._sources.steering.steering()
        now_ms = self._sources.now_ms()
        effects = []
        for history in histories:
            with self._sources.active.lock.read():
                generation = self._sources.active.generation
                if generation is None:
                    return ()
                half_life_ms = self._sources.active.half_life_of(generation)
                old, ranked = (
                    rank([history], generation, n, half_life_ms, steering=each, now_ms=now_ms)[0]
                    for each in (active_steering, steering)
                )
                before = describe(old, history, generation)
                names = [entry.item for entry in before]
                after = describe(ranked, history, generation, names)
            n_shared = sum(entry.was > 0 for entry in after)
            effects.append(
                SteeringEffect(
                    user=history.user,
                    arm=ranked.arm,
                    overlap=n_shared / max(1, len(before), len(after)),
                    before=before,
                    after=after,
                )
            )
        return tuple(effects)


def _digest(items: Iterable[RecommendedItem]) -> str:
    """Return a hash of a list's items and their order."""
    hasher = hashlib.blake2b(digest_size=6)
    for entry in items:
        name = entry.item.encode()
        hasher.update(len(name).to_bytes(4, "little") + name)
    return hasher.hexdigest()


def _next(request: ListRequest, page: Sequence[RecommendedItem]) -> str:
    return next_cursor(request, [entry.item for entry in page])
