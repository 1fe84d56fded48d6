"""A worker without processes and threads: real app, loop, engine, tables, appender in turn.

`SimulatedWorker` does what Faust does around them: it recovers tables from the changelog, delivers
records from the committed offset on, and calls what timers and tasks would.
"""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from recstream.core.generation import Generation
from recstream.errors import LogError, LogFenced, ModelStoreUnavailable
from recstream.log import INTERACTIONS, TopicPartition
from recstream.log.faust.appender import Appender
from recstream.log.faust.consumer import NO_KEY
from recstream.models import Unusable
from recstream.settings import Settings
from recstream.worker.app import build_app
from recstream.worker.commit import Work
from tests.crash.simulation.faults import Faults

RECOVERED_RECORDS = 50
"""Records of the changelog that recovery writes at a time."""


class SimulatedWorker:
    """One life of a worker, from `build_app` to `crash` or `close`."""

    poll_s = 0.0
    """Longest wait for the models topic."""

    def __init__(
        self, settings: Settings, clock_ms: Callable[[], int], faults: Faults, name: str
    ) -> None:
        self.settings = settings
        self.name = name
        self.is_fenced = False
        self._faults = faults
        self._position: dict[int, int] = {}
        self._is_following = False
        with contextlib.ExitStack() as held:
            self.app = build_app(settings, clock_ms)
            held.callback(self.app.held.close)
            self.loop = self.app.worker_loop
            held.callback(self.loop._feed.close)
            self.engine = self.loop.engine
            self.log: Any = self.loop._log
            self.log.clock_ms = clock_ms
            self.rows: Any = self.loop._rows
            self.store: Any = self.rows._table.data
            self.app._consumer = SimpleNamespace(
                append_all=faults.around(self._append_all, "append sent", "append acknowledged")
            )
            self._join(held)
            self._held = held.pop_all()

    def _join(self, held: contextlib.ExitStack) -> None:
        self._appender = Appender(self.log, group=self.settings.app_id)
        held.callback(self._appender.stop)
        self._appender.member = self.name

    def _append_all(self, works: Sequence[Work]) -> Any:
        return self._appender.append_all(works)

    # Partitions

    @property
    def owned(self) -> list[int]:
        """Partitions that this worker takes to be its own, and has recovered."""
        return sorted(self.loop.owned)

    def give_up(self) -> None:
        """Finish with all partitions, before a rebalance."""
        self._position.clear()
        gone = set(self.loop._owned)
        self.loop._owned.clear()
        self.loop._discard(gone)

    def take(self, partitions: Iterable[int]) -> None:
        """Recover the tables of partitions, and get ready for their first records."""
        mine = set(partitions)
        for partition in list(self.store._dbs):
            if partition not in mine:
                self.store._dbs.pop(partition).close()
        for partition in sorted(mine):
            self._recover(partition)
        self.rows.keep_only(mine)
        self.loop._owned.update(mine)
        committed = self.log.committed(self.settings.app_id)
        for partition in sorted(mine):
            self.loop._prepare(partition)
            self._position[partition] = committed.get(TopicPartition(INTERACTIONS, partition), 0)

    def _recover(self, partition: int) -> None:
        """Bring a table up to its changelog, from the record on that it says is its newest."""
        changelog = self.rows._table.changelog_topic.get_topic_name()
        self.rows.prepare(partition)
        tp = TP(changelog, partition)
        at = max(self.store.persisted_offset(tp) or 0, self.log.earliest(*tp))
        while found := self.log.read(*tp, at, RECOVERED_RECORDS):
            self.store.apply_changelog_batch(
                [
                    SimpleNamespace(
                        message=SimpleNamespace(
                            tp=tp,
                            partition=partition,
                            offset=each.offset,
                            key=NO_KEY if each.key is None else each.key,
                            value=None if each.key is None else each.value,
                        )
                    )
                    for each in found
                ],
                bytes,
                bytes,
            )
            at = found[-1].offset + 1

    # Work

    def step(self, rng: random.Random) -> None:
        """Do one of the things that a worker's event loop would do next."""
        rng.choice(
            [self.deliver, self.deliver, self.deliver, self.rank, self.look, self.follow_models]
        )(rng)

    def deliver(self, rng: random.Random) -> bool:
        """Deliver records of some partitions, now and then again; return whether there were any."""
        groups = []
        for partition in self.owned:
            if rng.random() < 0.2:
                continue
            at = self._position[partition]
            if rng.random() < 0.1:
                at -= rng.randint(1, 20)
            at = max(self.log.earliest(INTERACTIONS, partition), at)
            records = self.log.read(INTERACTIONS, partition, at, rng.randint(1, 40))
            if records:
                groups.append(records)
        if groups:
            self.loop._ingest(groups)
        for records in groups:
            self._position[records[0].partition] = records[-1].offset + 1
        return bool(groups)

    def rank(self, _: random.Random) -> bool:
        """Make some of the lists that wait; return whether there were any."""
        engine = self.engine
        if engine.generation is None or not (engine.n_pending or engine.n_to_refresh):
            return False
        self.loop._make_some_lists()
        return True

    def look(self, rng: random.Random) -> None:
        """Do what timers do: follow the control topic, forget users, publish the status."""
        for each in rng.sample([self._follow_control, self._forget, self._publish_status], 3):
            with contextlib.suppress(LogError):  # the loop logs it, and tries again
                each()

    def _follow_control(self) -> None:
        self.engine.follow_control()
        self.engine.follow_times()

    def _forget(self) -> None:
        for due in self.loop._begin_erasures():
            erased = self.loop._forgetter.erase(due)
            if erased.requests and self.loop._scrub(due.partition):
                self.loop._forgetter.finish(erased)

    def _publish_status(self) -> None:
        record = self.loop._status_record()
        if record is not None:
            self.log.append([record])

    def follow_models(self, _: random.Random) -> None:
        """Read the models topic on; after an error begin again with the newest generation."""
        feed = self.loop._feed
        try:
            if not self._is_following:
                generation = feed.newest()
                if generation is not None:
                    self.engine.activate(generation)
            self._is_following = True
            for found in feed.poll(self.poll_s):
                if isinstance(found, Unusable):
                    self.loop._write_dead_letter(found)
                elif isinstance(found, Generation):
                    self.engine.activate(found)
                else:
                    self.loop._apply_delta(found)
        except LogFenced:
            raise
        except (LogError, ModelStoreUnavailable, OSError):
            self._is_following = False

    # Ends

    def crash(self) -> None:
        """Lose all that is in memory; the files stay as they are now, not closed."""
        folder = Path(self.app.conf.tabledir)
        copy = Path(self.settings.data_dir) / "as-killed"
        shutil.copytree(folder, copy)
        self.close()
        shutil.rmtree(folder)
        copy.rename(folder)

    def close(self) -> None:
        """Release files and threads."""
        for database in self.store._dbs.values():
            database.close()
        self.store._dbs.clear()
        self._held.close()
