"""A simulated world with checkpoints and retention: workers lose tables, logs their start.

It keeps what retention deletes, so that rows are compared with a fold of everything that ever was.
"""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from msgspec.structs import replace

from recstream.checkpoints import Job, audit_horizon, retain, retention, run_job
from recstream.control import compact, read_control
from recstream.control.reader import default_settings
from recstream.core.history import History, SettingsTimeline
from recstream.core.records import decode_recommendations
from recstream.erasure import forgetting
from recstream.erasure.redact import without
from recstream.errors import BeyondHorizon, CheckpointError, CheckpointMismatch, RecstreamError
from recstream.log import INTERACTIONS, RECOMMENDATIONS, Record, open_log
from recstream.log.embedded import EmbeddedLog, maintain
from recstream.process import is_temporary
from recstream.runtime import backup
from recstream.settings import DAY_MS
from recstream.time_travel import PartitionFold, Snapshots, verify_checkpoints
from recstream.trainer.inputs import Inputs
from tests.crash.simulation.checks import Found
from tests.crash.simulation.client import N_USERS, PARTITIONS
from tests.crash.simulation.faults import Crash, CrashOfAll, Faults, is_simulated
from tests.crash.simulation.worker import SimulatedWorker
from tests.crash.simulation.world import World


class PrunedWorld(World):
    """A world whose trainer applies retention settings."""

    flags = " --pruned"

    def __init__(self, folder: Path, seed: int, faults: Faults) -> None:
        rng = random.Random(seed)
        self.kept: dict[tuple[str, int], dict[int, Record]] = {}
        self.timeline_of_all = SettingsTimeline(default_settings())
        self.n_backups = 0
        super().__init__(folder, seed, faults)
        self.retaining = replace(
            self.settings,
            keep_interactions_events=rng.choice([3, 10, 40]),
            keep_lists_days=rng.choice([0, 20_000 / DAY_MS]),
            keep_models=rng.choice([0, 1, 3]),
            compact_control=rng.random() < 0.7,
            keep_checkpoints=rng.choice([1, 2]),
        )

    # Everything that ever was

    def note(self) -> None:
        """Keep what the log holds now."""
        self.timeline_of_all.extend(read_control(self.log, self.timeline_of_all.next_offset))
        for topic in (INTERACTIONS, RECOMMENDATIONS):
            for at in range(PARTITIONS):
                kept = self.kept.setdefault((topic, at), {})
                kept |= {each.offset: each for each in super().records(topic, at)}

    def records(self, topic: str, partition: int) -> list[Record]:
        """Return all records of a partition, those that were pruned too."""
        self.note()
        since = self.forgotten_since()
        return [
            _forgotten(each, since)
            for _, each in sorted(self.kept.get((topic, partition), {}).items())
        ] or super().records(topic, partition)

    def folded(self, partition: int, until: int = 1 << 62) -> PartitionFold:
        """Return a clean fold of all events of a partition before an offset."""
        records = self.records(INTERACTIONS, partition)
        fold = PartitionFold(partition, PARTITIONS, self.timeline_of_all)
        fold.fold(each for each in records if each.offset < until)
        return fold

    # What happens besides

    def step(self, slot: int) -> None:
        """Let a worker do one thing, or make a checkpoint; now and then the trainer deletes."""
        super().step(slot)
        chance = self.rng.random()
        worker = self.workers[slot]
        if chance < 0.2 and worker is not None:
            with self._apart(worker):
                self._make_checkpoints(worker)
        elif chance < 0.3:
            self.note()
            with (
                self._apart(self),
                mock.patch.object(retention, "CONTROL_KEPT_MS", 5_000),
                mock.patch.object(compact, "MIN_DROPPED", 3),
            ):
                retain(self.checkpoints(self.log), self.retaining, now_ms=self.now_ms)
                maintain(self.log, min_dirty_ratio=0.0)
        elif chance < 0.35:
            self.ask_about_the_past()

    @contextlib.contextmanager
    def _apart(self, actor: Any) -> Iterator[None]:
        """Let faults happen to a process that has no state: it ends, and that is all."""
        try:
            with self.faults.acting(actor):
                yield
        except CrashOfAll:
            self.crash_all()
        except Crash:
            pass
        except CheckpointMismatch as error:
            raise Found(str(error)) from error
        except (RecstreamError, OSError) as error:
            if not is_simulated(error) and not is_temporary(error):
                raise

    def _make_checkpoints(self, worker: SimulatedWorker) -> None:
        tables = {at: str(worker.rows.path(at)) for at in worker.owned}
        # The table of a worker that was taken for dead may end with a record that was compacted.
        refused = (CheckpointError,) if worker.is_fenced else ()
        with contextlib.suppress(*refused):
            run_job(Job(settings=self.retaining, tables=tables), clock_ms=lambda: self.now_ms)
        with contextlib.closing(open_log(self.settings.broker_url, self.settings)) as log:
            for at in tables:
                verify_checkpoints(self.checkpoints(log), at, only_new=True)

    def _end(self, slot: int, worker: SimulatedWorker | None, error: BaseException) -> None:
        """End a worker's life; a machine that died may have taken the tables with it."""
        folder = None if worker is None else Path(worker.app.conf.tabledir)
        super()._end(slot, worker, error)
        if folder is not None and isinstance(error, Crash) and self.rng.random() < 0.4:
            shutil.rmtree(folder)

    # What must hold

    def verify(self) -> None:
        """Compare the rest of the readers with the log, too."""
        self.settle()
        for worker in self.workers:
            if worker is not None:  # after an erasure there may be none
                self._make_checkpoints(worker)
        super().verify()
        self.ask_about_the_past(n=40)
        self.check_trainer()
        self.check_backup()

    def ask_about_the_past(self, n: int = 2) -> None:
        """Ask for histories of the past: beyond the horizon alone there may be no answer."""
        if forgetting(self.log).pending:
            return  # some of a user's events are gone, and some are not
        checkpoints = self.checkpoints(self.log)
        snapshots = Snapshots(
            self.log, self.folder / "past", block_events=7, checkpoints=checkpoints
        )
        with contextlib.closing(snapshots):
            for _ in range(n):
                user = f"u{self.rng.randrange(N_USERS)}"
                at = snapshots.partition(user)
                horizon = audit_horizon(checkpoints, at)
                end = self.log.high_watermark(INTERACTIONS, at)
                if not end:
                    continue
                offset = self.rng.choice([end - 1, horizon, self.rng.randrange(end)])
                try:
                    found: History | None = snapshots.history(user, offset)
                except BeyondHorizon as error:
                    found = None
                    if horizon <= offset < end:
                        raise Found(f"no answer at {offset} from {horizon} on: {error}") from error
                if found not in (None, self.folded(at, offset + 1).history(user)):
                    raise Found(f"another history of {user} at {offset} from {horizon} on")

    def check_trainer(self) -> None:
        """Start a trainer's inputs, and compare what it holds."""
        inputs = Inputs(self.settings, self.log)
        with contextlib.closing(inputs):
            while not inputs.is_caught_up:
                if inputs.poll(0.0) is None:
                    raise Found("the trainer reads again, though nobody is forgotten now")
            folds = [self.folded(at) for at in range(PARTITIONS)]
            known = [h for fold in folds for h in fold.histories.values() if h.n_ids]
            histories = inputs.histories
            held = histories.n_users, histories.n_events, int(histories.runs["n"].sum())
            expected = (
                len(known),
                sum(each.n_ids for each in known),
                sum(len(page) for each in known for page in each.pages),
            )
            if held != expected:
                raise Found(f"the trainer holds {held} users, events and entries, not {expected}")

    def check_backup(self) -> None:
        """Back the log up and restore it; it gives the same lists, and as far back."""
        self.n_backups += 1
        copy, place = self.folder / "backup", self.folder / f"restored-{self.n_backups}"
        backup.create(self.log, self.settings, copy, now_ms=self.now_ms)
        backup.restore(copy, replace(self.settings, data_dir=str(place), broker=""))
        shutil.rmtree(copy)
        checkpoints = self.checkpoints(self.log)
        with contextlib.closing(EmbeddedLog(place / "log.db", sync="normal")) as log:
            before, self.settings = self.settings, replace(self.settings, data_dir=str(place))
            try:
                for at in range(PARTITIONS):
                    if audit_horizon(self.checkpoints(log), at) > audit_horizon(checkpoints, at):
                        raise Found(f"the restored log answers less of partition {at}")
                self.replay(log)
            finally:
                self.settings = before
        shutil.rmtree(place)


def _forgotten(record: Record, since: dict[str, int]) -> Record:
    """Return a record that was kept without what was erased since."""
    if record.topic == INTERACTIONS:
        for user, offset in since.items():
            if record.offset < offset:
                record = without(record, user)
        return record
    user = (record.key or b"").decode(errors="replace")
    if record.value is not None and user in since:
        as_of = decode_recommendations(record.value).as_of
        if as_of is not None and as_of.offset < since[user]:
            return record._replace(key=b"\0forgotten", value=None)
    return record
