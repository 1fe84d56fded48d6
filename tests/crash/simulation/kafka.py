"""The simulation on a real Kafka broker: transactions, fencing and offsets are Kafka's.

One process still: a crash drops a worker's producers in the middle of their transactions, and a takeover
initialises producers of the same transactional ids.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from recstream.errors import LogFenced, LogUnavailable
from recstream.log import INTERACTIONS, TopicPartition, open_log
from recstream.log.kafka import log as kafka_log
from recstream.log.kafka import transactions
from recstream.worker.commit import Work
from tests.crash.simulation.faults import ELIGIBLE, Faults
from tests.crash.simulation.worker import SimulatedWorker
from tests.crash.simulation.world import World


class KafkaFaults(Faults):
    """Faults with their points in Kafka's transactions and reads."""

    def patches(self) -> Iterator[tuple[Any, str, Any]]:
        """Yield owner, name and replacement of what has a point."""
        yield from super().patches()
        producer = transactions._TransactionalProducer
        send = self.around(producer._send, "transaction begins")
        commit = self.around(producer._commit, "transaction commits", "transaction committed")
        read = self.around(kafka_log.KafkaLog.read, "log read")
        yield from [(producer, "_send", send), (producer, "_commit", commit)]
        yield kafka_log.KafkaLog, "read", read


class KafkaWorker(SimulatedWorker):
    """A worker whose appends are transactions, one for each partition."""

    poll_s = 0.02

    def _join(self, held: contextlib.ExitStack) -> None:
        self._transactions = self.log.transactions(self.settings.app_id)
        held.callback(self._transactions.close)

    def _append_all(self, works: Sequence[Work]) -> list[Any]:
        done: list[Any] = []
        for records, offsets in works:
            (tp,) = offsets
            try:
                done.append(self._transactions.append(records, tp))
            except LogFenced as error:
                self.is_fenced = True
                done.append(error)
        return done

    def give_up(self) -> None:
        """Finish with all partitions, and release their producers."""
        super().give_up()
        self._transactions.release(list(self._transactions._transactions))

    def take(self, partitions: Iterable[int]) -> None:
        """Fence the partitions' former owners, then recover."""
        mine = sorted(partitions)
        self._transactions.own([TopicPartition(INTERACTIONS, at) for at in mine])
        super().take(mine)

    def crash(self) -> None:
        """Lose all that is in memory, producers in the middle of a transaction included."""
        self._transactions._transactions.clear()
        super().crash()

    def deliver(self, rng: random.Random) -> bool:
        """Deliver, and mostly commit the group's offsets afterwards."""
        is_busy = super().deliver(rng)
        if self._position and not self.is_fenced and (not is_busy or rng.random() < 0.7):
            offsets = {TopicPartition(INTERACTIONS, at): n for at, n in self._position.items()}
            with contextlib.suppress(LogUnavailable):
                self.log.append([], group=self.settings.app_id, offsets=offsets)
        return is_busy


class KafkaWorld(World):
    """A world on a broker without topics."""

    kinds = tuple(kind for kind in ELIGIBLE if kind != "crash of all")
    new_worker = KafkaWorker

    def __init__(self, folder: Path, seed: int, faults: Faults, broker: Any) -> None:
        self._broker = broker
        super().__init__(folder, seed, faults)

    def close(self) -> None:
        """End everything, the broker too."""
        super().close()
        self._broker.close()

    def broker(self) -> str:
        """Return the URL that workers open."""
        return str(self._broker.url)

    def open_log(self, folder: Path) -> Any:
        """Open the log as the client does."""
        del folder
        return open_log(self.broker(), self.settings)

    def ask_to_forget(self, user: str) -> Any:
        """Do nothing: erasure takes hours on Kafka."""

    def is_locked(self) -> bool:
        """Return False: no transaction keeps that of another worker waiting."""
        return False

    def assign(self, names: dict[int, str], given: dict[int, list[int]]) -> None:
        """Do nothing: who takes a partition fences its former owner."""
