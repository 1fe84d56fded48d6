"""Forgetting where records can't be blanked (Kafka): beginnings go, compaction does the rest."""

import contextlib
import itertools
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import rocksdict

from recstream.checkpoints import Checkpoints, audit_horizon, write_checkpoint
from recstream.checkpoints.table import OFFSET_KEY
from recstream.control import read_control, read_timeline
from recstream.core.records import CheckpointRequested, Erased, ForgetRequested
from recstream.erasure import forgetting, request_erasure
from recstream.errors import LogUnavailable
from recstream.log import (
    CONTROL,
    FORGET_REQUESTS,
    INTERACTIONS,
    RECOMMENDATIONS,
    NewRecord,
    TopicSpec,
    partition_for,
)
from recstream.log.embedded import EmbeddedLog, maintain
from recstream.models import DirectoryStore
from recstream.replay.run import ReplayPlan, replay
from recstream.time_travel import nearest_fold, verify_checkpoints
from recstream.worker.forget import CHECKS, GRACE_MS, Forgetter
from tests.replay.test_forget import WHO, home, live_with, neighbour
from tests.replay.world import World

HOUR_MS = 3_600_000
_numbers = itertools.count()


class Broker:
    """A log that does all that the embedded log does, but is none: its records stay as they are."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self.limited: set[tuple[str, int]] = set()
        self.on_delete: dict[str, Callable[[], object]] = {}
        """What happens, once, before the beginning of a topic is deleted."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def erase_within(self, topic: str, lag_ms: int) -> None:
        self.limited.add((topic, lag_ms))

    def delete_before(self, topic: str, partition: int, offset: int) -> int:
        self.on_delete.pop(topic, lambda: None)()
        return self._log.delete_before(topic, partition, offset)


class Installation:
    """A world on such a log, whose rows are also tables on disk."""

    def __init__(self, path: Any) -> None:
        self.world = World(path)
        self.path = path
        self.log = Broker(self.world.log)
        self.log.create_topics([TopicSpec(FORGET_REQUESTS, 1)])
        self.checkpoints = Checkpoints(self.log, DirectoryStore(path / "checkpoints"))
        self.settings = msgspec.structs.replace(self.world.settings, forget_after_s=3600.0)

    def forgetter(self) -> Forgetter:
        world = self.world
        return Forgetter(
            self.log, world.engine, self.settings, lambda: world.now_ms, self.checkpoints
        )

    def checkpoint(self) -> None:
        """Fold all there is, and make verified checkpoints of all partitions."""
        self.world.work()
        for partition, rows in self.world.rows.rows.items():
            folder = self.path / f"table-{partition}-{self.world.now_ms}"
            options = rocksdict.Options(raw_mode=True)
            options.create_if_missing(create_if_missing=True)
            database = rocksdict.Rdict(str(folder), options)
            for key, value in rows.items():
                database[key] = value
            offset = self.world.rows.changelog_offsets[partition]
            database[OFFSET_KEY] = str(offset).encode()
            database.close()
            write_checkpoint(
                self.checkpoints,
                folder,
                partition,
                self.world.changelog,
                clock_ms=lambda: self.world.now_ms,
            )
        verify_checkpoints(self.checkpoints, only_new=True)

    def ask(self, user: str = WHO, *, is_urgent: bool = False) -> ForgetRequested:
        request = ForgetRequested(
            id=f"ask-{next(_numbers)}",
            user=user,
            requested_ts=self.world.now_ms,
            is_urgent=is_urgent,
        )
        request_erasure(self.log, request)
        return request

    def advance(self, forgetter: Forgetter, after_ms: int = 0) -> bool:
        """Do what a worker does each second; return whether something was due."""
        self.world.now_ms += after_ms
        found = forgetter.begin([0, 1])
        for due in found:
            erased = forgetter.erase(due)
            if erased.requests:
                self.world.rows.scrub(due.partition)
                forgetter.finish(erased)
        return bool(found)

    def naming(self, user: str) -> set[str]:
        """Return the topics with a record that names a user."""
        mark = user.encode()
        return {
            topic
            for topic, partitions in self.log.topics().items()
            for partition in range(partitions)
            for record in self.log.read(
                topic, partition, self.log.earliest(topic, partition), 10**6
            )
            if mark in (record.key or b"") + (record.value or b"")
        }


@pytest.fixture
def lived(tmp_path):
    installation = Installation(tmp_path)
    world = installation.world
    world.browse(60)
    world.work()
    live_with(world)
    world.train()
    world.work()
    installation.checkpoint()
    yield installation
    world.log.close()


