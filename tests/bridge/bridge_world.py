"""A real bridge on a loopback port over a real embedded log, and hands to play worker and client."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
from scipy import sparse
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from recstream.bridge.server import Bridge
from recstream.core.als.trainer import ALS
from recstream.core.events import Event, EventWeights, encode_event, timestamp_ms
from recstream.core.generation.generation import Generation
from recstream.core.history import table_rows as history_rows
from recstream.core.history.fold import FoldSettings, History, apply
from recstream.core.records import (
    DeltaAnnounced,
    GenerationAnnounced,
    Item,
    Lineage,
    Recommendations,
    RecommendedItem,
    TrainerStatus,
    WorkerStatus,
)
from recstream.log.embedded import EmbeddedLog
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord, Record
from recstream.log.topics import (
    INTERACTIONS,
    MODELS,
    PIPELINE,
    RECOMMENDATIONS,
    histories_changelog,
    topic_specs,
)
from recstream.models import artifact_name, open_store, pack
from recstream.settings import Settings
from tests.waiting import wait_until

DEADLINE_S = 60.0
KERNELS_S = 240.0
"""In a fresh clone a process of low priority compiles the kernels first."""
SECRET = "correct horse battery staple, twice over"  # noqa: S105 - of tests
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CHANGELOG = histories_changelog(Settings().app_id)


class Clock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        return self.headers.get_content_type()


class World:
    """A bridge, its log, and what a worker, a trainer and clients would do to it."""

    def __init__(self, bridge: Bridge, log: EmbeddedLog, clock: Clock) -> None:
        self.bridge = bridge
        self.log = log
        self.clock = clock
        self.address = bridge.url.removeprefix("http://")

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str | None = "application/json",
        token: str = "",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = dict(headers or {})
        if raw is not None and kind is not None:
            sent["Content-Type"] = kind
        if token:
            sent["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE_S)
        try:
            connection.request(method, path, raw, sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **options: Any) -> Answer:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> Answer:
        return self.call("POST", path, body, **options)

    @contextmanager
    def socket(self, **options: Any) -> Iterator[Client]:
        url = f"ws://{self.address}/v1/ws"
        common = {"subprotocols": ["recstream.v1"], "compression": None, "close_timeout": 0.2}
        with connect(url, **(common | options)) as socket:
            yield Client(socket)

    def records(self, topic: str, key: str | None = None) -> list[Record]:
        return [
            record
            for partition in range(self.log.partitions(topic))
            for record in self.log.read(topic, partition, 0)
            if key is None or record.key == key.encode()
        ]

    # What a worker does

    def fold(self, *events: Event, publish: Recommendations | None = None) -> None:
        """Put events, the rows of their histories and a list into the log, as one append."""
        rules = FoldSettings(weights=EventWeights(), half_life_ms=Settings().half_life_ms)
        rows: list[NewRecord] = []
        for event in events:
            (place,) = self.log.append(
                [NewRecord(INTERACTIONS, event.user.encode(), encode_event(event))]
            )
            old = self.bridge.deps.views.history(event.user)
            new = apply(old or History(event.user), event, place.offset, 0, rules)
            rows = [
                NewRecord(CHANGELOG, key, value, place.partition)
                for key, value in history_rows.changes(old, new)
            ]
            if publish is None or event is not events[-1]:
                self.log.append(rows)
                self.wait_for_views()
        if publish is not None:
            self.log.append([*rows, self.list_record(publish)])

    def list_record(self, body: Recommendations) -> NewRecord:
        return NewRecord(RECOMMENDATIONS, body.user.encode(), msgspec.json.encode(body))

    def list_row(self, user: str, *items: str) -> NewRecord:
        """Return the row of a user's list that is the next one on its partition."""
        partition = partition_of(self, user)
        offset = self.log.high_watermark(RECOMMENDATIONS, partition)
        row = history_rows.encode_row(history_rows.ListRow(1, 0, items, offset=offset))
        return NewRecord(CHANGELOG, history_rows.list_key(user.encode()), row, partition)

    def publish(self, user: str, *items: str, generation: int = 1) -> int:
        """Put a list into the log and return its offset."""
        (place,) = self.log.append([self.list_record(a_list(user, *items, generation=generation))])
        return place.offset

    def wait_for_views(self) -> None:
        """Wait until the bridge has read everything that the log holds."""
        views = self.bridge.deps.views
        wait_until(
            lambda: all(
                offset >= self.log.high_watermark(*tp) for tp, offset in views.positions().items()
            ),
            "views that have caught up",
        )

    def beat(self) -> None:
        """Publish the heartbeats of a worker and of the active trainer."""
        now_ms = timestamp_ms(self.clock())
        worker = WorkerStatus(
            worker="w", events=0, published=0, dead_letters=0, lag={}, generation=0, ts=now_ms
        )
        trainer = TrainerStatus(trainer="t", is_active=True, ts=now_ms)
        self.log.append(
            [
                NewRecord(PIPELINE, b"worker", msgspec.json.encode(worker), 0),
                NewRecord(PIPELINE, b"trainer", msgspec.json.encode(trainer), 0),
            ]
        )

    # What a trainer does

    def announce(self, generation: Generation, *, digest: str | None = None) -> GenerationAnnounced:
        content_digest, content = pack(generation)
        name = artifact_name(generation.number, content_digest)
        open_store(self.bridge.settings.models_url).put(name, content)
        announced = GenerationAnnounced(
            generation=generation.number,
            parent=generation.parent,
            artifact=name,
            digest=digest or content_digest,
            offsets={},
            hyperparameters={},
            seed=0,
            n_users=8,
            n_items=generation.n_items,
            n_interactions=1,
            loss=None,
            train_seconds=0.0,
            created_ts=0,
        )
        self.log.append([NewRecord(MODELS, None, msgspec.json.encode(announced), 0)])
        return announced

    def serve_generation(self, generation: Generation) -> None:
        self.announce(generation)
        serving = self.bridge.deps.recommender
        wait_until(lambda: serving.current == (generation.number, 0), "adoption", KERNELS_S)

    def put_items(self, **categories: str) -> None:
        for name, category in categories.items():
            item = {"title": f"The {name}", "category": category}
            assert self.call("PUT", f"/v1/items/{name}", item).status == 200


