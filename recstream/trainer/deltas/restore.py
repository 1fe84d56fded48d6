"""Restore a trainer's state for an existing generation: after a restart, or for a rollback."""

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from recstream.core.evaluation import HeldOut
from recstream.core.generation import Generation
from recstream.core.numeric.arrays import Int32s, Int64s, csr_of
from recstream.core.records import GenerationAnnounced
from recstream.models import ModelFeed
from recstream.process import run_in_thread
from recstream.trainer.catalogue import CatalogueState
from recstream.trainer.deltas.deltas import Deltas
from recstream.trainer.histories import Entries, HistoryColumns
from recstream.trainer.histories.changelog import Touch, UserChanges
from recstream.trainer.inputs import Inputs
from recstream.trainer.training import (
    ItemFeatures,
    MatrixRows,
    Trained,
    columns_of,
    counts_of,
    deleted_products,
    popularity_of,
)

log = logging.getLogger(__name__)

SLICE_USERS = 1 << 15
"""Users that are folded in together: it bounds the memory beyond the result's."""


def copy_generation(generation: Generation, number: int) -> Generation:
    """Return a copy of a generation, without deltas, under another number: a rollback serves it."""
    return Generation(
        number=number,
        parent=generation.number,
        offsets=generation.offsets,
        hyperparameters=generation.hyperparameters,
        seed=generation.seed,
        items=generation.items,
        bias=generation.bias,
        model=generation.model,
        details=generation.details,
        withdrawn=generation.withdrawn,
        content=generation.content.copy(),
        behaviour=generation.behaviour.copy(),
        content_arrays=generation.content_arrays,
        catalogue_offset=generation.catalogue_offset,
    )


class Found(NamedTuple):
    """A generation to restore.

    Attributes
    ----------
    moved : Generation or None
        With its deltas; None if there is none.
    stored : Generation or None
        Without them; None for a rollback.
    copies : int or None
        Rollback: number of the older generation.
    newest : int
        Highest number that was announced, usable or not; -1 for none.
    announced : GenerationAnnounced or None
        The announcement of ``stored``: retention may delete its record while the state is restored.
    """

    moved: Generation | None
    stored: Generation | None = None
    copies: int | None = None
    newest: int = -1
    announced: GenerationAnnounced | None = None

    @property
    def is_newest_lost(self) -> bool:
        """Whether the generation announced last can't be used."""
        return (-1 if self.stored is None else self.stored.number) < self.newest


def find_newest(feed: ModelFeed) -> Found:
    """Return the newest usable generation; closes the feed."""
    try:
        moved = feed.newest()
        stored = None if feed.announced is None else feed.fetch(feed.announced)
    finally:
        feed.close()
    newest = -1 if feed.newest_announced is None else feed.newest_announced
    found = Found(moved, stored, newest=newest, announced=feed.announced)
    log.info("trainer active generation=%s", None if stored is None else stored.number)
    if found.is_newest_lost:
        log.error("generation %d can't be used: a new one is trained", newest)
    return found


class Restored(NamedTuple):
    """The state of an existing generation; ``stored``, ``copies`` and ``announced`` as in `Found`."""

    trained: Trained
    deltas: Deltas
    stored: Generation | None
    copies: int | None
    announced: GenerationAnnounced | None

    def note_unpublished(self, unknown: UserChanges, catalogue: CatalogueState) -> None:
        """Mark users and products changed since the last delta as pending."""
        moved = self.trained.generation
        self.deltas.touch(unknown.users, unknown.touches)
        deleted = deleted_products(moved, catalogue.items)
        self.deltas.change(dict.fromkeys(deleted, moved.catalogue_offset), catalogue.items)
        if self.stored is None:
            self.deltas.change(catalogue.changed_since(moved.catalogue_offset), catalogue.items)
            return
        published, unpublished = catalogue.split_by_published(
            self.stored.catalogue_offset, moved.catalogue_offset
        )
        self.deltas.mark_published(published)
        self.deltas.change(unpublished, catalogue.items, republish=True)


def start_restoring(
    find: Callable[[], Found], inputs: Inputs
) -> Future[tuple[Found, Restored | None]]:
    """Start `find` and `restore` in a thread; the inputs must not change until it is done."""
    done: Future[tuple[Found, Restored | None]] = Future()

    def work() -> None:
        try:
            found = find()
            restored = None
            if found.moved is not None:
                trained, unknown = restore(found.moved, inputs.histories)
                restored = Restored(
                    trained, Deltas(trained), found.stored, found.copies, found.announced
                )
                restored.note_unpublished(unknown, inputs.catalogue)
            done.set_result((found, restored))
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            done.set_exception(error)

    run_in_thread("recstream-restore", work)
    return done


def restore(generation: Generation, histories: HistoryColumns) -> tuple[Trained, UserChanges]:
    """Return what deltas need of an existing generation, and the changes that it does not contain.

    Users are folded in from their current histories, a slice at a time. Nothing is trained, and the
    generation is not changed. The changes are entries of items that the generation does not have. The
    histories must not change meanwhile.
    """
    half_life_ms = float(generation.hyperparameters["half_life_ms"])
    threads = int(generation.hyperparameters.get("threads", 0)) or os.cpu_count() or 1
    users, model = histories.known_rows(), generation.model
    columns = columns_of(list(histories.items), generation.rows)
    version = int(generation.hyperparameters.get("popularity_version", 1))
    rows = MatrixRows(len(users), int(histories.runs["n"][users].sum(dtype=np.int64)))
    factors = np.empty((len(users), generation.n_factors), np.float32)
    touches: list[Touch] = []
    unknown: list[str] = []
    first = 0
    with ThreadPoolExecutor(1, thread_name_prefix="recstream-popularity") as beside:
        popularity = beside.submit(
            popularity_of, histories, users, columns, generation.n_items, version
        )
        for part, entries in histories.slices(users, SLICE_USERS):
            at = columns[entries.items]
            made = rows.add(entries, at, histories.runs["clock_ms"][part], half_life_ms)
            if model is not None:
                factors[first : first + len(part)] = model.fold_in(
                    csr_of(*made, generation.n_items), threads=threads
                )
            first += len(part)
            missing = np.flatnonzero(at < 0)
            if len(missing):
                owners = part[np.searchsorted(entries.indptr, missing, side="right") - 1]
                unknown += histories.users.names(np.unique(owners).tolist())
                touches += _touches(histories, owners, entries, missing)
    matrix = rows.matrix(generation.n_items)
    if model is not None:
        model = model.replaced(user_factors=factors, user_counts=counts_of(matrix))
    trained = Trained(
        generation,
        model,
        users,
        matrix.tocsc(),
        popularity.result(),
        None,
        HeldOut([], {}),
        ItemFeatures.from_arrays(generation.content_arrays, n_feature_rows(generation)),
    )
    return trained, UserChanges(tuple(unknown), tuple(sorted(touches)))


def _touches(
    histories: HistoryColumns, owners: Int32s, entries: Entries, missing: Int64s
) -> Iterator[Touch]:
    """Yield the entries at ``missing``, whose items the generation does not have."""
    users = histories.users.names(owners.tolist())
    items = histories.items.names(entries.items[missing].tolist())
    offsets, weights = entries.offsets[missing].tolist(), entries.weights[missing].tolist()
    for offset, item, user, weight in zip(offsets, items, users, weights, strict=True):
        yield Touch(offset, item, user, weight > 0.0)


def n_feature_rows(generation: Generation) -> int:
    """Return the number of feature rows in an artifact; items that deltas added follow them."""
    indptr = generation.content_arrays.get("features.indptr")
    return 0 if indptr is None else len(indptr) - 1
