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

from recstream.control import read_timeline
from recstream.core.events import EVENT_TYPES, Event, encode_event, from_timestamp_ms
from recstream.core.history import table_rows
from recstream.core.records import DeadLetter, decode_recommendations
from recstream.erasure import forgetting
from recstream.log import (
    DEAD_LETTERS,
    INTERACTIONS,
    RECOMMENDATIONS,
    NewRecord,
    TopicPartition,
    partition_for,
    read_records,
)
from recstream.log.embedded import MemberAssignment, Membership
from recstream.log.embedded.maintenance import _maintenance_lock
from recstream.process import is_temporary
from recstream.replay.run import ReplayPlan, replay
from recstream.settings import Settings
from recstream.time_travel import PartitionFold
from recstream.worker.forget import GRACE_MS
from tests.crash.simulation.faults import ELIGIBLE, Crash, CrashOfAll, Faults, is_simulated
from tests.crash.simulation.worker import SimulatedWorker
from tests.replay import world as replay_world
from tests.replay.world import ITEMS

PARTITIONS = 3
N_USERS = 9
VERIFY_EVERY = 10
TYPES = [each for each in EVENT_TYPES if each != "profile"]
DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"rotation": {"after": 1}},
    {"rules": [{"name": "r", "action": "exclude", "where": {"items": ITEMS[:2]}}]},
    {"arms": [{"name": "quick", "share": 0.5, "half_life_ms": 2_000, "weights": {"view": 4}},
              {"name": "mixed", "share": 0.5, "diversity": {"strength": 0.5}}]},
]  # fmt: skip
BAD = [b"{", b"[" * 5_000, b"\xff", b'{"type": "view"}', b'{"id": 1}', b"null"]


class Found(AssertionError):
    """Something that must never be: what, and how to see it again."""


