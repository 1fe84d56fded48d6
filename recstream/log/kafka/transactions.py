"""`PartitionTransactions`: one transactional producer for each owned partition.

The transactional id names the partition. `own` initialises the producer: this aborts what the last
owner had begun and fences it, so a worker that was declared dead can't write behind its successor.

`own` is the only place that initialises, and it belongs to an assignment: the caller recovers its
state from the log afterwards. A retry never initialises: it could fence a successor without having
read what that one wrote. A commit without an answer is repeated on the same producer. After any
other failure the producer is not used again: with its old epoch the broker may drop the next record
as a duplicate. Then `LogFenced` is raised, and the owner joins the group again and reads again.

The consumer group's offset is not part of the transaction: librdkafka can wait for ever in
``send_offsets_to_transaction`` when the group's coordinator restarts (its issue 5456). The row that
says how far the partition is applied is part of it, and that row counts: records that are read
again because the offset was not committed yet are skipped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import itemgetter
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from recstream.errors import LogFenced, LogUnavailable
from recstream.log.kafka.client import REQUEST_TIMEOUT_S, producer_options, record_options
from recstream.log.kafka.outage import (
    PURGED_CODES,
    SILENT_S,
    ClientErrors,
    has_lost_brokers,
    translated,
)
from recstream.log.port import NewRecord, Position, TopicPartition

log = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_MS = 15_000
"""After this the broker ends a transaction whose worker is gone and has no successor."""
_OWN_TIMEOUT_S = 60.0
_RETRY_S = (0.05, 0.2, 1.0)
_WARN_EVERY = 10
_FENCED = {
    KafkaError._FENCED,  # noqa: SLF001 - how the library spells its own codes
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
}


class TransactionLog(Protocol):
    """The log that transactions append to."""

    def assign_partitions(self, records: Sequence[NewRecord]) -> list[TopicPartition]:
        """Check records and return the partition of each."""


class PartitionTransactions:
    """Transactions for those partitions of a consumer group that this worker owns.

    Parameters
    ----------
    group : str
        The consumer group whose members own partitions.
    """

    def __init__(self, event_log: TransactionLog, shared: dict[str, Any], group: str) -> None:
        self._log = event_log
        self._shared = shared
        self._group = group
        self._errors = ClientErrors()
        self._transactions: dict[TopicPartition, _TransactionalProducer] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def own(self, tps: Collection[TopicPartition]) -> None:
        """Take partitions over: when this returns, their former owner is fenced.

        Raises
        ------
        LogUnavailable
            The broker did not answer in time.
        """
        missing = [tp for tp in tps if tp not in self._transactions]
        if not missing:
            return
        with ThreadPoolExecutor(len(missing), thread_name_prefix="kafka-own") as pool:
            writers = list(pool.map(self._writer, missing))
        with self._lock:
            self._transactions |= dict(zip(missing, writers, strict=True))

    def release(self, tps: Iterable[TopicPartition]) -> None:
        """Give partitions up; finished appends are complete."""
        with self._lock:
            for tp in tps:
                self._transactions.pop(tp, None)

    def append(self, records: Sequence[NewRecord], tp: TopicPartition) -> list[Position]:
        """Append records, all or none, as the owner of a partition.

        Waits while the log is unavailable, until `close`.

        Raises
        ------
        LogFenced
            The producer of the partition is fenced or lost. Join the group again and read again;
            the partition's rows say whether the records were written.
        LogUnavailable
            Closed while the log was away; it is not known whether anything was written.
        """
        if not records:
            return []
        placed = self._log.assign_partitions(records)
        # One producer for all attempts: after a new assignment the records may be stale.
        producer = self._transactions.get(tp)
        attempt = 0
        while True:
            if producer is None or self._transactions.get(tp) is not producer:
                message = f"{tp.topic}[{tp.partition}] of group {self._group} is not this worker's"
                raise LogFenced(message)
            try:
                return producer.append(records, placed)
            except LogFenced:
                self._drop(tp, producer)
                raise
            except LogUnavailable as error:
                if attempt % _WARN_EVERY == 0:
                    log.warning(
                        "kafka unavailable, trying again records=%d: %s", len(records), error
                    )
                if self._stopping.wait(_RETRY_S[min(attempt, len(_RETRY_S) - 1)]):
                    raise
                attempt += 1

    def close(self) -> None:
        """Give all partitions up, and stop waiting for an unavailable log."""
        self._stopping.set()
        with self._lock:
            self._transactions.clear()

    def _writer(self, tp: TopicPartition) -> _TransactionalProducer:
        name = f"{self._group}-{tp.topic}-{tp.partition}"
        return _TransactionalProducer(self._shared, name, tp, self._errors)

    def _drop(self, tp: TopicPartition, producer: _TransactionalProducer) -> None:
        """Forget a producer that can't write any more, unless a new one has taken its place."""
        with self._lock:
            if self._transactions.get(tp) is producer:
                del self._transactions[tp]


