"""What the tests of this folder share: a log of their own, events, and a small generation."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np

from recstream.control.reader import default_settings
from recstream.core.events import EPOCH, Event, encode_event
from recstream.core.generation.generation import Generation
from recstream.core.history.settings_timeline import SettingsTimeline
from recstream.core.history.table_rows import APPLIED_KEY, split_key
from recstream.core.records import DeadLetter, Recommendations, decode_recommendations
from recstream.log.embedded import EmbeddedLog
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord, Position, TopicPartition
from recstream.log.topics import (
    DEAD_LETTERS,
    INTERACTIONS,
    RECOMMENDATIONS,
    TopicSpec,
    histories_changelog,
    topic_specs,
)
from recstream.settings import Settings
from recstream.worker.engine import Engine
from tests.worker.memory import MemoryRows, ingest, one_by_one

PARTITIONS = 2
GROUP = "test-worker"
CHANGELOG = histories_changelog(GROUP)
SETTINGS = Settings(app_id=GROUP, partitions=PARTITIONS, refresh_users=50)
NOW_MS = 1_800_000_000_000


def event(number: int, user: str, item: str, kind: str = "view", **more: Any) -> Event:
    return Event(
        id=f"e{number}", type=kind, user=user, item=item,
        ts=EPOCH + timedelta(days=20_000, seconds=number), **more,
    )  # fmt: skip


def single(each: Event) -> NewRecord:
    return NewRecord(INTERACTIONS, each.user.encode(), encode_event(each), timestamp_ms=NOW_MS)


def envelope(events: Iterable[Event]) -> list[NewRecord]:
    parts: dict[int, list[bytes]] = {}
    for each in events:
        parts.setdefault(partition_for(each.user.encode(), PARTITIONS), []).append(
            encode_event(each)
        )
    return [
        NewRecord(INTERACTIONS, None, b"[" + b",".join(part) + b"]", partition, NOW_MS)
        for partition, part in parts.items()
    ]


def some_events(n: int, *, n_users: int = 7, n_items: int = 12, seed: int = 0) -> list[Event]:
    """Return events of many kinds; some come twice, some with the id of another."""
    rng = np.random.Generator(np.random.PCG64(seed))
    kinds = ["view", "view", "purchase", "like", "dislike", "remove", "impression"]
    events = []
    for number in range(n):
        kind = kinds[rng.integers(len(kinds))]
        identity = number if number < 3 or rng.random() > 0.1 else int(rng.integers(number))
        item = f"p{rng.integers(n_items)}"
        user = f"u{rng.integers(n_users)}"
        events.append(event(identity, user, item, kind))
    return events


def generation(number: int = 1, n_items: int = 12, *, bias: Any = None) -> Generation:
    """Return a generation that ranks by priors: p0 first unless told otherwise."""
    prior = -np.arange(n_items, dtype=np.float32) if bias is None else bias
    return Generation(
        number=number, parent=None, offsets={}, hyperparameters={}, seed=0,
        items=[f"p{n}" for n in range(n_items)], bias=np.asarray(prior, np.float32), model=None,
    )  # fmt: skip


class World:
    """A log, a table in memory, and an engine over them; `crash` and `recover` at will."""

    def __init__(self, path: Any) -> None:
        self.log = EmbeddedLog(path / "log.db", sync="normal")
        changelog = TopicSpec(CHANGELOG, PARTITIONS, compacted=True)
        self.log.create_topics([*topic_specs(PARTITIONS), changelog])
        self.rows = MemoryRows()
        self.timeline = SettingsTimeline(default_settings())
        self.engine = self.new_engine()

    def append(
        self, records: list[NewRecord], offsets: dict[TopicPartition, int]
    ) -> list[Position]:
        return self.log.append(records, group=GROUP, offsets=offsets)

    def new_engine(self, rows: Any = None, append: Any = None) -> Engine:
        return Engine(
            self.log, one_by_one(append or self.append), self.rows if rows is None else rows,
            settings=SETTINGS, timeline=self.timeline, clock_ms=lambda: NOW_MS,
        )  # fmt: skip

    def recover(self) -> None:
        """Do what Faust does at a start: bring the rows up to date from the changelog."""
        for partition in range(PARTITIONS):
            for record in self.read(CHANGELOG, partition):
                self.rows.write(partition, [(record.key, record.value)], record.offset)
        self.engine = self.new_engine()

    def feed(self, records: list[NewRecord], *, step: int = 1000) -> None:
        self.log.append(records)
        self.run(step=step)

    def run(self, *, step: int = 1000) -> None:
        """Deliver everything from the committed offsets on."""
        for partition in range(PARTITIONS):
            committed = self.log.committed(GROUP)
            at = committed.get(TopicPartition(INTERACTIONS, partition), 0)
            while records := self.log.read(INTERACTIONS, partition, at, step):
                ingest(self.engine, records)
                at = records[-1].offset + 1

    def read(self, topic: str, partition: int) -> list[Any]:
        return self.log.read(topic, partition, 0, 1_000_000)

    def lists(self) -> list[Recommendations]:
        found = [r for p in range(PARTITIONS) for r in self.read(RECOMMENDATIONS, p) if r.value]
        return [decode_recommendations(r.value) for r in found]

    def newest_lists(self) -> dict[str, tuple[str, ...]]:
        return {each.user: tuple(i.item for i in each.items) for each in self.lists()}

    def letters(self) -> list[DeadLetter]:
        found = [r for p in range(PARTITIONS) for r in self.read(DEAD_LETTERS, p)]
        return [msgspec.json.decode(r.value, type=DeadLetter) for r in found]

    def table(self) -> dict[bytes, bytes]:
        """Return the rows of all users, without lists and positions."""
        return {
            key: value
            for rows in self.rows.rows.values()
            for key, value in rows.items()
            if key != APPLIED_KEY and split_key(key)[1] != "l"
        }

    def changelog_table(self) -> dict[int, dict[bytes, bytes]]:
        return {
            partition: {r.key: r.value for r in self.read(CHANGELOG, partition)}
            for partition in range(PARTITIONS)
        }

    def close(self) -> None:
        self.log.close()
