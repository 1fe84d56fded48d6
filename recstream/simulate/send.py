"""Send synthetic events at a rate, by REST or straight to the log."""

import http.client
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from ulid import ULID

from recstream.core.events import Event, admit, encode_event
from recstream.errors import InvalidSetting, RecstreamError
from recstream.importers import envelopes
from recstream.log import INTERACTIONS, EventLog, NewRecord, open_log, topic_specs
from recstream.settings import Settings
from recstream.simulate.customers import Customers, traffic
from recstream.simulate.pace import MOST_EVENTS, EventPace
from recstream.simulate.shop import make_shop

REQUEST_TIMEOUT_S = 10.0
BUSY = 429


class SendCounts(msgspec.Struct):
    """Counts of the events sent so far."""

    accepted: int = 0
    rejected: int = 0
    seconds: float = 0.0


class Sink(Protocol):
    """A destination of events."""

    def send(self, events: Sequence[Event]) -> tuple[int, int]:
        """Return the numbers of accepted and rejected events, once the former are durable."""

    def close(self) -> None:
        """Release connections and files."""


def send_traffic(
    sink: Sink,
    *,
    rate: float,
    n_users: int,
    n_items: int,
    shop_seed: int,
    seed: int,
    n_events: int | None = None,
    on_progress: Callable[[SendCounts], None] | None = None,
) -> SendCounts:
    """Send the traffic of a shop to a sink at a rate.

    A slow sink lowers the rate; missed events are not sent later.

    Parameters
    ----------
    rate : float
        Events a second.
    shop_seed, seed : int
        Seeds of the shop with its customers, and of the visits.
    n_events : int, optional
        Stop after this many; by default it runs until it is interrupted.
    on_progress : callable, optional
        Called with the `SendCounts` after each batch.
    """
    customers = Customers(make_shop(shop_seed, n_items), n_users, shop_seed)
    stream: Iterable[Event] = traffic(customers, seed % (1 << 63))
    events = iter(stream if n_events is None else islice(stream, n_events))
    report = SendCounts()
    started_s = time.perf_counter()
    pace = EventPace(rate, time.perf_counter)
    while True:
        batch = list(islice(events, pace.take()))
        if not batch:
            return report
        accepted, rejected = sink.send(batch)
        report.accepted += accepted
        report.rejected += rejected
        report.seconds = time.perf_counter() - started_s
        if on_progress is not None:
            on_progress(report)
        time.sleep(pace.wait_s())


class DirectSink:
    """Appends events to the log as the bridge does."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._partitions = event_log.partitions(INTERACTIONS)

    def send(self, events: Sequence[Event]) -> tuple[int, int]:
        """Append the events: one record each, or envelopes for a full batch."""
        now = datetime.now(tz=UTC)  # noqa: TID251 - an adapter may read the clock
        admitted = [admit(event, now=now, new_id=lambda: str(ULID())) for event in events]
        if len(admitted) < MOST_EVENTS:
            records = [NewRecord(INTERACTIONS, e.user.encode(), encode_event(e)) for e in admitted]
        else:
            records = list(envelopes(admitted, self._partitions))
        self._log.append(records)
        return len(admitted), 0

    def close(self) -> None:
        """Close the log."""
        self._log.close()


def direct_sink(settings: Settings) -> DirectSink:
    """Return a sink over the log that the settings name."""
    event_log = open_log(settings.broker_url, settings)
    event_log.create_topics(topic_specs(settings.partitions))
    return DirectSink(event_log)


class RestSink:
    """Posts events to a bridge over one kept-alive connection."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidSetting(f"--url must be http://host:port, got {url!r}")
        connect = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._url = url
        self._connection = connect(parts.hostname, parts.port, timeout=REQUEST_TIMEOUT_S)
        self._path = parts.path.rstrip("/") + "/v1/events"
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def send(self, events: Sequence[Event]) -> tuple[int, int]:
        """Post the events; waits and retries when the bridge answers 429."""
        body = msgspec.json.encode(events)
        while True:
            status, answer, retry_after_s = self._post(body)
            if status != BUSY:
                break
            time.sleep(retry_after_s)
        try:
            said = msgspec.json.decode(answer)
        except (msgspec.DecodeError, RecursionError):
            said = None
        said = said if isinstance(said, dict) else {}
        if "accepted" not in said:
            detail = said.get("detail") or answer[:200].decode(errors="replace")
            raise RecstreamError(f"the bridge at {self._url} answered {status}: {detail}")
        return int(said["accepted"]), len(said.get("rejected", ()))

    def _post(self, body: bytes) -> tuple[int, bytes, float]:
        try:
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise RecstreamError(
                f"no bridge answers at {self._url} ({error}); start one with `recstream up`, "
                "name another with --url or --port, or append straight to the log with --direct"
            ) from error
        asked = response.getheader("Retry-After", "")  # a proxy may name a date
        return response.status, answer, float(asked) if asked.isdecimal() else 1.0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
