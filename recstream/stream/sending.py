"""Step 6 of the flow: when deltas go out: what users did at a pace, products as soon as they may.

A product that comes alone is told at once. While more keep coming, each delta leaves time for
everything else first, and tells what came meanwhile.
"""

from __future__ import annotations

from time import monotonic

from recstream.stream.announce import Announcer
from recstream.stream.deltas import Deltas
from recstream.stream.follower import Follower
from recstream.stream.products import Products

PRODUCTS_REST = 0.2
"""After a delta of products the next waits so much of ``delta_every_s``."""


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

        Users come first: a catalogue that is imported waits for them, a part of it at a time.
        """
        now = monotonic()
        if now >= self._next_users:
            moved = deltas.make(follower.users, follower.offsets, now_ms=now_ms)
            self._next_users = now if deltas.n_untold else now + self._every_s
            if moved is not None:
                self._announcer.delta(moved)
        if deltas.n_products and now >= self._next_products:
            changed = deltas.make_products(
                products.items, products.next_offset, follower.offsets, now_ms=now_ms
            )
            if changed is not None:
                self._announcer.delta(changed)
            rest = 0.0 if deltas.n_products else self._every_s * PRODUCTS_REST
            self._next_products = monotonic() + rest
