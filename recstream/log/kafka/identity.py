"""Identity of a log on Kafka: the topic `recstream.meta` keeps its epoch and its topics' ids.

Topics may be deleted and recreated under their names, or mirrored to another cluster; offsets then
mean something else. The first process that opens a log writes an epoch (a ULID) here, and the id and
partition count of each topic it creates. An epoch ends when the cluster's id or a recorded topic's id
has changed; the next epoch names its predecessor. Of two written at the same time the first in the
log counts.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from recstream.errors import LogRecreated, PartitionCountMismatch
from recstream.log.port import NewRecord, Record
from recstream.log.reading import decode_or_skip
from recstream.log.topics import CHANGELOG_END, INTERACTIONS, TopicSpec

log = logging.getLogger(__name__)

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
    """A topic's id on Kafka and its partition count, as created."""

    id: str
    partitions: int


_decode_epoch = msgspec.json.Decoder(Epoch).decode
_decode_topic = msgspec.json.Decoder(TopicIdentity).decode


class Meta(msgspec.Struct, frozen=True):
    """The content of the meta topic."""

    epochs: tuple[Epoch, ...] = ()
    topics: dict[str, TopicIdentity] = {}

    @property
    def current(self) -> Epoch | None:
        """The last epoch of the chain; of several successors of an epoch the first counts."""
        current: Epoch | None = None
        for epoch in self.epochs:
            if epoch.follows == ("" if current is None else current.epoch):
                current = epoch
        return current

    def changed(self, cluster: str, existing: Mapping[str, TopicIdentity]) -> list[str]:
        """Return the recorded topics that were deleted or recreated; all of them on another cluster."""
        if self.current is None or self.current.cluster != cluster:
            return list(self.topics)
        return [
            name
            for name, recorded in self.topics.items()
            if name not in existing or existing[name].id != recorded.id
        ]

    def check_count(self, spec: TopicSpec, existing: TopicIdentity, where: str) -> None:
        """Check a topic's partition count against the setting and against its record here.

        Raises
        ------
        PartitionCountMismatch
        """
        created = self.topics.get(spec.name, existing).partitions
        if created != existing.partitions:
            raise _other_count(spec.name, created, existing.partitions, where)
        if spec.partitions != created:
            raise PartitionCountMismatch(
                f"topic {spec.name} must have {spec.partitions} partitions (setting partitions), was created"
                f" with {created} on Kafka at {where}: the order of a user's events and all derived state"
                f" depend on the count. Set partitions={created}, or create a new log and import the events"
            )


def require_same(
    known: Mapping[str, TopicIdentity], found: Mapping[str, TopicIdentity], where: str
) -> None:
    """Check that topics are still those that a process began with.

    Raises
    ------
    LogRecreated
        One was deleted or created again.
    PartitionCountMismatch
        One has other partitions.
    """
    for name, identity in known.items():
        now = found.get(name)
        if now is None or now.id != identity.id:
            raise LogRecreated(
                f"topic {name} on Kafka at {where} was deleted or created again while this process ran;"
                " restart this process and all others of this log"
            )
        if now.partitions != identity.partitions:
            raise _other_count(name, identity.partitions, now.partitions, where)


def require_no_stale(
    changed: Collection[str],
    existing: Mapping[str, TopicIdentity],
    has_records: Callable[[str, int], bool],
    where: str,
) -> None:
    """Raise `LogRecreated` if interactions was created again, but a changelog still counts the old offsets.

    Other changed topics are named in a warning.

    Parameters
    ----------
    changed : collection of str
        Topics that were deleted or created again.
    has_records : callable
        Returns whether a topic of so many partitions ever had records.
    """
    if changed:
        log.warning(
            "topics are not the recorded ones: deleted, created again or on another cluster; the log"
            " gets a new epoch topics=%s",
            ", ".join(sorted(changed)),
        )
    stale = [
        name
        for name, identity in existing.items()
        if INTERACTIONS in changed
        and name not in changed
        and name.endswith(CHANGELOG_END)
        and has_records(name, identity.partitions)
    ]
    if stale:
        raise LogRecreated(
            f"{INTERACTIONS} on Kafka at {where} was deleted or created again, but rows with offsets of the"
            f" old topic are still in {', '.join(stale)}. Delete this too; all histories then start empty"
        )


def _other_count(name: str, expected: int, found: int, where: str) -> PartitionCountMismatch:
    """Return the error of a topic whose partition count was changed on Kafka."""
    return PartitionCountMismatch(
        f"topic {name} must have {expected} partitions, has {found} on Kafka at {where}. Kafka can't remove"
        f" partitions: create a new log with {found} and import the events, or restore a backup of the"
        " brokers"
    )


def read_meta(records: Iterable[Record]) -> Meta:
    """Decode the records of the meta topic; those that can't be read are logged and skipped."""
    epochs: list[Epoch] = []
    topics: dict[str, TopicIdentity] = {}
    for record in records:
        key = record.key or b""
        if key.startswith(_EPOCH):
            if epoch := decode_or_skip(record, _decode_epoch):
                epochs.append(epoch)
        elif key.startswith(_TOPIC):
            name = key[len(_TOPIC) :].decode(errors="replace")
            if record.value is None:
                topics.pop(name, None)
            elif identity := decode_or_skip(record, _decode_topic):
                topics[name] = identity
    return Meta(tuple(epochs), topics)


def epoch_record(epoch: Epoch) -> NewRecord:
    """Return the record of an epoch."""
    return NewRecord(META, _EPOCH + epoch.epoch.encode(), msgspec.json.encode(epoch), 0)


def topic_record(name: str, identity: TopicIdentity | None) -> NewRecord:
    """Return the record of a created topic, or of a deleted one (``None``)."""
    value = None if identity is None else msgspec.json.encode(identity)
    return NewRecord(META, _TOPIC + name.encode(), value, 0)
