"""Step 4 of the flow: histories and products as of known offsets → what a training looks at."""

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
class Snapshot:
    """What a generation is a function of, beside its parent and hyper-parameters.

    Attributes
    ----------
    users : mapping of str to UserRows
    offsets : dict of str to int
    n_events : int
    catalogue : mapping of str to Item
        What the catalogue holds.
    withdrawn : collection of str
        What it deleted, as far as its topic still says so.
    catalogue_offset : int
        Next offset of the catalogue that is not in it.
    changed : collection of str
        Products that changed since the parent's offset of the catalogue.
    """

    users: Mapping[str, UserRows]
    offsets: dict[str, int]
    n_events: int
    catalogue: Mapping[str, Item] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()
    catalogue_offset: int = 0
    changed: frozenset[str] = frozenset()


class Known(NamedTuple):
    """What a generation knows of the catalogue: items by row, what lists need of them, which are gone."""

    items: list[Item | None]
    details: dict[str, Item]
    withdrawn: NDArray[np.bool_]

    @classmethod
    def of(cls, generation: Generation, items: Sequence[str]) -> Known:
        """Return those of a generation, for the same items.

        Raises
        ------
        ModelMismatch
            The items are others.
        """
        if generation.items != list(items):
            raise ModelMismatch(
                f"generation {generation.number} has {generation.n_items} items, others than the "
                f"{len(items)} of the log"
            )
        return cls([], dict(generation.details), generation.withdrawn)


def facts_of(snapshot: Snapshot, items: Sequence[str], parent: Generation | None) -> Known:
    """Return what the catalogue says of items; what it deleted stays so until it comes back."""
    catalogue = snapshot.catalogue
    withdrawn = np.array([item in snapshot.withdrawn for item in items], np.bool_)
    if parent is not None:
        gone = np.flatnonzero(parent.withdrawn).tolist()
        withdrawn[[row for row in gone if items[row] not in catalogue]] = True
    found = [catalogue.get(item) for item in items]
    details = {each.item: summarise(each) for each in found if each is not None}
    return Known(found, details, withdrawn)


class Material(NamedTuple):
    """What a training looks at, by rows.

    Attributes
    ----------
    user_ids, items : list of str
        In the order of their rows.
    matrix : (n_users, n_items) CSR
    popularity : Popularity
    held : HeldOut
    entries : tuple of arrays
        Users' numbers, item rows and times of what counts.
    """

    user_ids: list[str]
    items: list[str]
    matrix: sparse.csr_matrix
    popularity: Popularity
    held: HeldOut
    entries: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]


def materialise(
    snapshot: Snapshot,
    known: Sequence[str],
    half_life_ms: float,
    *,
    products: Collection[str] = (),
    is_closed: bool = False,
    is_held_out: bool = False,
) -> Material:
    """Return users, items, the matrix of the two, what is popular, and what was held out.

    Products are items, whether anybody touched them or not. With ``is_closed``, only the known items
    count.
    """
    user_ids = sorted(snapshot.users)
    histories = [snapshot.users[user].history(user) for user in user_ids]
    ids = {entry.item for history in histories for entry in history.entries()}
    held = hold_out(histories) if is_held_out else HeldOut(histories, {})
    histories = held.histories
    items = list(known) if is_closed else extend_index(known, ids.union(products))
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
    return Material(user_ids, items, matrix, popularity, held, entries)
