"""Send requests and repeat them until they succeed, are refused, or take too long."""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Self
from urllib.parse import quote

import httpx

from recstream.client.methods import AsyncMethods, Methods
from recstream.errors import RecstreamError

BUSY = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may succeed."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0
_WRONG = (httpx.DecodingError, httpx.UnsupportedProtocol, httpx.LocalProtocolError)
"""What fails each time: an answer that can't be read, an address without ``http://``, a token with a line end."""


class RequestFailed(RecstreamError):
    """The bridge refused a request, or did not answer in time.

    Attributes
    ----------
    status : int
        HTTP status; 0 if there was no answer.
    problem : dict
        The answer's problem document (RFC 9457), with ``detail`` and ``errors``.
    """

    def __init__(
        self, message: str, status: int = 0, problem: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}


class Attempts:
    """One request and its repetitions: what to send, and how long to wait before the next time.

    Parameters
    ----------
    method, path : str
        The path has ``{names}`` of `values`, which are quoted.
    values, query : dict
    body : JSON value or None
    deadline : float
        Latest time of an attempt, by the clock of `next_wait`.
    draw : callable
        Returns a random number from 0 to 1, so that clients don't come back at once.
    """

    def __init__(
        self,
        method: str,
        path: str,
        values: dict[str, str],
        query: dict[str, Any],
        body: Any,
        deadline: float,
        draw: Callable[[], float],
    ) -> None:
        names = {name: _segment(value) for name, value in values.items()}
        self.request: dict[str, Any] = {"method": method, "url": path.format(**names)}
        if asked := {name: _text(value) for name, value in query.items() if value is not None}:
            self.request["params"] = asked
        if path == "/v1/events":
            body = _with_ids(body)
        if body is not None:
            self.request["json"] = body
        self._deadline = deadline
        self._draw = draw
        self._wait = FIRST_WAIT_S

    def answer(self, response: httpx.Response | httpx.RequestError) -> Any:
        """Return the answer of a response; raise `RequestFailed` for an error."""
        if isinstance(response, httpx.RequestError):
            raise self._no_answer(f"{type(response).__name__}: {response}") from response
        if response.is_success:
            return self._body(response)
        try:
            problem = response.json()
        except ValueError:
            problem = {}
        detail = problem.get("detail") if isinstance(problem, dict) else None
        raise RequestFailed(
            f"{self.request['method']} {self.request['url']}: {response.status_code} "
            f"{detail or response.reason_phrase}",
            response.status_code,
            problem if isinstance(problem, dict) else {},
        )

    def _body(self, response: httpx.Response) -> Any:
        """Return the object of a successful answer, None for an empty one."""
        try:
            body = response.json() if response.content else None
        except ValueError:
            body = response.content
        if body is not None and not isinstance(body, dict):
            kind = response.headers.get("Content-Type", "none")
            raise self._no_answer(f"status {response.status_code}, content type {kind}")
        return body

    def _no_answer(self, found: str) -> RequestFailed:
        return RequestFailed(
            f"{self.request['method']} {self.request['url']}: no answer from the bridge ({found}); "
            "is it running, and is the address right?"
        )

    def next_wait(self, now: float, failure: httpx.Response | httpx.RequestError) -> float | None:
        """Return the seconds to wait before the request is sent again; None not to send it."""
        if isinstance(failure, _WRONG):
            return None
        wait = self._wait * (0.5 + self._draw() / 2)
        if isinstance(failure, httpx.Response):
            if failure.status_code not in BUSY:
                return None
            asked = failure.headers.get("Retry-After", "")
            wait = max(wait, float(asked)) if asked.isdecimal() else wait
        self._wait = min(2 * self._wait, LONGEST_WAIT_S)
        return wait if now + wait < self._deadline else None


def _segment(name: str) -> str:
    """Return an id as a part of a path; ``.`` and ``..`` are not the folder of a path."""
    if not name or type(name) is not str:
        raise ValueError(f"an id is a text that is not empty, got {name!r}")
    return name.replace(".", "%2E") if name in {".", ".."} else quote(name, safe="")


def _with_ids(body: Any) -> Any:
    """Give events without an id one, so that they count once however often they are sent."""
    events = [body] if isinstance(body, dict) else body
    named = [{**event, "id": event.get("id") or uuid.uuid4().hex} for event in events]
    return named[0] if isinstance(body, dict) else named


def _text(value: Any) -> Any:
    """Return a parameter as the bridge reads it: ids in a list may contain commas."""
    return json.dumps(value) if isinstance(value, bool | list | tuple) else value


def _options(base_url: str, token: str | None, timeout_s: float) -> dict[str, Any]:
    found = (token or "").strip()
    headers = {"Authorization": f"Bearer {found}"} if found else {}
    return {"base_url": base_url, "headers": headers, "timeout": timeout_s}


class Client(Methods):
    """A client that waits for answers; threads may share it. Close it, or use it as a context.

    Every request may be sent again: events get an id, and everything else replaces or reads.

    Parameters
    ----------
    base_url : str
        The bridge's URL.
    token : str, optional
        A service token, or a user's; an empty text is none.
    timeout_s : float
        For one attempt.
    patience_s : float
        For all attempts of a request.
    clock, sleep, draw : callable
        Time in seconds, waiting, and random numbers from 0 to 1.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout_s: float = 5.0,
        patience_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._http = httpx.Client(**_options(base_url, token, timeout_s), transport=transport)
        self._patience_s = patience_s
        self._clock, self._sleep, self._draw = clock, sleep, draw

    def call(
        self, method: str, path: str, values: dict[str, str], *, query: Any = None, body: Any = None
    ) -> Any:
        """Send a request until it succeeds, and return its answer.

        Raises
        ------
        RequestFailed
        """
        deadline = self._clock() + self._patience_s
        attempts = Attempts(method, path, values, query or {}, body, deadline, self._draw)
        while True:
            found: httpx.Response | httpx.RequestError
            try:
                found = self._http.request(**attempts.request)
            except httpx.RequestError as error:
                found = error
            if (wait := attempts.next_wait(self._clock(), found)) is None:
                return attempts.answer(found)
            self._sleep(wait)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AsyncClient(AsyncMethods):
    """A client for asyncio; see `Client`."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout_s: float = 5.0,
        patience_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._http = httpx.AsyncClient(**_options(base_url, token, timeout_s), transport=transport)
        self._patience_s = patience_s
        self._clock, self._sleep, self._draw = clock, sleep, draw

    async def call(
        self, method: str, path: str, values: dict[str, str], *, query: Any = None, body: Any = None
    ) -> Any:
        """Send a request until it succeeds, and return its answer; see `Client.call`."""
        deadline = self._clock() + self._patience_s
        attempts = Attempts(method, path, values, query or {}, body, deadline, self._draw)
        while True:
            found: httpx.Response | httpx.RequestError
            try:
                found = await self._http.request(**attempts.request)
            except httpx.RequestError as error:
                found = error
            if (wait := attempts.next_wait(self._clock(), found)) is None:
                return attempts.answer(found)
            await self._sleep(wait)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()
