"""Rounds of faults against two simulated workers over one log, and what must hold afterwards."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from recstream.analysis import parse_ranges
from recstream.checkpoints import Checkpoints, open_checkpoints
from recstream.control import read_timeline
from recstream.core.records import DeadLetter
from recstream.erasure import forgetting
from recstream.log import DEAD_LETTERS, INTERACTIONS, RECOMMENDATIONS, TopicPartition, read_records
from recstream.log.embedded import MemberAssignment, Membership
from recstream.log.embedded.maintenance import _maintenance_lock
from recstream.process import is_temporary
from recstream.replay.run import ReplayPlan, replay
from recstream.settings import Settings
from recstream.time_travel import PartitionFold, nearest_fold
from recstream.worker.forget import GRACE_MS
from tests.crash.simulation.checks import Found, check_histories, check_lists
from tests.crash.simulation.client import PARTITIONS, Client, Ledger
from tests.crash.simulation.faults import ELIGIBLE, Crash, CrashOfAll, Faults, is_simulated
from tests.crash.simulation.worker import SimulatedWorker

VERIFY_EVERY = 10


class World(Client):
    """A log, a client, a model store, and two workers that faults happen to."""

    kinds = tuple(ELIGIBLE)
    """Faults that happen."""
    new_worker = SimulatedWorker
    flags = ""
    """Options of ``scripts/bench/chaos.py`` that give this world."""

    def __init__(self, folder: Path, seed: int, faults: Faults) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.faults = faults
        faults.take_over, faults.is_locked = self.take_over, self.is_locked
        faults.forget()
        settings = Settings(
            data_dir=str(folder), broker=self.broker(),
            partitions=PARTITIONS, list_size=5, n_factors=4, iterations=2,
        )  # fmt: skip
        super().__init__(folder, settings)
        self.ledger = Ledger()
        self.workers: list[SimulatedWorker | None] = [None, None]
        self.n_lives = self.n_rounds = self.n_lists = 0
        self._group_generation = 0
        for _ in range(5):
            self.append(self.some_records())
        self.train(factors=False)

    def broker(self) -> str:
        """Return the URL that workers open."""
        return f"embedded://{self.folder / 'log.db'}?sync=normal"

    def worker(self, *_: Any) -> Any:
        """Return an engine that does nothing: the workers are apart."""
        return mock.Mock()

    # Workers

    @contextlib.contextmanager
    def guarded(self, slot: int) -> Iterator[None]:
        """Let faults happen in the block; do what follows for the worker."""
        worker = self.workers[slot]
        try:
            with self.faults.acting(worker or self):
                yield
        except CrashOfAll:
            self.crash_all()
        except Crash as crash:
            self._end(slot, worker, crash)
        except Exception as error:
            if not is_simulated(error) and not is_temporary(error):
                raise
            if worker is not None and worker is self.workers[slot]:
                for _ in range(self.rng.randint(0, 2)):  # until the loop has stopped
                    with contextlib.suppress(Exception):
                        worker.look(self.rng)
            self._end(slot, worker, error)

    def _end(self, slot: int, worker: SimulatedWorker | None, error: BaseException) -> None:
        """End a worker's life; what it had not written is lost."""
        traceback.clear_frames(error.__traceback__)
        if worker is None or self.workers[slot] is not worker:
            return
        self.workers[slot] = None
        if isinstance(error, Crash):
            worker.crash()
        else:
            worker.close()

    def revive(self, slot: int) -> None:
        """Start a worker again that is gone."""
        if self.workers[slot] is None:
            with self.guarded(slot):
                self.n_lives += 1
                name = f"worker-{self.n_lives}"
                self.workers[slot] = self.new_worker(
                    self.settings, lambda: self.now_ms, self.faults, name
                )

    def balance(self, *, is_due: bool = False) -> None:
        """Start workers that are gone; divide partitions again if due, or if one is nobody's."""
        for slot in (0, 1):
            self.revive(slot)
        owned = [at for worker in self.workers if worker for at in worker.owned]
        is_fenced = any(worker and worker.is_fenced for worker in self.workers)
        if is_due or is_fenced or sorted(owned) != [*range(PARTITIONS)]:
            self.rebalance([0, 1])

    def rebalance(self, slots: list[int]) -> None:
        """Divide the partitions among workers; whoever is left out is not asked, and fenced."""
        alive = [slot for slot in slots if self.workers[slot] is not None]
        self._group_generation += 1
        mine = self._group_generation
        for slot in alive:
            with self.guarded(slot):
                self.workers[slot].give_up()  # type: ignore[union-attr]
        alive = [slot for slot in alive if self.workers[slot] is not None]
        if not alive or mine != self._group_generation:
            return
        given: dict[int, list[int]] = {slot: [] for slot in alive}
        for partition in range(PARTITIONS):
            given[self.rng.choice(alive)].append(partition)
        self.assign({slot: self.workers[slot].name for slot in alive}, given)  # type: ignore[union-attr]
        for slot in alive:
            worker = self.workers[slot]
            if worker is not None and mine == self._group_generation:
                worker.is_fenced = False
                with self.guarded(slot):
                    worker.take(given[slot])

    def assign(self, names: dict[int, str], given: dict[int, list[int]]) -> None:
        """Write the group's new members and owners."""
        group = self.settings.app_id
        with self.log.storage.read() as connection:
            before = {row[0] for row in connection.execute("SELECT id FROM members")}
        for name in before - set(names.values()):
            Membership(self.log, group, name).leave()
        members = [Membership(self.log, group, name) for name in names.values()]
        for member in members:
            member.join(b"")
        state = members[0].state()
        assert state is not None
        for member in members:
            member.ready(state.generation, b"")
        owned = {
            names[slot]: tuple(TopicPartition(INTERACTIONS, at) for at in partitions)
            for slot, partitions in given.items()
        }
        members[0].assign(
            state.generation, {name: MemberAssignment(tps, b"") for name, tps in owned.items()}
        )

    def is_locked(self) -> bool:
        """Return whether a worker is writing to the log, or maintains it."""
        with (
            contextlib.suppress(sqlite3.OperationalError),
            _maintenance_lock(self.log, wait=False) as is_free,
        ):
            self.log.storage._writer.execute("BEGIN IMMEDIATE")
            self.log.storage._writer.execute("ROLLBACK")
            return not is_free
        return True

    def take_over(self, hung: SimulatedWorker) -> None:
        """Give a worker's partitions to the other one during its work, and let that one work."""
        if hung not in self.workers:
            return
        hung.is_fenced = True
        other = 1 - self.workers.index(hung)
        self.revive(other)
        self.rebalance([other])
        for _ in range(self.rng.randint(0, 4)):
            self.step(other)

    def step(self, slot: int) -> None:
        """Let a worker do one thing; first it notices what it has lost."""
        worker = self.workers[slot]
        if worker is None:
            return
        if worker.is_fenced:
            self.balance()
            return
        with self.guarded(slot):
            worker.step(self.rng)

    def crash_all(self) -> None:
        """End workers and client at once, and open the log again from its files as they are."""
        kept = {name: (self.folder / name).read_bytes() for name in ("log.db", "log.db-wal")}
        for slot, worker in enumerate(self.workers):
            if worker is not None:
                self.workers[slot] = None
                worker.crash()
        self.log.close()
        for path in self.folder.glob("log.db*"):
            path.unlink()
        for name, content in kept.items():
            (self.folder / name).write_bytes(content)
        self.log = self.open_log(self.folder)

    def close(self) -> None:
        """End everything."""
        for slot, worker in enumerate(self.workers):
            if worker is not None:
                self.workers[slot] = None
                worker.close()
        super().close()

    # Rounds

    def round(self) -> None:
        """Append events, and let the workers work until one fault has happened."""
        rng = self.rng
        self.n_rounds += 1
        self.faults.arm(rng, self.kinds)
        for _ in range(8):
            self.now_ms += rng.randint(0, 2_000)
            self.append(self.some_records())
            self.change_something()
            self.balance(is_due=rng.random() < 0.1)
            for _ in range(rng.randint(2, 6)):
                self.step(rng.randrange(2))
            if not self.faults.is_armed:
                break
        self.faults.disarm()

    def settle(self) -> None:
        """Let the workers finish everything, without faults."""
        self.faults.disarm()
        for _ in range(150):
            self.balance()
            self.now_ms += GRACE_MS // 10
            is_busy = False
            for slot, worker in enumerate(self.workers):
                with self.guarded(slot):
                    if worker is not None:
                        worker.rows.check()  # one that would stop at its next append
                        worker.follow_models(self.rng)
                        worker.look(self.rng)
                        is_busy |= worker.deliver(self.rng) or worker.rank(self.rng)
            is_done = all(self.workers) and self.is_worked_off() and not is_busy
            if is_done and not forgetting(self.log).pending:
                return
        where = [(w.owned, w.is_fenced, w._position) if w else None for w in self.workers]
        raise Found(
            f"the workers do not catch up: {where}, {self.log.committed(self.settings.app_id)}"
        )

    def is_worked_off(self) -> bool:
        """Return whether the group has committed all events."""
        committed = self.log.committed(self.settings.app_id)
        return all(
            committed.get(TopicPartition(INTERACTIONS, at), 0)
            >= self.log.high_watermark(INTERACTIONS, at)
            for at in range(PARTITIONS)
        )

    # What must hold

    def verify(self) -> None:
        """Settle, and compare everything with the log and with what the client knows."""
        self.settle()
        ids = self.ledger.ids(self.forgotten_since())
        for worker in self.workers:
            assert worker is not None
            for partition in worker.owned:
                fold = self.folded(partition)
                rows = dict(worker.rows.scan(partition))
                check_histories(rows, fold, ids)
                check_lists(self.records(RECOMMENDATIONS, partition), rows, fold)
        assert sorted(p for w in self.workers if w for p in w.owned) == [*range(PARTITIONS)]
        letters = Counter(
            (letter.partition, letter.offset)
            for at in range(PARTITIONS)
            for record in read_records(self.log, DEAD_LETTERS, at)
            for letter in [msgspec.json.decode(record.value or b"", type=DeadLetter)]
        )
        if letters != self.ledger.bad:
            raise Found(f"dead letters: {letters - self.ledger.bad} {self.ledger.bad - letters}")
        self.n_lists = self.replay(self.log)

    def forgotten_since(self) -> dict[str, int]:
        """Return the offset before which nothing of a user counts, by forgotten user."""
        since: dict[str, int] = {}
        for name, forgotten in forgetting(self.log).begun.items():
            user = self.ledger.forgotten[name]
            since[user] = max(since.get(user, 0), forgotten.at_offset)
        return since

    def folded(self, partition: int) -> PartitionFold:
        """Return a clean fold of all events of a partition."""
        fold = PartitionFold(partition, PARTITIONS, read_timeline(self.log))
        fold.advance(self.log)
        return fold

    def replay(self, log: Any) -> int:
        """Derive all lists of a log again; return their number."""
        ranges = parse_ranges(log, checkpoints=self.checkpoints(log))
        plan = ReplayPlan(ranges=ranges, verify=True, changelog=self.changelog)
        timeline = read_timeline(log)
        report = replay(
            log,
            self.store,
            plan,
            fold_at=lambda at: nearest_fold(
                self.checkpoints(log), log, at, timeline, ranges[at][0]
            ),
        )
        if not report.is_identical:
            raise Found(f"the replay differs: {report}")
        return sum(each.lists for each in report.partitions)

    def checkpoints(self, log: Any) -> Checkpoints:
        """Return the checkpoints of a log."""
        return open_checkpoints(log, self.settings)