class _TransactionalProducer:
    """The transactional producer of one partition."""

    def __init__(
        self, shared: dict[str, Any], name: str, tp: TopicPartition, errors: ClientErrors
    ) -> None:
        self._shared = shared
        self._tp = tp
        self._errors = errors
        self._lock = threading.Lock()
        self._positions: list[Position] = []
        self._is_committing = False
        self._refused = ""
        self._producer = Producer(
            producer_options(shared)
            | {
                "transactional.id": name,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "delivery.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "error_cb": errors,
            }
        )
        try:
            self._producer.init_transactions(_OWN_TIMEOUT_S)
        except KafkaException as error:
            raise errors.translate(error, "taking a partition over") from error

    def append(
        self, records: Sequence[NewRecord], placed: Sequence[TopicPartition]
    ) -> list[Position]:
        """Append in one transaction; called again with the same records after `LogUnavailable`."""
        with self._lock:
            if self._refused:
                raise self._fenced()
            if not self._is_committing:
                self._send(records, placed)
            return self._commit()

    def _send(self, records: Sequence[NewRecord], placed: Sequence[TopicPartition]) -> None:
        self._positions = [Position(*tp, -1) for tp in placed]
        errors: list[tuple[bool, str, KafkaError]] = []
        self._call(self._producer.begin_transaction)
        for index, (record, tp) in enumerate(zip(records, placed, strict=True)):
            on_delivery = partial(self._placed, errors, index)
            self._call(partial(self._produce, record, tp, on_delivery))
        self._call(self._flush)
        if errors:
            # Records that were purged say nothing of the reason.
            _, topic, reason = min(errors, key=itemgetter(0))
            raise self._refuse(reason, f"appending to {topic}")

    def _commit(self) -> list[Position]:
        self._is_committing = True
        self._call(partial(self._producer.commit_transaction, REQUEST_TIMEOUT_S))
        self._is_committing = False
        return self._positions

    def _flush(self) -> None:
        """Wait until all records are with the broker."""
        deadline_s = time.monotonic() + TRANSACTION_TIMEOUT_MS / 1000.0
        while self._producer.flush(SILENT_S):
            if time.monotonic() > deadline_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001

    def _produce(
        self, record: NewRecord, tp: TopicPartition, on_delivery: Callable[..., None]
    ) -> None:
        options = record_options(record)
        while True:
            try:
                self._producer.produce(
                    tp.topic,
                    record.value,
                    record.key,
                    tp.partition,
                    on_delivery=on_delivery,
                    **options,
                )
            except BufferError:
                self._producer.poll(0.01)
            else:
                return

    def _placed(
        self,
        errors: list[tuple[bool, str, KafkaError]],
        index: int,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        if error is not None:
            topic = self._positions[index].topic
            errors.append((error.code() in PURGED_CODES, topic, error))
        else:
            self._positions[index] = self._positions[index]._replace(offset=message.offset() or 0)

    def _call(self, call: Callable[[], object]) -> None:
        try:
            call()
        except (KafkaException, SystemError) as raised:
            # A fatal error that comes while acknowledgements are called back arrives as the cause.
            error = raised if isinstance(raised, KafkaException) else raised.__cause__
            if not isinstance(error, KafkaException):
                raise
            reason: KafkaError = error.args[0]
            is_over = reason.fatal() or reason.txn_requires_abort() or reason.code() in _FENCED
            if not self._is_committing or is_over or has_lost_brokers(self._producer, self._shared):
                raise self._refuse(reason) from error
            raise self._errors.translate(error, "committing") from error

    def _refuse(self, reason: KafkaError, doing: str = "appending") -> LogFenced:
        self._refused = str(translated(reason, doing))
        return self._fenced()

    def _fenced(self) -> LogFenced:
        return LogFenced(
            f"the producer of {self._tp.topic}[{self._tp.partition}] can't write any more"
            f" ({self._refused}); join the group again: the partition's owner recovers its rows and"
            " reads its records again"
        )
