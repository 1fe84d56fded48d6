"""Steps 7 and 8 of the flow, arranged: a list taken apart into shelves, "because you viewed X".

Every part of a score belongs to an entry of the history (`recstream.core.explaining`). An item
stands on the shelf of the entry that adds most to its score, so no item is on two shelves; the
entries that add most to the items looked at get one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.documents import shared
from recstream.core.events import EVENT_TYPES
from recstream.core.history import History
from recstream.core.kernels.arrays import Float64s, Int32s
from recstream.core.listing import Ranked
from recstream.core.matrix import Row, stack
from recstream.core.model import Generation
from recstream.core.neighbours import parts, strengths

POOL = 200
"""Places of the list that shelves are filled from."""
MIN_ITEMS = 3
"""An entry with fewer items of its own gets no shelf."""
SCORE_DIGITS = 6
SHARE_DIGITS = 3


class ShelfItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item of a shelf.

    Attributes
    ----------
    rank : int
        In the list that the shelves are taken from.
    share : float
        The shelf's entry's part, among all parts that raise the score.
    shared : tuple of str
        What the item and the entry's have in common: ``brand: Acme``.
    """

    item: str
    rank: int
    score: float
    share: float
    shared: tuple[str, ...] = ()


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from one thing a user did.

    Attributes
    ----------
    item : str
        What it was done with.
    event : str
        Type of the newest event with it.
    """

    item: str
    event: str
    items: tuple[ShelfItem, ...]


class Parts(NamedTuple):
    """What each entry of a history adds to each of some items.

    Attributes
    ----------
    columns : (h,) int32
        The entries' item rows.
    total : (n, h) float64
        By factors and both kinds of neighbours.
    """

    columns: Int32s
    total: Float64s


def parts_of(seen: Row, rows: NDArray[np.int32], generation: Generation) -> Parts:
    """Return the parts of some items' scores that belong to the entries of a history."""
    columns, weights = seen
    total = np.zeros((len(rows), len(columns)))
    if generation.model is not None and len(columns):
        total += generation.model.explain_list(stack([seen], generation.n_items), rows).shares
    strength = strengths(columns, weights)
    for name, table in (("content", generation.content), ("behaviour", generation.behaviour)):
        total += parts(columns, strength, table, generation.gain(name), rows)
    return Parts(columns, total)


def shelves(
    ranked: Ranked,
    history: History,
    generation: Generation,
    *,
    n_shelves: int,
    n_items: int,
    skip: int = 0,
) -> tuple[Shelf, ...]:
    """Return a list's items by the entry that speaks most for each, the strongest entry first.

    Parameters
    ----------
    ranked : Ranked
        A long list of the user's; `POOL` places are enough.
    n_shelves, n_items : int
        At most so many shelves, and items on each.
    skip : int
        Places at the top that are shown elsewhere.
    """
    rows = ranked.rows[skip:]
    found = parts_of(ranked.seen, rows, generation)
    if not len(rows) or not len(found.columns):
        return ()
    raising = np.maximum(found.total, 0.0)
    owner = raising.argmax(axis=1)
    owner[raising.max(axis=1) <= 0.0] = -1
    prior = np.maximum(generation.bias[rows].astype(np.float64), 0.0)
    whole = raising.sum(axis=1) + prior
    whole[whole == 0.0] = 1.0
    strength = raising.sum(axis=0)
    made: list[Shelf] = []
    for column in np.argsort(-strength, kind="stable").tolist():
        places = np.flatnonzero(owner == column).tolist()
        entry = history.find(generation.items[found.columns[column]])
        if len(places) < MIN_ITEMS or entry is None:
            continue
        shares = raising[:, column] / whole
        made.append(
            Shelf(
                item=entry.item,
                event=EVENT_TYPES[entry.kind],
                items=_items(places[:n_items], ranked, shares, generation, entry.item, skip),
            )
        )
        if len(made) == n_shelves:
            break
    return tuple(made)


def _items(
    places: Sequence[int],
    ranked: Ranked,
    shares: Float64s,
    generation: Generation,
    because: str,
    skip: int,
) -> tuple[ShelfItem, ...]:
    facts = generation.details
    items: list[ShelfItem] = []
    for place in places:
        name = generation.items[ranked.rows[skip + place]]
        items.append(
            ShelfItem(
                item=name,
                rank=skip + place + 1,
                score=round(float(ranked.scores[skip + place]), SCORE_DIGITS),
                share=round(float(shares[place]), SHARE_DIGITS),
                shared=shared(facts.get(because), facts.get(name)),
            )
        )
    return tuple(items)
