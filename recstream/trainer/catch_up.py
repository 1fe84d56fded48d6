"""Step 6 of the flow: a trained generation learns what came while it was trained, before it serves.

A generation knows the catalogue as it was when its training began. What deltas told since would be
gone with the old generation until they are told anew, and what is put meanwhile would wait behind it.
So the new one's first deltas are made beside those of the serving one, a part at a time, and are
announced together with it. Which products are alike has been found already, by the serving one.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from recstream.core.records import DeltaAnnounced, Item
from recstream.trainer.catalogue import Products
from recstream.trainer.deltas.deltas import MAX_PRODUCTS, Deltas
from recstream.trainer.executor import Candidate

TURN_S = 0.2
"""Given to it in each turn of the trainer's loop, and what a last part takes longer; while more than
a delta of products wait to be told, one part a turn."""
LEAD_S = 2.5
"""Readers are given so long to read the artifact while there is more than a part to tell."""
FEW = MAX_PRODUCTS // 2
"""So many left to tell are told after the announcement, as always."""
MOST_PARTS = 3
"""Times as many parts as there are at first: then products come faster than they can be told anew."""


class Succession:
    """Brings a candidate to where the serving generation is.

    Parameters
    ----------
    candidate : Candidate
    before : Deltas or None
        Of the serving generation; without one, there is nothing to catch up with.
    products : Products

    Attributes
    ----------
    deltas : list of DeltaAnnounced
        To be announced with it.
    """

    def __init__(self, candidate: Candidate, before: Deltas | None, products: Products) -> None:
        self.deltas: list[DeltaAnnounced] = []
        self._next = candidate.deltas
        self._before = before
        self._offsets = {int(at): to for at, to in candidate.trained.generation.offsets.items()}
        offset = candidate.trained.generation.catalogue_offset
        self._next.change(products.since(offset), products.items)
        n_parts = self._next.n_products // MAX_PRODUCTS
        self._left = MOST_PARTS * (n_parts + 1)
        self._not_before = monotonic() + (LEAD_S if n_parts else 0.0)

    def change(self, products: Mapping[str, int], items: Mapping[str, Item]) -> None:
        """Take in that products changed; see `Deltas.change`."""
        self._next.change(products, items)

    def advance(self, products: Products, *, now_ms: int) -> bool:
        """Make some deltas; return whether it can serve."""
        if self._before is None:
            return True
        is_behind = self._before.n_products > MAX_PRODUCTS
        ends = monotonic() + (0.0 if is_behind else TURN_S)
        while self._left > 0:
            made = self._next.make_products(
                products.items, products.next_offset, self._offsets,
                now_ms=now_ms, before=self._before,
            )  # fmt: skip
            if made is not None:
                self.deltas.append(made)
            if made is None or len(made.catalogue) < FEW:
                return monotonic() >= self._not_before
            self._left -= 1
            if monotonic() >= ends:
                return False
        return True