def simulate(
    folder: Path,
    seed: int,
    rounds: int,
    *,
    per_world: int = 20,
    new_world: Callable[[Path, int, Faults], World] = World,
    faults: Faults | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> dict[str, Any]:
    """Run rounds in worlds of their own, each with the next seed; return the counts."""
    faults = faults or Faults()
    totals: Counter[str] = Counter()
    with faults.installed():
        while totals["rounds"] < rounds:
            n_here = min(per_world, rounds - totals["rounds"])
            with contextlib.closing(new_world(folder / f"world-{seed}", seed, faults)) as world:
                try:
                    for number in range(1, n_here + 1):
                        world.round()
                        if number % VERIFY_EVERY == 0 or number == n_here:
                            world.verify()
                except Exception as error:
                    raise Found(
                        f"{error!r} after {faults.last!r}; again by scripts/bench/chaos.py "
                        f"--simulated{world.flags} --seed {seed} --rounds {world.n_rounds}"
                    ) from error
            shutil.rmtree(world.folder)
            totals.update(
                rounds=world.n_rounds,
                events=len(world.ledger.events),
                letters=world.ledger.bad.total(),
                lists=world.n_lists,
                lives=world.n_lives,
            )
            seed += 1
            progress(totals["rounds"])
    return {**totals, "faults": dict(faults.happened)}
