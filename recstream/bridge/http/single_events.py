"""Accept the commonest request without Flask: ``POST /v1/events`` with one event.

The fast path accepts a request only if: it is one event in one packet; no header changes how it is
handled; the event is new and valid; the client is within its rate. Flask answers every other
request, in the same way or with an error. Requests that wait together share one append.
"""

import contextlib
import logging
import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from http import HTTPStatus
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from recstream.bridge.http import request_id
from recstream.bridge.http.bodies import JSON
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import as_problem, encode_json, encode_problem
from recstream.bridge.http.routes.events import ReceivedEvents
from recstream.bridge.http.security import HEADERS, is_host, is_own_name
from recstream.errors import LogError, TokenRefused
from recstream.log import Position
from recstream.metrics import HTTP_DURATION, HTTP_REQUESTS
from recstream.process import Background

log = logging.getLogger(__name__)

PATH = "/v1/events"
MAX_BYTES = 16 * 1024
MAX_TOGETHER = 256
SPACING_S = 0.003
"""Least time from an append to the next one, for each of its events: an append wakes worker and
bridge, which costs more than an event."""
MAX_SPACING_S = 0.016
MAX_WAITING = 1024
"""If more requests wait, the next ones go through Flask, which refuses what is too much."""
_HEAD = re.compile(
    rb"POST /v1/events HTTP/1\.1\r\n((?:[!#-'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e]*\r\n)+)\r\n"
)
_END = b"\r\n\r\n"
_OTHER_WAYS = frozenset(
    {
        *("transfer-encoding", "content-encoding", "expect", "upgrade", "origin"),
        *("access-control-request-method", "access-control-request-headers"),
    }
)
"""Headers that change what the answer is."""


class _Head(NamedTuple):
    """What matters of a request's headers, if none of them asks for another way.

    Attributes
    ----------
    is_own_name : bool
        ``Host`` can only name this machine.
    """

    content_length: str
    authorization: str | None
    request_id: str
    is_own_name: bool


class Received(NamedTuple):
    """A request that looks like one with a single event.

    Attributes
    ----------
    data : bytes
        The whole request; its body begins at ``body_begin``.
    begun_s : float
        When it came.
    """

    data: bytes
    head: _Head
    body_begin: int
    address: str
    begun_s: float


class Accepted(NamedTuple):
    """A request whose event may be appended."""

    batch: ReceivedEvents
    request_id: str
    begun_s: float


Answer = bytes | Received | None
"""An answer without status line and date; the request if it must go another way; None: no answer."""
Answered = Callable[[Sequence[tuple[Any, Answer]]], object]
"""Gets connections with their answers."""


