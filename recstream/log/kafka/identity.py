"""Which log a Kafka cluster holds, and what its topics were made as: the topic `recstream.meta`.

Kafka has no name for "this log": topics may be deleted and made again under their names, or mirrored
to another cluster, and offsets then mean something else. So the first role that opens a log writes an
epoch (a ULID) here, and every topic's id and partition count when it is made. An epoch ends when the
cluster's id or a recorded topic's id is no longer the recorded one; the next names the one it follows.
Of two written at the same time the first in the log counts, for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from recstream.errors import PartitionCountMismatch
from recstream.log.port import NewRecord, Record
from recstream.log.topics import TopicSpec

META = "recstream.meta"
META_SPEC = TopicSpec(META, 1, compacted=True)

_TOPIC = b"topic:"
_EPOCH = b"epoch:"


class Epoch(msgspec.Struct, frozen=True):
    """A log's identity: its ULID, the cluster it is on, and the epoch before it."""

    epoch: str
    cluster: str
    follows: str = ""


class TopicIdentity(msgspec.Struct, frozen=True):
    """A topic as it was made: Kafka's own id of it, and its partition count."""

    id: str
    partitions: int


class Meta(msgspec.Struct, frozen=True):
    """What the meta topic says."""

    epochs: tuple[Epoch, ...] = ()
    topics: dict[str, TopicIdentity] = {}

    @property
    def current(self) -> Epoch | None:
        """The end of the chain of epochs, each the first that follows the one before."""
        current: Epoch | None = None
        for epoch in self.epochs:
            if epoch.follows == ("" if current is None else current.epoch):
                current = epoch
        return current

    def changed(self, cluster: str, there: Mapping[str, TopicIdentity]) -> list[str]:
        """Return the recorded topics that are gone or others now; all of them on another cluster."""
        if self.current is None or self.current.cluster != cluster:
            return list(self.topics)
        return [
            name
            for name, made in self.topics.items()
            if name not in there or there[name].id != made.id
        ]

    def check_count(self, spec: TopicSpec, there: TopicIdentity, where: str) -> None:
        """Refuse a topic that has another partition count than wanted, or than it was made with.

        Raises
        ------
        PartitionCountMismatch
        """
        recorded = self.topics.get(spec.name)
        for expected, why in (
            (spec.partitions, "the setting partitions says so"),
            (recorded.partitions if recorded else spec.partitions, "it was made with as many"),
        ):
            if expected != there.partitions:
                message = (
                    f"topic {spec.name} must have {expected} partitions ({why}), has"
                    f" {there.partitions} on Kafka at {where}: a user's order and every state"
                    " depend on the count; set it back, or import into new topics"
                )
                raise PartitionCountMismatch(message)


def read_meta(records: Iterable[Record]) -> Meta:
    """Return what the records of the meta topic say together."""
    epochs: list[Epoch] = []
    topics: dict[str, TopicIdentity] = {}
    for record in records:
        key = record.key or b""
        if key.startswith(_EPOCH) and record.value is not None:
            epochs.append(msgspec.json.decode(record.value, type=Epoch))
        elif key.startswith(_TOPIC):
            name = key[len(_TOPIC) :].decode()
            if record.value is None:
                topics.pop(name, None)
            else:
                topics[name] = msgspec.json.decode(record.value, type=TopicIdentity)
    return Meta(tuple(epochs), topics)


def epoch_record(epoch: Epoch) -> NewRecord:
    """Return the record that names an epoch."""
    return NewRecord(META, _EPOCH + epoch.epoch.encode(), msgspec.json.encode(epoch), 0)


def topic_record(name: str, made: TopicIdentity | None) -> NewRecord:
    """Return the record of a topic as it was made, or of its end."""
    value = None if made is None else msgspec.json.encode(made)
    return NewRecord(META, _TOPIC + name.encode(), value, 0)
