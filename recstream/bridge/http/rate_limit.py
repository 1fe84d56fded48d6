"""Limit the rate of each client's requests and events by a token bucket."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from flask import g, request

from recstream.bridge.auth import Identity
from recstream.bridge.http.problems import HttpProblem

BURST_S = 5.0
"""A client that was silent may send what it may send in so many seconds at once."""
MAX_CLIENTS = 10_000


def identity() -> Identity:
    """Return the identity that sent the current request."""
    who: Identity = g.identity
    return who


class RateLimiter:
    """A token bucket for each client. Thread-safe.

    A client is the user of a token, or else a network address.

    Parameters
    ----------
    per_s : int
        Requests and entries of batches a client may send each second; 0: no limit.
    now_s : callable
        A monotonic clock, seconds.
    """

    def __init__(self, per_s: int, *, now_s: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = per_s * BURST_S
        self._now_s = now_s
        self._mutex = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def charge(self, amount: int) -> None:
        """Take tokens of the current request's client.

        Raises
        ------
        HttpProblem
            429: the client sends faster than it may.
        """
        wait_s = self.take(identity(), request.remote_addr or "", amount)
        if wait_s > 0:
            raise HttpProblem(
                429,
                f"expected at most {self._per_s} requests and events a second from a client; "
                "setting rate_limit changes that",
                code="rate-limited",
                retry_after_s=max(1, round(wait_s)),
            )

    def take(self, who: Identity, address: str, amount: int) -> float:
        """Take tokens of a client; return the seconds to wait if there are too few, and take none."""
        if self._per_s <= 0:
            return 0.0
        client = address if who.user is None else f"user {who.user}"
        now_s = self._now_s()
        with self._mutex:
            tokens, since_s = self._buckets.pop(client, (self._burst, now_s))
            tokens = min(self._burst, tokens + (now_s - since_s) * self._per_s)
            # A batch larger than the bucket is accepted when the bucket is full but for its own request.
            missing = min(float(amount), self._burst - 1.0) - tokens
            self._buckets[client] = (tokens if missing > 0 else tokens - amount, now_s)
            if len(self._buckets) > MAX_CLIENTS:
                self._buckets.popitem(last=False)
        return missing / self._per_s
