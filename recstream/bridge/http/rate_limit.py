"""Limit clients' requests and events by token buckets; end connections that are too slow."""

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

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

    A client is the user of a token, else an IPv4 address or a /64 network of IPv6.

    Parameters
    ----------
    per_s : int
        Requests and entries of batches a client may send each second; 0: no limit.
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
        """Take tokens of a client; if there are too few, take none and return the wait in s."""
        if self._per_s <= 0:
            return 0.0
        client = _network(address) if who.user is None else f"user {who.user}"
        now_s = self._now_s()
        with self._mutex:
            tokens, since_s = self._buckets.pop(client, (self._burst, now_s))
            tokens = min(self._burst, tokens + (now_s - since_s) * self._per_s)
            # A batch larger than the bucket is accepted when the bucket is full but for its own
            # request.
            missing = min(float(amount), self._burst - 1.0) - tokens
            self._buckets[client] = (tokens if missing > 0 else tokens - amount, now_s)
            if len(self._buckets) > MAX_CLIENTS:
                self._buckets.popitem(last=False)
        return missing / self._per_s


def _network(address: str) -> str:
    """Return the name of a client without a token: its IPv4 address, or its /64 network of IPv6.

    One client may have all addresses of such a network.

    >>> _network("2001:db8::1") == _network("2001:db8::2"), _network("::ffff:10.0.0.1")
    (True, '10.0.0.1')
    """
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(found.ipv4_mapped or found.packed[:8].hex())


DEADLINES_S = {"head": 10.0, "body": 30.0, "answer": 60.0}
"""Time for a request's head, and for its body and its answer beyond what `MIN_BYTES_S` allows."""
MIN_BYTES_S = 64 * 1024
"""Bytes a second at which a body or an answer of any size may continue."""


class Pace:
    """How long a connection has been too slow at what it does."""

    def __init__(self) -> None:
        self._stage: tuple[str, Any] | None = None
        self._since_s = 0.0
        self._n_moved = 0

    def is_too_slow(self, stage: tuple[str, Any] | None, n_moved: int, now_s: float) -> bool:
        """Return whether a connection must end; call this every second or so.

        Parameters
        ----------
        stage : tuple or None
            A key of `DEADLINES_S`, and of which request; None: the connection waits for nothing.
        n_moved : int
            Bytes that were received or sent so far; only differences count.
        now_s : float
            Seconds of a monotonic clock.
        """
        if stage != self._stage:
            self._stage, self._since_s = stage, now_s
        else:
            earned_s = max(n_moved - self._n_moved, 0) / MIN_BYTES_S
            self._since_s = min(self._since_s + earned_s, now_s)
        self._n_moved = n_moved
        return stage is not None and now_s - self._since_s > DEADLINES_S[stage[0]]