class Client:
    """A WebSocket client that speaks in structs and dicts."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def hello(self, user: str | None = None, *subs: str | dict[str, Any], token: str = "") -> Any:
        message: dict[str, Any] = {
            "type": "hello",
            "subs": [{"ch": sub} if isinstance(sub, str) else sub for sub in subs],
        }
        if user is not None:
            message["user"] = user
        if token:
            message["token"] = token
        self.send(**message)
        return self.receive("welcome")

    def receive(self, type_: str | None = None) -> Any:
        message = json.loads(self.socket.recv(timeout=DEADLINE_S))
        assert type_ is None or message["type"] == type_, message
        return message


def a_list(user: str, *items: str, generation: int = 1, event_id: str = "e1") -> Recommendations:
    return Recommendations(
        rec_id=f"r-{user}-{generation}",
        user=user,
        generation=generation,
        source="fold-in",
        items=tuple(
            RecommendedItem(item=item, rank=rank, score=1.0 / rank)
            for rank, item in enumerate(items, start=1)
        ),
        lineage=Lineage(event_id=event_id),
    )


def event(user: str, item: str, type_: str = "view", **more: Any) -> Event:
    ts = more.pop("ts", NOW)
    event_id = more.pop("id", f"{user}-{item}-{type_}")
    return Event(id=event_id, type=type_, user=user, item=item, ts=ts, **more)  # type: ignore[arg-type]


def checker_board(
    number: int = 1, *, n_items: int = 12, factors: bool = True, **details: Item
) -> Generation:
    """Return a generation that has learned: who likes even items likes even items, odd ones odd."""
    n_users = 30
    matrix = sparse.csr_matrix(
        np.fromfunction(lambda u, i: (u + i) % 2 == 0, (n_users, n_items)).astype(np.float32)
    )
    model = ALS(n_factors=4, iterations=8, seed=1, threads=1).fit(matrix) if factors else None
    return Generation(
        number=number,
        parent=None,
        offsets={},
        hyperparameters={},
        seed=0,
        items=[f"i{at}" for at in range(n_items)],
        bias=np.linspace(0.02, 0.01, n_items, dtype=np.float32),
        model=model,
        details=details,
    )


def withdrawal(item):
    """Return the first delta of the checker board's generation: the catalogue lost an item."""
    return DeltaAnnounced(
        generation=1,
        delta=1,
        offsets={},
        items=(item,),
        factors=checker_board(1).model.item_factors[int(item[1:])].tobytes(),
        bias=np.float32(0.0).tobytes(),
        counts=np.int32(1).tobytes(),
        created_ts=0,
        catalogue={item: None},
    )


@contextmanager
def running(
    folder: Any, *, clock: Clock | None = None, log: Any = None, **more: Any
) -> Iterator[World]:
    own_log = log if log is not None else EmbeddedLog(folder / "log.db", sync="normal")
    own_log.create_topics(topic_specs(2))
    ticking = clock or Clock()
    values = {"data_dir": str(folder), "port": 0, "partitions": 2} | more
    try:
        with Bridge(Settings(**values), event_log=own_log, now=ticking) as bridge:
            world = World(bridge, own_log, ticking)
            wait_until(bridge.deps.follower.caught_up.is_set, "a bridge that is ready")
            yield world
    finally:
        if log is None:
            own_log.close()


def partition_of(world: World, user: str) -> int:
    return partition_for(user.encode(), world.log.partitions(INTERACTIONS))


def an_item(name: str) -> Item:
    return Item(item=name, title=f"The {name}")


def closed(client: Any) -> Any:
    """Return the code with which the server closes."""
    with suppress(ConnectionClosed):
        while True:
            client.socket.recv(timeout=DEADLINE_S)
    return client.socket.protocol.close_code


def items_of(message: Any) -> list[str]:
    return [one["item"] for one in message["items"]]