class Ledger:
    """What the client knows: every event and bad record that it appended, and where."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int]] = []
        """(user, id, offset) of events that count."""
        self.bad: Counter[tuple[int, int]] = Counter()
        """Dead letters to expect by partition and offset."""
        self.forgotten: dict[str, str] = {}
        """Users to forget by request."""

    def ids(self, since: dict[str, int]) -> dict[str, set[str]]:
        """Return the ids that count by user, those alone from an offset on."""
        found: dict[str, set[str]] = {}
        for user, name, offset in self.events:
            if offset >= since.get(user, 0):
                found.setdefault(user, set()).add(name)
        return found


class World(replay_world.World):
    """A log, a client, a model store, and two workers that faults happen to.

    Parameters
    ----------
    folder : Path
    seed : int
        Decides everything that happens.
    faults : Faults
        Installed.
    """

    kinds = tuple(ELIGIBLE)
    """Faults that happen."""
    new_worker = SimulatedWorker

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

    # The client

    def append(self, records: list[NewRecord]) -> None:
        """Append records of the client; it repeats what it got no answer for, which may be in the log."""
        if self.rng.random() < 0.05:
            self._append(records)
        self._append(records)

    def _append(self, records: list[NewRecord]) -> None:
        for record, position in zip(records, self.log.append(records), strict=True):
            where = position.partition, position.offset
            try:
                found = msgspec.json.decode(record.value or b"")
                events = found if isinstance(found, list) else [found]
                named = [(each["user"], each["id"], position.offset) for each in events]
            except (msgspec.DecodeError, RecursionError, KeyError, TypeError, ValueError):
                self.ledger.bad[where] += 1
                continue
            for event, name in zip(events, named, strict=True):
                if partition_for(event["user"].encode(), PARTITIONS) != position.partition:
                    self.ledger.bad[where] += 1
                elif event["type"] != "impression":
                    self.ledger.events.append(name)

    def some_records(self) -> list[NewRecord]:
        """Return events: single ones, envelopes, repeated ones, misplaced ones, and what is none."""
        rng = self.rng
        together: dict[int, list[bytes]] = {}
        records: list[NewRecord] = []
        for _ in range(rng.randint(1, 12)):
            chance = rng.random()
            user = "misplaced" if chance < 0.03 else f"u{rng.randrange(N_USERS)}"
            at = partition_for(user.encode(), PARTITIONS)
            value = encode_event(self._event(user))
            if chance < 0.03:
                records.append(NewRecord(INTERACTIONS, None, value, (at + 1) % PARTITIONS))
            elif chance < 0.08:
                records.append(NewRecord(INTERACTIONS, None, rng.choice(BAD), at))
            elif chance < 0.6:
                records.append(NewRecord(INTERACTIONS, user.encode(), value))
            else:
                together.setdefault(at, []).append(value)
        return records + [
            NewRecord(INTERACTIONS, None, b"[" + b",".join(values) + b"]", at)
            for at, values in together.items()
        ]

    def _event(self, user: str) -> Event:
        rng = self.rng
        self.now_ms += rng.randint(0, 500)
        is_new = rng.random() > 0.08 or not self.n_events
        self.n_events += is_new
        kind = rng.choice(TYPES)
        return Event(
            id=f"e{self.n_events if is_new else rng.randint(1, self.n_events)}",
            type=kind,
            user=user,
            item=rng.choice(ITEMS[:12]),
            ts=from_timestamp_ms(self.now_ms - rng.choice([0, 0, 5_000])),
            value=float(rng.randint(1, 5)) if kind == "rate" else None,
        )

    def change_something(self) -> None:
        """Train, move an item, set a steering document, or ask to forget a user; mostly nothing."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.04:
            self.train(factors=rng.random() < 0.7)
        elif chance < 0.10 and self.serving is not None:
            at = rng.uniform(-1.0, 1.0)
            self.move(rng.choice(self.serving.items), [at] * self.serving.n_factors, at)
        elif chance < 0.18:
            self.steer(rng.choice(DOCUMENTS), engines=[])
        elif chance < 0.24:
            self.ask_to_forget(f"u{rng.randrange(N_USERS)}")

    def ask_to_forget(self, user: str) -> Any:
        """Append a request to forget a user."""
        request = super().ask_to_forget(user)
        self.ledger.forgotten[request.id] = user
        return request

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
        """Start workers that are gone; divide the partitions again if one is nobody's, or it is due."""
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
        """Give a worker's partitions to the other one in the middle of its work, and let that one work."""
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
                        worker.follow_models(self.rng)
                        worker.look(self.rng)
                        is_busy |= worker.deliver(self.rng) or worker.rank(self.rng)
            if not is_busy and self.is_worked_off() and not forgetting(self.log).pending:
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
        timeline = read_timeline(self.log)
        since: dict[str, int] = {}
        for name, forgotten in forgetting(self.log).begun.items():
            user = self.ledger.forgotten[name]
            since[user] = max(since.get(user, 0), forgotten.at_offset)
        ids = self.ledger.ids(since)
        for worker in self.workers:
            assert worker is not None
            for partition in worker.owned:
                fold = PartitionFold(partition, PARTITIONS, timeline)
                fold.advance(self.log)
                rows = dict(worker.rows.scan(partition))
                self._check_histories(rows, fold, ids)
                self._check_lists(rows, fold)
        assert sorted(p for w in self.workers if w for p in w.owned) == [*range(PARTITIONS)]
        letters = Counter(
            (letter.partition, letter.offset)
            for at in range(PARTITIONS)
            for record in read_records(self.log, DEAD_LETTERS, at)
            for letter in [msgspec.json.decode(record.value or b"", type=DeadLetter)]
        )
        if letters != self.ledger.bad:
            raise Found(f"dead letters: {letters - self.ledger.bad} {self.ledger.bad - letters}")
        ranges = {at: (0, self.log.high_watermark(INTERACTIONS, at)) for at in range(PARTITIONS)}
        plan = ReplayPlan(ranges=ranges, verify=True, changelog=self.changelog)
        report = replay(self.log, self.store, plan)
        if not report.is_identical:
            raise Found(f"the replay differs: {report}")
        self.n_lists = sum(each.lists for each in report.partitions)

    def _check_histories(
        self, rows: dict[bytes, bytes], fold: PartitionFold, ids: dict[str, set[str]]
    ) -> None:
        """Compare rows with a clean fold, byte for byte, and with what the client sent."""
        expected: dict[bytes, bytes] = {}
        for history in fold.histories.values():
            if history.offset >= 0:
                expected.update(table_rows.changes(None, history))
            counted, sent = history.n_ids, ids.get(history.user, set())
            if counted != len(sent) or not all(map(history.has_event, sent)):
                raise Found(f"{history.user}: {counted} events count, {len(sent)} were sent")
        held = {key: value for key, value in rows.items() if table_rows.split_key(key)[1] in "hpr"}
        if held != expected:
            differing = sorted(key for key in held | expected if held.get(key) != expected.get(key))
            raise Found(f"rows of partition {fold.partition} differ from the log: {differing}")
        applied = table_rows.decode_applied_row(rows[table_rows.APPLIED_KEY])
        if applied != table_rows.AppliedRow(fold.next_offset, fold.next_offset):
            raise Found(
                f"partition {fold.partition}: {applied}, the log ends at {fold.next_offset}"
            )

    def _check_lists(self, rows: dict[bytes, bytes], fold: PartitionFold) -> None:
        """Compare the rows of lists with the published ones: no two alike, none for a user without events."""
        partition = fold.partition
        newest: dict[bytes, tuple[int, tuple[str, ...]]] = {}
        for record in read_records(self.log, RECOMMENDATIONS, partition):
            key = record.key or b""
            if record.value is None:
                newest.pop(key, None)
                continue
            items = tuple(each.item for each in decode_recommendations(record.value).items)
            if key in newest and newest[key][1] == items:
                raise Found(f"list of {key!r} published twice: offset {record.offset}")
            newest[key] = record.offset, items
        strangers = {key for key in newest if fold.history(key.decode()).offset < 0}
        if strangers:
            raise Found(f"lists for users without events: {strangers}")
        held = {
            table_rows.split_key(key)[0]: table_rows.decode_list_row(value)
            for key, value in rows.items()
            if table_rows.split_key(key)[1] == "l"
        }
        if {key: row.items for key, row in held.items()} != {
            key: items for key, (_, items) in newest.items()
        }:
            raise Found(f"rows of lists of partition {partition} differ from the published ones")


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
    """Run rounds in worlds of their own, each with the next seed; return the counts.

    Parameters
    ----------
    folder : Path
    seed, rounds, per_world : int
    new_world : callable
        Makes a world in a folder.
    faults : Faults, optional
    progress : callable
        Called with the number of rounds after each world.

    Raises
    ------
    Found
        Something is lost, twice or different; says how to repeat it.
    """
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
                        f"--simulated --seed {seed} --rounds {world.n_rounds}"
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