class SingleEvents(Background):
    """The requests with one event each, and the thread that appends the events."""

    def __init__(self, deps: Deps) -> None:
        super().__init__("append-events")
        self._deps = deps
        self.answered: Answered = lambda _: None
        self._waiting: SimpleQueue[tuple[Any, Received] | None] = SimpleQueue()
        self._duration = HTTP_DURATION.labels(PATH)
        self._n_accepted = HTTP_REQUESTS.labels(PATH, str(int(HTTPStatus.ACCEPTED)))
        more = {"Vary": "Origin"} if deps.settings.allowed_origins else {}
        self._headers = HEADERS | more
        named = {"Content-Type": JSON, "Cache-Control": "no-store"}
        self._accepted = self._head(HTTPStatus.ACCEPTED, named)

    def _wake(self) -> None:
        """End the thread after what waits."""
        self._waiting.put(None)

    def submit(self, connection: object, request: Received) -> None:
        """Have a request's event checked and appended, and the connection answered."""
        self._waiting.put((connection, request))

    def _run(self) -> None:
        is_ended, next_s = False, 0.0
        while not is_ended:
            found = [self._waiting.get()]
            time.sleep(max(0.0, next_s - time.monotonic()))
            begun_s = time.monotonic()
            with contextlib.suppress(Empty):
                while len(found) < MAX_TOGETHER:
                    found.append(self._waiting.get_nowait())
            taken = [each for each in found if each is not None]
            is_ended = len(taken) < len(found)
            next_s = begun_s + min(SPACING_S * len(taken), MAX_SPACING_S)
            if not taken:
                continue
            fit = self._read_all(taken)
            if not fit:
                continue
            answers: Sequence[Answer]
            try:
                answers = self.append([request for _, request in fit])
            except Exception:
                log.exception("requests failed")
                answers = [None] * len(fit)
            connections = [connection for connection, _ in fit]
            self.answered(list(zip(connections, answers, strict=True)))

    def _read_all(self, taken: Sequence[tuple[Any, Received]]) -> list[tuple[Any, Accepted]]:
        """Return the requests whose events may be appended; give the others back.

        Read one after the other, requests take a fraction of the time that each takes when it arrives.
        """
        fit: list[tuple[Any, Accepted]] = []
        others: list[tuple[Any, Answer]] = []
        for connection, received in taken:
            try:
                found = self.read(received)
            except Exception:
                log.exception("request failed")
                others.append((connection, None))
                continue
            if found is None:
                others.append((connection, received))
            else:
                fit.append((connection, found))
        if others:
            self.answered(others)
        return fit

    def receive(self, data: bytes, address: str) -> Received | None:
        """Return the request in these bytes, by its form alone; None if it must go another way.

        Parameters
        ----------
        data : bytes
            What a connection received between two requests.
        """
        begun_s = time.perf_counter()
        if len(data) > MAX_BYTES or self._waiting.qsize() >= MAX_WAITING:
            return None
        begin = data.find(_END) + len(_END)
        head = _read_head(data[:begin])
        if head is None or data[begin : begin + 1] != b"{":
            return None
        if head.content_length != str(len(data) - begin):
            return None
        return Received(data, head, begin, address, begun_s)

    def read(self, received: Received) -> Accepted | None:
        """Return a request whose event may be appended; None if it must go another way."""
        head, auth = received.head, self._deps.auth
        if auth.is_open and not head.is_own_name:
            return None
        try:
            who = auth.identify(head.authorization)
        except TokenRefused:
            return None
        batch = ReceivedEvents(self._deps, who, is_batch=False)
        batch.add(0, received.data[received.body_begin :])
        is_allowed = who.is_service or who.user is not None
        if not is_allowed or not batch.records:
            return None
        if self._deps.limiter.take(who, received.address, 2) > 0:
            return None
        return Accepted(batch, request_id.choose(head.request_id), received.begun_s)

    def append(self, requests: Sequence[Accepted]) -> list[bytes]:
        """Append the events of requests together; return answers without status line and date.

        Blocks until the events are durable.
        """
        records = [record for each in requests for record in each.batch.records]
        error: LogError | None = None
        positions: list[Position] = []
        try:
            positions = self._deps.log.append(records)
        except LogError as reason:
            error = reason
        answers = []
        for at, each in enumerate(requests):
            if error is None:
                body = encode_json(each.batch.appended(positions[at : at + 1]))
                head, counter = self._accepted, self._n_accepted
            else:
                problem = as_problem(error)
                body, named = encode_problem(problem, PATH)
                status = HTTPStatus(problem.status)
                head = self._head(status, named)
                counter = HTTP_REQUESTS.labels(PATH, str(int(status)))
                log.warning(
                    "request failed request=%s status=%d reason=%s", each.request_id, status, error
                )
            counter.inc()
            self._duration.observe(time.perf_counter() - each.begun_s)
            answers.append(head % (len(body), each.request_id.encode()) + body)
        return answers

    def _head(self, status: HTTPStatus, named: dict[str, str]) -> bytes:
        """Return the head of an answer, with places for the body's length and the request's id."""
        headers = {**named, "Content-Length": "%d", **self._headers, request_id.HEADER: "%b"}
        lines = [f"HTTP/1.1 {int(status)} {status.phrase}"]
        lines += [f"{name.lower()}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("ascii")


@lru_cache(256)  # a client's heads are equal but for the length of the body
def _read_head(head: bytes) -> _Head | None:
    """Return what matters of a request's head; None if another parser must read it."""
    found = _HEAD.fullmatch(head)
    if found is None:
        return None
    headers: dict[str, str] = {}
    for line in found[1].decode("ascii").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in headers or name in _OTHER_WAYS:
            return None
        headers[name] = value.strip(" \t")
    host = headers.get("host", "")
    is_plain = (
        headers.get("content-type") == JSON
        and headers.get("connection", "keep-alive").lower() == "keep-alive"
        and is_host(host)
    )
    if not is_plain:
        return None
    return _Head(
        headers.get("content-length", ""),
        headers.get("authorization"),
        headers.get("x-request-id", ""),
        is_own_name(host),
    )
