"""A transaction that failed is never followed by another one of the same producer and epoch."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from recstream.errors import LogFenced
from recstream.log.kafka import transactions as module
from recstream.log.kafka.transactions import PartitionTransactions
from recstream.log.port import NewRecord, Record, TopicPartition

OWNED = TopicPartition("t", 0)
LOST = KafkaError(KafkaError._MSG_TIMED_OUT)


class Broker:
    """One partition that keeps what a broker keeps: epochs, sequence numbers, ends of transactions."""

    def __init__(self) -> None:
        self.epoch = -1
        self.sequence = 0
        self.written: list[tuple[int, bytes | None]] = []
        self.offsets: dict[int, int] = {}
        self.committed: set[int] = set()
        self.open: list[int] = []
        self.failures: list[str] = []
        """What goes wrong, one of each transaction that follows."""
        self.on_failure: Callable[[], object] = lambda: None

    def begin_epoch(self) -> int:
        """Abort what the last producer of this name had begun, and give the next one its epoch."""
        self.open.clear()
        self.epoch += 1
        self.sequence = 0
        return self.epoch

    def write(self, sequence: int, value: bytes | None) -> int:
        """Write a record, or acknowledge it as the duplicate that its number says it is."""
        if sequence < self.sequence:
            return self.offsets[sequence]
        self.sequence = sequence + 1
        offset = len(self.written)
        self.offsets[sequence] = offset
        self.written.append((self.epoch, value))
        self.open.append(offset)
        return offset

    def commit(self) -> None:
        self.committed.update(self.open)
        self.open.clear()

    def values(self) -> list[bytes | None]:
        return [value for at, (_, value) in enumerate(self.written) if at in self.committed]

    # What writers ask of a log

    def assign_partitions(self, records: Sequence[NewRecord]) -> list[TopicPartition]:
        return [OWNED] * len(records)

    def read(
        self, topic: str, partition: int, offset: int, max_records: int = 1000
    ) -> list[Record]:
        return [
            Record(topic, partition, at, 0, None, self.written[at][1])
            for at in sorted(self.committed)
            if at >= offset
        ][:max_records]


class Producer:
    """librdkafka's, as far as a writer goes: a record that timed out leaves its number free."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waiting: list[tuple[bytes | None, Callable[..., None]]] = []
        self._sequence = 0
        self._epoch = -1

    def init_transactions(self, _: float) -> None:
        self._epoch = self._broker.begin_epoch()

    def begin_transaction(self) -> None:
        if self._epoch != self._broker.epoch:
            raise KafkaException(KafkaError(KafkaError._FENCED))

    def produce(self, _: str, value: bytes | None, *_rest: Any, on_delivery: Any) -> None:
        self._waiting.append((value, on_delivery))

    def flush(self, _: float) -> int:
        fails = self._broker.failures[:1] == ["acknowledgement"]
        for value, on_delivery in self._waiting:
            offset = self._broker.write(self._sequence, value)
            if fails:
                on_delivery(LOST, None)
            else:
                self._sequence += 1
                on_delivery(None, SimpleNamespace(offset=lambda at=offset: at))
        self._waiting.clear()
        if fails:
            self._broker.failures.pop(0)
        return 0

    def commit_transaction(self, _: float) -> None:
        how = self._broker.failures.pop(0) if self._broker.failures else ""
        if how != "commit":
            self._broker.commit()
        if how:
            self._broker.on_failure()
            raise KafkaException(LOST)

    def abort_transaction(self, *_: float) -> None:
        self._broker.open.clear()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(module, "Producer", lambda _: Producer(broker))
    monkeypatch.setattr(module, "_RETRY_S", (0.0,))
    monkeypatch.setattr(module, "has_lost_brokers", lambda *_: False)
    return broker


@pytest.mark.parametrize("failures", [["commit"], ["answer to the commit"], ["commit"] * 3])
def test_a_commit_without_an_answer_is_repeated_on_the_same_producer(
    broker: Broker, failures: list[str]
) -> None:
    writers = PartitionTransactions(broker, {}, "g")
    writers.own([OWNED])
    writers.append([NewRecord("t", None, b"a")], OWNED)

    broker.failures = [*failures]
    positions = writers.append([NewRecord("t", None, b"b"), NewRecord("t", None, b"c")], OWNED)
    writers.append([NewRecord("t", None, b"d")], OWNED)

    assert broker.values() == [b"a", b"b", b"c", b"d"]
    assert [broker.written[at.offset][1] for at in positions] == [b"b", b"c"]
    assert broker.epoch == 0
    writers.close()


def test_a_producer_whose_record_was_not_acknowledged_is_not_used_again(broker: Broker) -> None:
    writers = PartitionTransactions(broker, {}, "g")
    writers.own([OWNED])
    writers.append([NewRecord("t", None, b"a")], OWNED)

    broker.failures = ["acknowledgement"]
    for _ in range(2):
        with pytest.raises(LogFenced):
            writers.append([NewRecord("t", None, b"b")], OWNED)
    writers.own([OWNED])
    writers.append([NewRecord("t", None, b"b")], OWNED)

    assert broker.values() == [b"a", b"b"]
    assert broker.epoch == 1
    writers.close()


def test_records_of_an_earlier_assignment_are_refused(broker: Broker) -> None:
    writers = PartitionTransactions(broker, {}, "g")
    writers.own([OWNED])
    broker.failures = ["commit"]
    broker.on_failure = lambda: (writers.release([OWNED]), writers.own([OWNED]))

    with pytest.raises(LogFenced, match="is not this worker's"):
        writers.append([NewRecord("t", None, b"stale")], OWNED)

    assert broker.values() == []
    writers.close()


def test_a_writer_whose_partition_was_taken_over_is_refused_from_then_on(broker: Broker) -> None:
    old, new = (PartitionTransactions(broker, {}, "g") for _ in range(2))
    old.own([OWNED])
    new.own([OWNED])

    for _ in range(2):
        with pytest.raises(LogFenced, match=r"can't write any more|is not this worker's"):
            old.append([NewRecord("t", None, b"late")], OWNED)

    new.append([NewRecord("t", None, b"new")], OWNED)
    assert broker.values() == [b"new"]
