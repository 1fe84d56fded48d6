"""Steps 7 and 8 of the flow, on request: lists, neighbours and reasons from the newest generation.

The worker publishes a list whenever a user acts. What nobody published (a visitor's list, a category's,
a longer one) is made here by the same functions from the same generation.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

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
    warnings_of,
)
from recstream.core.records import (
    AsOf,
    DeltaAnnounced,
    GenerationAnnounced,
    ModelRecord,
    Recommendations,
    RecommendedItem,
)
from recstream.core.steering import Steering
from recstream.errors import ArtifactCorrupt, ModelMismatch, NotFound
from recstream.log import partition_for
from recstream.metrics import MODEL_GENERATION
from recstream.models import EarlyArtifacts, ModelStore, moved

log = logging.getLogger(__name__)

CACHED_NEIGHBOURS = 4096

"""Which items of a generation may be listed; None for all."""


class Shelves(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's shelves, made on request from the history as this bridge has read it."""

    rec_id: str
    user: str
    generation: int
    delta: int = 0
    as_of: AsOf | None = None
    shelves: tuple[Shelf, ...]


class Serving:
    """The generation that this bridge serves, kept up with the models topic.

    Parameters
    ----------
    views : Views
        Hold what was announced before this process started.
    store : ModelStore
    half_life_ms : float
        Of an event's weight, for generations that don't say theirs.
    list_size : int
        Items in a published list.
    partitions : int
        Of the interactions topic, for `AsOf`.
    steering : SteeringFeed
        Lists made here are made by the newest document.
    """

    def __init__(
        self,
        views: Views,
        store: ModelStore,
        *,
        half_life_ms: float,
        list_size: int,
        partitions: int,
        steering: SteeringFeed,
    ) -> None:
        self._views = views
        self._early = EarlyArtifacts(store)
        self._half_life_ms = half_life_ms
        self._list_size = list_size
        self._partitions = partitions
        self._steering = steering
        self._generation: Generation | None = None
        self._similar: dict[tuple[int, int, str, int], tuple[Neighbour, ...]] = {}
        self._similar_of = (-1, -1)
        self._mutex = threading.Lock()
        # Held by what reads a generation for long, and by what moves it; taken before the mutex.
        self._still = threading.Lock()
        self._inbox: queue.SimpleQueue[ModelRecord | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._adopt_all, name="adopt", daemon=True)
        self.on_change: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Adopt the newest generation that can be had, and then every new one, in a thread."""
        self._thread.start()

    def take(self, models: Iterable[ModelRecord]) -> None:
        """Adopt what was announced, soon."""
        for model in models:
            self._inbox.put(model)

    def stop(self) -> None:
        """End the thread."""
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._early.close()

    def _adopt_all(self) -> None:
        self._adopt_newest()
        while (model := self._inbox.get()) is not None:
            waiting = [model]
            while not self._inbox.empty():
                more = self._inbox.get()
                if more is None:
                    return
                waiting.append(more)
            if any(isinstance(one, GenerationAnnounced) for one in waiting):
                self._adopt_newest()
            for one in waiting:
                if isinstance(one, DeltaAnnounced):
                    self._move(one)
            self._early.look(None if self._generation is None else self._generation.number)
            self.on_change()

    def _adopt_newest(self) -> None:
        """Adopt the newest generation that can be read and is newer than the one served."""
        for announced in self._views.generations():
            current = self._generation
            if current is not None and announced.generation <= current.number:
                return
            if self._adopt(announced):
                return

    def _adopt(self, announced: GenerationAnnounced) -> bool:
        try:
            generation = self._early.fetch(announced)
            moved(generation, self._views.deltas(announced.generation))
            # The first list compiles or loads the kernels: nobody should wait for that.
            rank([History("")], generation, 1, self._half_life_of(generation))
        except (ArtifactCorrupt, ModelMismatch, NotFound, OSError) as error:
            log.error("model refused generation=%d reason=%s", announced.generation, error)  # noqa: TRY400 - the reason says it all
            return False
        with self._mutex:
            self._generation = generation
        MODEL_GENERATION.set(generation.number)
        log.info("model adopted generation=%d items=%d", generation.number, generation.n_items)
        return True

    def _move(self, delta: DeltaAnnounced) -> None:
        with self._still, self._mutex:
            generation = self._generation
            if generation is None or delta.generation != generation.number:
                return
            try:
                generation.apply_delta(delta)
            except ModelMismatch as error:
                log.warning("delta refused reason=%s", error)

    def _half_life_of(self, generation: Generation) -> float:
        """Return the half-life that a generation was trained with: a list must fade as it did."""
        return float(generation.hyperparameters.get("half_life_ms", self._half_life_ms))

    @property
    def current(self) -> tuple[int, int] | None:
        """Generation and delta that lists are made from; None before the first."""
        generation = self._generation
        return None if generation is None else (generation.number, generation.delta)

    def published(self, user: str) -> Recommendations | None:
        """Return a user's published list without what was seen or withdrawn since."""
        stored = self._views.latest(user)
        if stored is None:
            return None
        unwanted = self._withdrawn(stored)
        # What a list was made from it leaves out; nothing more is known while no event came since.
        if stored.as_of is None or stored.as_of.offset != self._views.newest_offset(user):
            history = self._views.history(user)
            unwanted |= set() if history is None else seen_items(history)
        return without(stored, unwanted)

    def _in_force(self, user: str) -> Recommendations | None:
        """Return the published list, None if the newest steering document did not make it.

        Who is told of lists as they are published is told of every one: whether its rules are the
        newest may not be known here yet, and the next list follows.
        """
        stored = self.published(user)
        is_current = stored is not None and self._steering.is_current(stored.control)
        return stored if is_current else None

    def _withdrawn(self, body: Recommendations) -> set[str]:
        """Return the items of a list that the catalogue has withdrawn since."""
        generation = self._generation
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
        """Return a user's list: the published one, or what is popular."""
        return self._in_force(user) or self.made_for(user, self._list_size)

    def recommend(self, user: str, n: int, *, mask: Mask | None, known: bool) -> Recommendations:
        """Return a user's ``n`` best items.

        Parameters
        ----------
        mask : callable or None
            None: any item.
        known : bool
            Items that the user has seen may be in it.
        """
        if mask is None and not known:
            stored = self._in_force(user)
            if stored is not None and (n <= len(stored.items) or self._generation is None):
                return _cut(stored, n)
        return self.made_for(user, n, mask=mask, known=known)

    def made_for(
        self, user: str, n: int, *, mask: Mask | None = None, known: bool = False
    ) -> Recommendations:
        """Return a user's list made now, from the history as this bridge has read it."""
        history = self._views.history(user) or History(user)
        return self._made(history, n, mask=mask, known=known, epoch=self._views.epoch)

    def made_from(self, items: Iterable[str], n: int, *, mask: Mask | None) -> Recommendations:
        """Return a list for somebody who looked at some items and nothing else."""
        page = {item: Entry(item, 1.0, 0, 1, 0, 1) for item in items}
        visitor = History("", n_items=len(page), pages=(page,))
        return self._made(visitor, n, mask=mask, known=False, epoch=self._views.epoch)

    def _made(
        self, history: History, n: int, *, mask: Mask | None, known: bool, epoch: str
    ) -> Recommendations:
        with self._mutex:
            generation = self._generation
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
                rec_id=self._rec_id(ranked.source, history, generation),
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
        """Return the ``n`` best items, without those of the history unless ``known`` says so."""
        return rank(
            [history],
            generation,
            n,
            self._half_life_of(generation),
            mask=allowed,
            steering=self._steering.steering(),
            known=known,
        )[0]

    def _rec_id(self, what: str, history: History, generation: Generation) -> str:
        """Return the name of something made on request: the same for the same inputs."""
        as_of = self._as_of(history)
        place = "" if as_of is None else f"-{as_of.partition}.{as_of.offset}"
        return f"{what}-{generation.number}.{generation.delta}{place}"

    def _as_of(self, history: History) -> AsOf | None:
        if history.offset < 0:
            return None
        partition = partition_for(history.user.encode(), self._partitions)
        return AsOf(partition=partition, offset=history.offset)

    def explain(self, user: str, item: str) -> Explanation:
        """Return what each entry of a user's history adds to an item's score.

        Raises
        ------
        NotFound
            The generation does not know the item, or there is none yet.
        """
        history = self._views.history(user) or History(user)
        with self._mutex:
            generation = self._generation
            if generation is None:
                raise NotFound("there is no generation yet: nothing can be said of an item")
            return explain(
                history,
                generation,
                item,
                list_size=self._list_size,
                half_life_ms=self._half_life_of(generation),
                steering=self._steering.steering(),
            )

    def warnings_of(self, steering: Steering) -> tuple[str, ...]:
        """Return what a document does on the generation served that is hardly meant."""
        with self._mutex:
            return () if self._generation is None else warnings_of(steering, self._generation)

    def similar(self, item: str, n: int) -> tuple[Neighbour, ...] | None:
        """Return the items most like one; None if the generation lacks it, or there is none.

        Remembered until the catalogue in the generation changes: finding them looks at every item,
        and what people do between trainings moves them little. Lists are made meanwhile; only
        deltas and other searches wait.
        """
        generation = self._generation
        if generation is None:
            return None
        found = self._similar.get(_key(generation, item, n))
        if found is not None:
            return found
        with self._still:
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
        """Return what follows from the strongest things a user did, as shelves."""
        history = self._views.history(user) or History(user)
        with self._mutex:
            generation = self._generation
            if generation is None:
                return Shelves(rec_id="none", user=user, generation=0, delta=0, shelves=())
            ranked = self._ranked(history, generation, POOL + skip)
            made = shelves(
                ranked, history, generation, n_shelves=n_shelves, n_items=n_items, skip=skip
            )
            return Shelves(
                rec_id=self._rec_id("shelves", history, generation),
                user=user,
                generation=generation.number,
                delta=generation.delta,
                as_of=self._as_of(history),
                shelves=made,
            )


def _cut(body: Recommendations, n: int) -> Recommendations:
    return body if n >= len(body.items) else replace(body, items=body.items[:n])


def _key(generation: Generation, item: str, n: int) -> tuple[int, int, str, int]:
    return generation.number, generation.catalogue_offset, item, n
