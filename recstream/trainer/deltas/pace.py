"""Step 6 of the flow: when deltas go out: what users did at a pace, products as soon as they may.

A product that comes alone is told at once. While more keep coming, each delta leaves time for
everything else first, and tells what came meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from time import monotonic

from recstream.core.records import DeltaAnnounced
from recstream.trainer.catalogue import Products
from recstream.trainer.changelog import Follower
from recstream.trainer.deltas.deltas import Deltas
from recstream.trainer.deltas.publisher import Announcer

PRODUCTS_REST = 0.2
"""After a delta of products the next waits so much of ``delta_every_s``."""
AT_ONCE = 8
"""Deltas in one append, of up to 700 kB each."""


class Sender:
    """Sends the deltas of the serving generation when they are due.

    Parameters
    ----------
    announcer : Announcer
    every_s : float
        Between two deltas of what users did.
    """

    def __init__(self, announcer: Announcer, every_s: float) -> None:
        self._announcer = announcer
        self._every_s = every_s
        self._next_users = 0.0
        self._next_products = 0.0
        self._unsent: list[DeltaAnnounced] = []

    def take(self, deltas: Iterable[DeltaAnnounced]) -> None:
        """Take deltas of a generation that serves from now on: they go out before all others."""
        self._unsent = list(deltas)

    def drop(self) -> None:
        """Let go of what was not sent: another trainer goes on."""
        self._unsent = []

    def due_in_s(self, deltas: Deltas | None, longest: float) -> float:
        """Return how long there is nothing to send, at most ``longest``."""
        due, now = longest, monotonic()
        if deltas is not None and deltas.is_open:
            due = min(due, self._next_users - now)
        if deltas is not None and deltas.n_products:
            due = min(due, self._next_products - now)
        return max(0.0, due)

    def send(self, deltas: Deltas, follower: Follower, products: Products, *, now_ms: int) -> None:
        """Send a delta of what users did, then one of what became of products, if they are due.

        Users come first: a catalogue that is imported waits for them, a part of it at a time. What
        the log did not take is sent again before the next is made: numbers leave no gap.
        """
        self._flush()
        now = monotonic()
        if now >= self._next_users:
            moved = deltas.make(follower.users, follower.offsets, now_ms=now_ms)
            self._next_users = now if deltas.n_untold else now + self._every_s
            self._send(moved)
        if deltas.n_products and now >= self._next_products:
            changed = deltas.make_products(
                products.items, products.next_offset, follower.offsets, now_ms=now_ms
            )
            self._send(changed)
            rest = 0.0 if deltas.n_products else self._every_s * PRODUCTS_REST
            self._next_products = monotonic() + rest

    def _send(self, delta: DeltaAnnounced | None) -> None:
        if delta is not None:
            self._unsent.append(delta)
            self._flush()

    def _flush(self) -> None:
        while self._unsent:
            part = list(islice(self._unsent, AT_ONCE))
            self._announcer.deltas(part)
            del self._unsent[: len(part)]
