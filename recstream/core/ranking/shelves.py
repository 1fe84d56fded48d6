"""Steps 7 and 8 of the flow, arranged: a list taken apart into shelves, "because you viewed X".

Every part of a score belongs to an entry of the history (`recstream.core.ranking.explain`). An item
stands on the shelf of the entry that adds most to its score, so no item is on two shelves; the
entries that add most to the items looked at get one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from recstream.core.content import common_features
from recstream.core.events import EVENT_TYPES
from recstream.core.generation import Generation
from recstream.core.history import History
from recstream.core.numeric.arrays import Float64s
from recstream.core.ranking.rank import Ranked, parts_of

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
    if not len(rows) or not len(ranked.seen[0]):
        return ()
    arm = None if ranked.steered is None else ranked.steered.arm
    told = parts_of(ranked.seen, generation, arm, rows)
    raising = np.maximum(told.factors + told.behaviour + told.content, 0.0)
    owner = raising.argmax(axis=1)
    owner[raising.max(axis=1) <= 0.0] = -1
    whole = raising.sum(axis=1) + np.maximum(told.popularity, 0.0)
    whole[whole == 0.0] = 1.0
    strength = raising.sum(axis=0)
    made: list[Shelf] = []
    for column in np.argsort(-strength, kind="stable").tolist():
        places = np.flatnonzero(owner == column).tolist()
        entry = history.find(generation.items[told.columns[column]])
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
                shared=common_features(facts.get(because), facts.get(name)),
            )
        )
    return tuple(items)
