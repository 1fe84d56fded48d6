"""Rows in memory, and appends without a consumer group, for engines under test."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from recstream.errors import LogFenced
from recstream.log.port import NewRecord, Position, Record, TopicPartition
from recstream.worker.commit import Append, Work, raise_fenced
from recstream.worker.engine import Engine
from recstream.worker.rocksdb_rows import RowBatch

Single = Callable[[Sequence[NewRecord], Mapping[TopicPartition, int]], list[Position]]


def one_by_one(append: Single) -> Append:
    """Return an `Append` over what appends a single work and raises `LogFenced`."""

    def append_all(works: Sequence[Work]) -> list[list[Position] | LogFenced]:
        done: list[list[Position] | LogFenced] = []
        for work in works:
            try:
                done.append(append(*work))
            except LogFenced as error:
                done.append(error)
        return done

    return append_all


def ingest(engine: Engine, records: Sequence[Record]) -> None:
    """Ingest records of one partition; raises `LogFenced` if they are refused."""
    raise_fenced(engine.ingest([records]))


class MemoryRows:
    """The rows of a worker in memory."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[bytes, bytes]] = {}
        self.changelog_offsets: dict[int, int] = {}

    def get(self, partition: int, key: bytes) -> bytes | None:
        """Return a row's value, or None."""
        return self.rows.get(partition, {}).get(key)

    def write(self, partition: int, rows: RowBatch, changelog_offset: int) -> None:
        """Keep rows and the changelog offset."""
        table = self.rows.setdefault(partition, {})
        for key, value in rows:
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        self.changelog_offsets[partition] = changelog_offset

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield every row in key order."""
        yield from sorted(self.rows.get(partition, {}).items())

    def keys_of(self, partition: int, user: bytes) -> list[bytes]:
        """Return the keys of a user's rows."""
        return [key for key in self.rows.get(partition, {}) if key.partition(b"\0")[0] == user]

    def scrub_copy(self, partition: int) -> None:
        pass

    def scrub(self, partition: int) -> None:
        """Nothing: memory keeps nothing."""
