"""When deltas are published: item deltas at an interval, product deltas as soon as possible.

A single changed product is published at once. While more keep arriving, product deltas leave time
for everything else in between, and each one holds what arrived meanwhile.
"""

from collections.abc import Iterable
from time import monotonic

from recstream.core.records import DeltaAnnounced
from recstream.trainer.catalogue import CatalogueState
from recstream.trainer.deltas.deltas import Deltas
from recstream.trainer.deltas.publisher import Publisher
from recstream.trainer.histories import Histories

PRODUCT_DELTA_SPACING = 0.2
"""Minimum time between product deltas, as a fraction of ``delta_every_s``."""
MAX_DELTAS_PER_APPEND = 8
"""Deltas in one append, of up to 700 kB each."""


class DeltaPacer:
    """Publishes the deltas of the serving generation when they are due.

    Parameters
    ----------
    every_s : float
        Seconds between two item deltas.
    """

    def __init__(self, publisher: Publisher, every_s: float) -> None:
        self._publisher = publisher
        self._every_s = every_s
        self._next_item_delta = 0.0
        self._next_product_delta = 0.0
        self._unsent: list[DeltaAnnounced] = []

    def send_first(self, deltas: Iterable[DeltaAnnounced]) -> None:
        """Queue the first deltas of a generation that serves from now on."""
        self._unsent = list(deltas)

    def clear(self) -> None:
        """Drop unsent deltas: another trainer is active."""
        self._unsent = []

    def due_in_s(self, deltas: Deltas | None, longest: float) -> float:
        """Return the seconds until a delta is due, at most ``longest``."""
        due, now = longest, monotonic()
        if deltas is not None and deltas.has_touched:
            due = min(due, self._next_item_delta - now)
        if deltas is not None and deltas.n_pending_products:
            due = min(due, self._next_product_delta - now)
        return max(0.0, due)

    def send(
        self, deltas: Deltas, histories: Histories, catalogue: CatalogueState, *, now_ms: int
    ) -> None:
        """Publish an item delta, then a product delta, if they are due.

        Items come first, so that a catalogue import does not delay them. Deltas that the log did not
        take are sent again before the next is made, so that the numbers have no gap.
        """
        self._flush()
        now = monotonic()
        if now >= self._next_item_delta:
            moved = deltas.make_item_delta(histories, now_ms=now_ms, withdrawn=catalogue.withdrawn)
            self._next_item_delta = now if deltas.n_unpublished_items else now + self._every_s
            self._send(moved)
        if deltas.n_pending_products and now >= self._next_product_delta:
            self._send(deltas.make_product_delta(catalogue, histories.offsets, now_ms=now_ms))
            wait_s = 0.0 if deltas.n_pending_products else self._every_s * PRODUCT_DELTA_SPACING
            self._next_product_delta = monotonic() + wait_s

    def _send(self, delta: DeltaAnnounced | None) -> None:
        if delta is not None:
            self._unsent.append(delta)
            self._flush()

    def _flush(self) -> None:
        while self._unsent:
            part = self._unsent[:MAX_DELTAS_PER_APPEND]
            self._publisher.publish_deltas(part)
            del self._unsent[: len(part)]
