"""Shelves, "because you viewed X": a list grouped by the history entry that contributes most.

An item is on the shelf of the entry with the largest contribution to its score, so on one shelf only. The
entries with the largest total contribution get a shelf.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from recstream.core.content import common_features
from recstream.core.events import EVENT_TYPES
from recstream.core.generation import Generation
from recstream.core.history import History
from recstream.core.numeric.arrays import Float64s
from recstream.core.ranking import Ranked, score_terms

POOL = 200
"""Length of the list that shelves are filled from."""
MIN_ITEMS = 3
"""An entry with fewer items gets no shelf."""
SCORE_DIGITS = 6
SHARE_DIGITS = 3


class ShelfItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item of a shelf.

    Attributes
    ----------
    rank : int
        In the list that the shelves are made from.
    share : float
        The entry's part of all positive terms of the score.
    shared : tuple of str
        Common features of the item and the entry's item: ``brand: Acme``.
    """

    item: str
    rank: int
    score: float
    share: float
    shared: tuple[str, ...] = ()


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """Items recommended because of one history entry.

    Attributes
    ----------
    event : str
        Type of the entry's newest event.
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
    """Return a list's items grouped by history entry, the entry with the largest contribution first.

    Parameters
    ----------
    ranked : Ranked
        A long list of the user, such as `POOL` items.
    """
    rows = ranked.rows[skip:]
    if not len(rows) or not len(ranked.seen[0]):
        return ()
    arm = None if ranked.compiled is None else ranked.compiled.arm
    terms = score_terms(ranked.seen, generation, arm, rows)
    raising = np.maximum(terms.factors + terms.behaviour + terms.content, 0.0)
    owner = raising.argmax(axis=1)
    owner[raising.max(axis=1) <= 0.0] = -1
    whole = raising.sum(axis=1) + np.maximum(terms.popularity, 0.0)
    whole[whole == 0.0] = 1.0
    strength = raising.sum(axis=0)
    made: list[Shelf] = []
    for column in np.argsort(-strength, kind="stable").tolist():
        places = np.flatnonzero(owner == column).tolist()
        entry = history.find(generation.items[terms.columns[column]])
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