def test_nothing_names_the_user_any_more_and_all_others_verify(lived):
    world, log = lived.world, lived.log
    request, forgetter = lived.ask(), lived.forgetter()
    assert {FORGET_REQUESTS, INTERACTIONS, RECOMMENDATIONS, world.changelog} <= lived.naming(WHO)

    assert not lived.advance(forgetter, HOUR_MS - 1)  # requests are carried out together
    lived.advance(forgetter, HOUR_MS // 8)
    assert forgetting(log).begun[request.id].partition == home(WHO)
    for _ in range(4):  # an empty record, then a request for a checkpoint that has it
        assert lived.advance(forgetter, GRACE_MS)
    assert any(isinstance(each, CheckpointRequested) for _, each in read_control(log))
    assert INTERACTIONS in lived.naming(WHO)

    lived.checkpoint()
    assert lived.advance(forgetter, 1)
    assert lived.naming(WHO) == {FORGET_REQUESTS, world.changelog}
    assert {(INTERACTIONS, HOUR_MS), (world.changelog, HOUR_MS)} <= log.limited
    assert request.id in forgetting(log).pending

    maintain(world.log, tombstone_delay_ms=0, min_dirty_ratio=0.0)
    assert lived.advance(forgetter, HOUR_MS)
    lived.advance(forgetter, 1)

    assert lived.naming(WHO) == set()
    assert request.id in forgetting(log).finished
    (proof,) = [each for _, each in read_control(log) if isinstance(each, Erased)]
    earliest = log.earliest(INTERACTIONS, home(WHO))
    assert proof.earliest[f"{INTERACTIONS}/{home(WHO)}"] == earliest > 0
    assert audit_horizon(lived.checkpoints, home(WHO)) == earliest
    lived.world.browse(20, seed=1)
    lived.world.work()
    timeline = read_timeline(log)
    folds = {
        p: nearest_fold(lived.checkpoints, log, p, timeline, log.earliest(INTERACTIONS, p))
        for p in (0, 1)
    }
    ranges = {
        p: (fold.next_offset, log.high_watermark(INTERACTIONS, p)) for p, fold in folds.items()
    }
    plan = ReplayPlan(ranges=ranges, verify=True, changelog=world.changelog)
    report = replay(log, world.store, plan, fold_at=lambda p: folds[p])
    assert report.is_identical
    assert sum(each.lists for each in report.partitions) > 0


def test_a_misplaced_event_whose_producer_escapes_characters_is_deleted_too(lived):
    other = 1 - home(WHO)
    event = {"id": "x", "type": "view", "user": WHO, "item": "i01"}
    value = msgspec.json.encode(event).replace(b"zoe", b"zo\\u0065")
    assert msgspec.json.decode(value) == event
    (at,) = lived.log.append([NewRecord(INTERACTIONS, b"of-another", value, other)])
    lived.ask(is_urgent=True)
    forgetter = lived.forgetter()
    for _ in range(4):
        lived.advance(forgetter, GRACE_MS)
        lived.checkpoint()

    assert lived.log.earliest(INTERACTIONS, other) > at.offset


def test_requests_of_a_partition_are_carried_out_together(lived):
    first, forgetter = lived.ask(), lived.forgetter()
    lived.world.now_ms += HOUR_MS
    second = lived.ask(neighbour(WHO))

    lived.advance(forgetter)

    begun = forgetting(lived.log).begun
    assert begun[first.id].at_offset == begun[second.id].at_offset


def test_a_request_by_a_clock_that_is_ahead_waits_no_longer_than_others(lived):
    forgetter = lived.forgetter()
    lived.world.now_ms += 100 * HOUR_MS
    request = lived.ask()
    lived.world.now_ms -= 100 * HOUR_MS
    assert not lived.advance(forgetter)
    lived.advance(forgetter, HOUR_MS - 1)
    assert request.id not in forgetting(lived.log).begun

    lived.advance(forgetter, HOUR_MS // CHECKS)

    assert request.id in forgetting(lived.log).begun


def test_tombstones_by_a_clock_that_is_ahead_are_waited_for_no_longer(lived):
    lived.ask(is_urgent=True)
    lived.world.now_ms += 100 * HOUR_MS
    lived.advance(lived.forgetter())
    lived.world.now_ms -= 100 * HOUR_MS
    forgetter = lived.forgetter()
    assert not lived.advance(forgetter)

    assert lived.advance(forgetter, GRACE_MS)


def test_an_urgent_request_does_not_wait_and_later_ones_wait_again(lived):
    request, forgetter = lived.ask(is_urgent=True), lived.forgetter()
    lived.advance(forgetter)
    assert request.id in forgetting(lived.log).begun

    later = lived.ask(neighbour(WHO))
    lived.advance(forgetter, GRACE_MS)
    assert later.id not in forgetting(lived.log).begun


def test_another_worker_continues_where_the_first_ended(lived):
    request = lived.ask(is_urgent=True)
    lived.advance(lived.forgetter())
    lived.world.now_ms += GRACE_MS
    lived.advance(lived.forgetter())
    lived.checkpoint()
    lived.advance(lived.forgetter(), 1)
    maintain(lived.world.log, tombstone_delay_ms=0, min_dirty_ratio=0.0)

    lived.advance(lived.forgetter(), 1)
    assert request.id in forgetting(lived.log).finished
    lived.advance(lived.forgetter(), 1)

    assert lived.naming(WHO) == set()


def carry_out(lived: Installation) -> None:
    """Do all that is left of urgent requests."""
    lived.advance(lived.forgetter())
    for _ in range(2):
        lived.advance(lived.forgetter(), GRACE_MS)
    lived.checkpoint()
    lived.advance(lived.forgetter(), 1)
    maintain(lived.world.log, tombstone_delay_ms=0, min_dirty_ratio=0.0)
    lived.advance(lived.forgetter(), 1)


def test_a_request_that_comes_while_others_are_finished_is_carried_out_too(lived):
    first, later = lived.ask(is_urgent=True), []
    read = lived.log._log.read

    def read_while_somebody_asks(topic, *place):
        records = read(topic, *place)
        has_proof = any(b'"erased"' in (each.value or b"") for each in records)
        if topic == CONTROL and has_proof and not later:
            later.append(lived.ask(neighbour(WHO), is_urgent=True))
        return records

    lived.log.read = read_while_somebody_asks
    carry_out(lived)
    lived.advance(lived.forgetter(), 1)

    assert first.id in forgetting(lived.log).finished
    assert later[0].id in forgetting(lived.log).pending
    carry_out(lived)
    lived.advance(lived.forgetter(), 1)
    assert later[0].id in forgetting(lived.log).finished
    assert lived.naming(neighbour(WHO)) == set()


def test_a_worker_that_dies_before_it_deletes_a_finished_request_leaves_it_to_the_next(lived):
    def die() -> None:
        raise LogUnavailable("the broker is away")

    request = lived.ask(is_urgent=True)
    lived.log.on_delete[FORGET_REQUESTS] = die
    with contextlib.suppress(LogUnavailable):
        carry_out(lived)
        lived.advance(lived.forgetter(), 1)
    assert request.id in forgetting(lived.log).finished
    assert lived.naming(WHO) == {FORGET_REQUESTS}

    lived.advance(lived.forgetter(), 1)

    assert lived.naming(WHO) == set()


def test_a_foreign_tombstone_with_odd_bytes_for_a_request_stops_no_erasure(lived):
    odd = (("recstream-forgotten", b"\xff"),)
    lived.log.append([NewRecord(lived.world.changelog, b"k", None, home(WHO), None, odd)])
    request = lived.ask(is_urgent=True)

    carry_out(lived)

    assert request.id in forgetting(lived.log).finished


def test_garbage_among_the_requests_stops_nobody_and_is_warned_of_once(lived, caplog):
    lived.log.append([NewRecord(FORGET_REQUESTS, b"?", b"{", 0)])
    request, forgetter = lived.ask(is_urgent=True), lived.forgetter()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            lived.advance(forgetter, 1)
    assert request.id in forgetting(lived.log).begun
    assert caplog.text.count(f"record not read topic={FORGET_REQUESTS}") == 1


def test_on_the_embedded_log_a_checkpoint_can_be_made_right_after_forgetting(lived):
    lived.log = lived.world.log
    lived.checkpoints = Checkpoints(lived.log, DirectoryStore(lived.path / "checkpoints"))
    home = partition_for(WHO.encode(), 2)
    lived.ask()
    forgetter = lived.forgetter()
    lived.advance(forgetter)
    lived.advance(forgetter, GRACE_MS)
    assert lived.checkpoints.newest(home) is None

    lived.checkpoint()

    newest = lived.checkpoints.newest(home)
    assert newest is not None
    assert newest.is_verified
    assert WHO.encode() not in lived.checkpoints.read(newest)


def test_on_the_embedded_log_a_checkpoint_can_be_verified_between_the_steps_of_an_erasure(lived):
    lived.log = lived.world.log
    lived.checkpoints = Checkpoints(lived.log, DirectoryStore(lived.path / "checkpoints"))
    home = partition_for(WHO.encode(), 2)
    lived.ask()
    forgetter = lived.forgetter()
    lived.advance(forgetter)  # the rows are deleted, the events are not blanked yet
    lived.world.browse(20, seed=9)

    lived.checkpoint()

    newest = lived.checkpoints.newest(home)
    assert newest is not None
    assert newest.is_verified
    lived.advance(forgetter, GRACE_MS)
    assert WHO.encode() not in lived.checkpoints.read(newest)
    done = verify_checkpoints(lived.checkpoints, home)
    assert "folded again from the log's start" in done[newest.name]


def test_where_events_were_pruned_an_erasure_asks_for_a_checkpoint(lived):
    """Without one the log answers nothing: those from before the erasure are deleted."""
    lived.log = lived.world.log
    lived.checkpoints = Checkpoints(lived.log, DirectoryStore(lived.path / "checkpoints"))
    home = partition_for(WHO.encode(), 2)

    def asked():
        return [e for _, e in read_control(lived.log) if isinstance(e, CheckpointRequested)]

    for is_pruned in (False, True):
        if is_pruned:
            lived.checkpoint()
            lived.log.delete_before(INTERACTIONS, home, lived.checkpoints.newest(home).offset)
        lived.ask()
        forgetter = lived.forgetter()
        lived.advance(forgetter)
        lived.advance(forgetter, GRACE_MS)
        assert not forgetting(lived.log).pending
        assert len(asked()) == is_pruned
