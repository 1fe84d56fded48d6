"""Training dataset: histories and catalogue as of known offsets, as a matrix and indexes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.content import summarise
from recstream.core.evaluation import HeldOut, hold_out
from recstream.core.generation import Generation
from recstream.core.history import extend_index, matrix_row, stack
from recstream.core.popularity import Popularity, fit_popularity
from recstream.core.records import Item
from recstream.errors import ModelMismatch
from recstream.trainer.changelog import UserRows


@dataclass(frozen=True)
class TrainingSnapshot:
    """Histories and catalogue as of known offsets: the input of a training.

    Attributes
    ----------
    users : mapping of str to UserRows
    offsets : dict of str to int
        Partition to the next offset of interactions.
    n_events : int
    catalogue : mapping of str to Item
    withdrawn : collection of str
        Deleted items whose tombstone is still on the topic.
    catalogue_offset : int
        Next offset of the catalogue topic.
    changed : collection of str
        Products that changed since the parent's catalogue offset.
    """

    users: Mapping[str, UserRows]
    offsets: dict[str, int]
    n_events: int
    catalogue: Mapping[str, Item] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()
    catalogue_offset: int = 0
    changed: frozenset[str] = frozenset()


class CatalogueFacts(NamedTuple):
    """Catalogue facts of a generation: items by row, details that lists show, withdrawn rows."""

    items: list[Item | None]
    details: dict[str, Item]
    withdrawn: NDArray[np.bool_]

    @classmethod
    def of(cls, generation: Generation, items: Sequence[str]) -> CatalogueFacts:
        """Return the facts of an existing generation with the same items.

        Raises
        ------
        ModelMismatch
            The items differ.
        """
        if generation.items != list(items):
            raise ModelMismatch(
                f"generation {generation.number} has {generation.n_items} items that differ from "
                f"the {len(items)} of the log"
            )
        return cls([], dict(generation.details), generation.withdrawn)


def catalogue_facts(
    snapshot: TrainingSnapshot, items: Sequence[str], parent: Generation | None
) -> CatalogueFacts:
    """Return the facts of items; a withdrawn item stays so until it is in the catalogue again."""
    catalogue = snapshot.catalogue
    withdrawn = np.array([item in snapshot.withdrawn for item in items], np.bool_)
    if parent is not None:
        gone = np.flatnonzero(parent.withdrawn).tolist()
        withdrawn[[row for row in gone if items[row] not in catalogue]] = True
    found = [catalogue.get(item) for item in items]
    details = {each.item: summarise(each) for each in found if each is not None}
    return CatalogueFacts(found, details, withdrawn)


class Dataset(NamedTuple):
    """Users, items and interactions of a training, by rows.

    Attributes
    ----------
    user_ids, items : list of str
        By row.
    matrix : (n_users, n_items) CSR
    popularity : Popularity
    held : HeldOut
    entries : tuple of arrays
        User rows, item rows and times (ms) of entries with a positive weight.
    """

    user_ids: list[str]
    items: list[str]
    matrix: sparse.csr_matrix
    popularity: Popularity
    held: HeldOut
    entries: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]


def build_dataset(
    snapshot: TrainingSnapshot,
    known: Sequence[str],
    half_life_ms: float,
    *,
    products: Collection[str] = (),
    only_known: bool = False,
    with_held_out: bool = False,
) -> Dataset:
    """Build the dataset of a snapshot.

    Parameters
    ----------
    snapshot : TrainingSnapshot
    known : sequence of str
        Items that keep their rows; new ones follow by id.
    half_life_ms : float
    products : collection of str
        Items to include even if no user touched them.
    only_known : bool
        Leave out all but the known items.
    with_held_out : bool
        Hold out the newest entries for evaluation.
    """
    user_ids = sorted(snapshot.users)
    histories = [snapshot.users[user].history(user) for user in user_ids]
    ids = {entry.item for history in histories for entry in history.entries()}
    held = hold_out(histories) if with_held_out else HeldOut(histories, {})
    histories = held.histories
    items = list(known) if only_known else extend_index(known, ids.union(products))
    rows = {item: at for at, item in enumerate(items)}
    matrix = stack([matrix_row(history, rows, half_life_ms) for history in histories], len(items))
    seen = [
        (user, rows[entry.item], entry.at_ms)
        for user, history in enumerate(histories)
        for entry in history.entries()
        if entry.weight > 0.0 and entry.item in rows
    ]
    owners, columns, at_ms = np.array(seen, np.int64).reshape(-1, 3).T
    popularity = fit_popularity(columns, at_ms, len(items))
    entries = (owners, columns.astype(np.int32), at_ms)
    return Dataset(user_ids, items, matrix, popularity, held, entries)
