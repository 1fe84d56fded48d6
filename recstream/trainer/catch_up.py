"""Catch a trained generation up with the catalogue before it is announced.

A new generation knows the catalogue as of the start of its training. The serving generation's deltas
have published later changes. The candidate must publish them too, or it would serve older facts. Its
first deltas are therefore made a few at a time while the old generation serves, and are announced
together with the candidate. They reuse the serving generation's content neighbours.
"""

from collections.abc import Mapping
from time import monotonic

from recstream.core.records import DeltaAnnounced, Item
from recstream.trainer.catalogue import CatalogueState
from recstream.trainer.deltas.deltas import MAX_PRODUCTS, Deltas
from recstream.trainer.executor import Candidate

CATCH_UP_STEP_S = 0.2
"""Time for catching up in each turn of the loop. While more products than fit one delta wait in the
serving generation, a turn makes one delta only."""
PREFETCH_LEAD_S = 2.5
"""Minimum time for readers to prefetch the artifact, if there is more than one delta to make."""
ENOUGH_PRODUCTS = MAX_PRODUCTS // 2
"""Catching up ends when a delta holds fewer products than this; the rest follow as usual."""
MAX_DELTA_FACTOR = 3
"""Limit on deltas, as a multiple of the number needed at the start: products may arrive faster than
they can be published again."""


class CatchUp:
    """Makes the deltas that bring a candidate up to the serving generation.

    Parameters
    ----------
    serving : Deltas or None
        Deltas of the serving generation; with None there is nothing to catch up with.

    Attributes
    ----------
    deltas : list of DeltaAnnounced
        To be announced with the candidate.
    """

    def __init__(
        self, candidate: Candidate, serving: Deltas | None, catalogue: CatalogueState
    ) -> None:
        self.deltas: list[DeltaAnnounced] = []
        self._next = candidate.deltas
        self._serving = serving
        self._offsets = {int(at): to for at, to in candidate.trained.generation.offsets.items()}
        offset = candidate.trained.generation.catalogue_offset
        self._next.change(catalogue.changed_since(offset), catalogue.items)
        n_deltas = self._next.n_pending_products // MAX_PRODUCTS
        self._n_left = MAX_DELTA_FACTOR * (n_deltas + 1)
        self._not_before = monotonic() + (PREFETCH_LEAD_S if n_deltas else 0.0)

    def change(self, products: Mapping[str, int], items: Mapping[str, Item]) -> None:
        """Add changed products; see `Deltas.change`."""
        self._next.change(products, items)

    def advance(self, catalogue: CatalogueState, *, now_ms: int) -> bool:
        """Make some deltas; return whether the candidate can be announced."""
        if self._serving is None:
            return True
        is_behind = self._serving.n_pending_products > MAX_PRODUCTS
        ends = monotonic() + (0.0 if is_behind else CATCH_UP_STEP_S)
        while self._n_left > 0:
            made = self._next.make_product_delta(
                catalogue, self._offsets, now_ms=now_ms, serving=self._serving
            )
            if made is not None:
                self.deltas.append(made)
            if made is None or len(made.catalogue) < ENOUGH_PRODUCTS:
                return monotonic() >= self._not_before
            self._n_left -= 1
            if monotonic() >= ends:
                return False
        return True
