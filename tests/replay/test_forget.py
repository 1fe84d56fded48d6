"""A user is forgotten: nothing of them is left, all the rest is as it was, and still verifies."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from recstream.core.events import encode_event
from recstream.core.records import DeadLetter, ForgetRequested, decode_recommendations
from recstream.erasure import forgetting, without
from recstream.errors import LogUnavailable
from recstream.log.embedded import EmbeddedLog, maintain, redact, zero_page_gaps
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord
from recstream.log.topics import CONTROL, DEAD_LETTERS, INTERACTIONS, RECOMMENDATIONS
from recstream.replay.retrain import FORGOTTEN_SINCE
from recstream.replay.run import ReplayPlan, Report, replay
from recstream.time_travel.snapshots import Snapshots
from recstream.trainer.histories.changelog import ChangelogFollower
from tests.replay.world import World

WHO = "zoe-who-will-be-forgotten"


def verified(world: World, *, retrain: bool = True) -> Report:
    ranges = {at: (0, world.log.high_watermark(INTERACTIONS, at)) for at in range(2)}
    plan = ReplayPlan(ranges=ranges, verify=True, retrain=retrain, changelog=world.changelog)
    return replay(world.log, world.store, plan)


def home(user: str) -> int:
    return partition_for(user.encode(), 2)


def neighbour(user: str) -> str:
    """Another user of the same partition."""
    return next(f"u{at}" for at in range(12) if home(f"u{at}") == home(user))


def live_with(world: World, user: str = WHO) -> None:
    """Let a user do what leaves traces everywhere: single events, an envelope, bad events."""
    other = neighbour(user)
    for item in ("i01", "i03", "i05", "i07"):
        world.do(user, item, "like")
    mine = [world.do(user, "i09"), world.do(other, "i09"), world.do(user, "i11")]
    value = b"[" + b",".join(encode_event(each) for each in mine) + b"]"
    bad = msgspec.json.encode({"user": user, "type": "stare", "item": "i01", "id": "bad"})
    world.log.append(
        [
            NewRecord(INTERACTIONS, None, value, home(user)),
            NewRecord(INTERACTIONS, user.encode(), bad),
            NewRecord(INTERACTIONS, None, encode_event(mine[0]), 1 - home(user)),
            NewRecord(INTERACTIONS, None, b"[" + bad + b",7,null]", home(user)),
        ]
    )
    world.work()


@pytest.fixture
def lived(eventful: World) -> World:
    live_with(eventful)
    eventful.train()
    eventful.work()
    return eventful


def bytes_under(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_byte_of_the_user_is_left(lived: World, tmp_path: Path) -> None:
    maintain(lived.log, min_dirty_ratio=0.0)
    live_with(lived)
    assert bytes_under(tmp_path).count(WHO.encode()) > 10

    lived.forget(WHO)

    assert bytes_under(tmp_path).count(WHO.encode()) == 0
    assert not any(WHO.encode() in key for at in range(2) for key, _ in lived.rows.scan(at))


def test_what_remains_verifies_and_is_what_it_was(lived: World) -> None:
    other = neighbour(WHO)
    before = lived.engine.state(home(WHO)).user(other)
    lists = [
        record.value
        for at in range(2)
        for record in lived.records(RECOMMENDATIONS, at)
        if record.key != WHO.encode()
    ]

    lived.forget(WHO)
    again = lived.worker()

    assert again.state(home(WHO)).user(other) == before
    assert lists == [
        record.value
        for at in range(2)
        for record in lived.records(RECOMMENDATIONS, at)
        if record.value is not None
    ]
    report = verified(lived)
    assert report.is_identical, report
    assert [each.underivable for each in report.partitions] == [0, 0]


def test_generations_trained_on_a_forgotten_user_do_not_count_as_differences(lived: World) -> None:
    lived.forget(WHO)
    lived.browse(10, seed=9)
    lived.work()
    lived.train()

    report = verified(lived)

    assert report.is_identical, report
    assert [each.why for each in report.generations[-2:]] == [FORGOTTEN_SINCE, ""]
    newest = report.generations[-1]
    assert newest.derived == newest.announced


def test_a_generation_trained_right_after_forgetting_is_derivable(lived: World) -> None:
    lived.forget(WHO)
    lived.train()

    report = verified(lived)

    assert [each.why for each in report.generations[-2:]] == [FORGOTTEN_SINCE, ""]
    assert report.is_identical, report


def test_lists_of_a_generation_that_can_not_be_had_any_more_are_no_difference(lived: World) -> None:
    for name in lived.store.list():
        lived.store.delete(name)
    lived.forget(WHO)

    report = verified(lived)

    assert report.is_identical, report
    assert sum(each.underivable for each in report.partitions) > 0


@pytest.mark.parametrize("retrain", [True, False])
def test_lists_of_a_generation_whose_parent_can_not_be_had_are_no_difference(
    lived: World, retrain: bool
) -> None:
    lived.forget(WHO)
    lived.browse(10, seed=9)
    lived.train()  # its parent knew the user
    lived.work()
    for name in lived.store.list():
        lived.store.delete(name)
    lived.trained = None
    lived.browse(5, seed=10)
    lived.work()

    report = verified(lived, retrain=retrain)

    assert report.is_identical, report
    assert sum(each.underivable for each in report.partitions) > 0


def test_who_comes_back_begins_a_new_history(lived: World) -> None:
    lived.forget(WHO)
    lived.do(WHO, "i02")
    lived.do(WHO, "i04", id="e1")
    lived.work()

    history = lived.engine.state(home(WHO)).user(WHO).history

    assert (history.n_ids, {entry.item for entry in history.entries()}) == (2, {"i02", "i04"})
    assert verified(lived).is_identical
    assert lived.worker().state(home(WHO)).user(WHO).history == history


def test_events_not_folded_yet_are_forgotten_too(lived: World) -> None:
    lived.do(WHO, "i13")
    lived.forget(WHO)
    lived.work()

    assert lived.engine.state(home(WHO)).user(WHO).history.n_ids == 0
    assert verified(lived).is_identical


def test_events_that_come_between_the_steps_are_kept(lived: World) -> None:
    lived.ask_to_forget(WHO)
    forgetter = lived.forgetter()
    (due,) = forgetter.begin([0, 1])
    lived.do(WHO, "i02")
    lived.work()
    forgetter.erase(due)
    forgetter.finish(due)

    history = lived.worker().state(home(WHO)).user(WHO).history

    assert [entry.item for entry in history.entries()] == ["i02"]
    assert verified(lived).is_identical


def test_repeated_requests_of_one_user_are_carried_out_together(
    lived: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        lived.ask_to_forget(WHO)
        lived.do(WHO, "i02")
        lived.work()
    redacted: list[tuple[str, int]] = []
    zeroed: list[object] = []

    def count(log: EmbeddedLog, topic: str, partition: int, change: Any) -> int:
        redacted.append((topic, partition))
        return redact(log, topic, partition, change)

    monkeypatch.setattr("recstream.erasure.redact.redact", count)
    monkeypatch.setattr("recstream.erasure.redact.zero_page_gaps", zeroed.append)
    forgetter = lived.forgetter()
    (due,) = forgetter.begin([0, 1])
    forgetter.erase(due)
    forgetter.finish(due)

    assert len(due.requests) == 3
    assert len(redacted) == len(set(redacted))
    assert len(zeroed) == 1
    assert len(forgetting(lived.log).finished) == 3
    zero_page_gaps(lived.log.storage)
    lived.recover_rows()
    assert bytes_under(tmp_path).count(WHO.encode()) == 0
    assert verified(lived).is_identical


@pytest.mark.parametrize("step", ["append", "rows", "erase", "twice"])
def test_what_a_dead_worker_left_undone_the_next_one_does(
    lived: World, tmp_path: Path, step: str
) -> None:
    lived.ask_to_forget(WHO)
    if step == "append":

        def fail(*_: object) -> None:
            raise LogUnavailable("gone")

        with pytest.raises(LogUnavailable):
            lived.forgetter(lived.worker(append=fail)).begin([0, 1])
    else:
        forgetter = lived.forgetter()
        if step == "rows":
            lived.rows.write, write = lambda *_: 1 / 0, lived.rows.write
            with pytest.raises(ZeroDivisionError):
                forgetter.begin([0, 1])
            lived.rows.write = write
        else:
            (due,) = forgetter.begin([0, 1])
            forgetter.erase(due)
            if step == "twice":
                forgetter.erase(due)

    lived.recover_rows()
    lived.engine = lived.worker()
    forgetter = lived.forgetter()
    (due,) = forgetter.begin([0, 1])
    forgetter.erase(due)
    forgetter.finish(due)

    assert forgetter.begin([0, 1]) == []
    assert len(forgetting(lived.log).finished) == 1
    assert bytes_under(tmp_path).count(WHO.encode()) == 0
    assert verified(lived).is_identical


def test_a_partition_of_another_worker_is_left_to_it(lived: World) -> None:
    lived.ask_to_forget(WHO)

    assert lived.forgetter().begin([1 - home(WHO)]) == []
    assert len(lived.forgetter().begin([home(WHO)])) == 1


def test_a_user_nobody_knows_can_be_forgotten(lived: World) -> None:
    lived.forget("stranger")

    assert verified(lived).is_identical
    assert not any(
        b"stranger" in (record.key or b"") + (record.value or b"")
        for topic in (CONTROL, INTERACTIONS, RECOMMENDATIONS, lived.changelog)
        for at in range(lived.log.partitions(topic))
        for record in lived.records(topic, at)
    )


def test_dead_letters_of_others_stay(lived: World) -> None:
    lived.log.append([NewRecord(INTERACTIONS, b"u1", b'{"user":"u1","type":"stare"}')])
    lived.work()

    lived.forget(WHO)

    values = [r.value for at in range(2) for r in lived.records(DEAD_LETTERS, at) if r.value]
    kept = [msgspec.json.decode(each, type=DeadLetter) for each in values]
    assert '{"user":"u1","type":"stare"}' in [each.value for each in kept]
    assert "7" in [each.value for each in kept]


def test_snapshots_forget_too(lived: World, tmp_path: Path) -> None:
    snapshots = Snapshots(lived.log, tmp_path / "snapshots", block_events=7)
    other = neighbour(WHO)
    last = lived.log.high_watermark(INTERACTIONS, home(WHO)) - 1
    before = snapshots.history(other, last)
    assert snapshots.history(WHO, last).n_ids > 0

    lived.forget(WHO)

    assert snapshots.history(WHO, last).n_ids == 0
    assert snapshots.list_position(WHO) is None
    assert snapshots.history(other, last) == before
    snapshots.close()
    assert bytes_under(tmp_path / "snapshots").count(WHO.encode()) == 0
    assert Snapshots(lived.log, tmp_path / "snapshots").history(WHO, last).n_ids == 0


def followed(world: World, follower: ChangelogFollower) -> ChangelogFollower:
    for partition in range(2):
        follower.apply(world.records(world.changelog, partition))
    return follower


def known(follower: ChangelogFollower) -> list[str]:
    histories = follower.histories
    return histories.users.names(histories.known_rows().tolist())


def test_the_trainer_drops_the_user_by_the_tombstones(lived: World) -> None:
    expected = followed(lived, ChangelogFollower())
    (mine,) = expected.histories.rows_of([WHO])
    n_mine = expected.histories.runs["n_ids"][mine]
    lived.ask_to_forget(WHO)
    lived.forgetter().begin([0, 1])

    follower = followed(lived, ChangelogFollower())

    assert set(known(follower)) == set(known(expected)) - {WHO}
    assert follower.n_events == expected.n_events - n_mine
    assert not follower.is_stale


def test_a_trainer_that_reads_too_late_detects_it(lived: World) -> None:
    lived.forget(WHO)

    assert followed(lived, ChangelogFollower()).is_stale
    fresh = followed(lived, ChangelogFollower(forgetting(lived.log).finished))
    assert not fresh.is_stale
    assert WHO not in known(fresh)


def test_an_event_keyed_by_another_user_stays_without_the_key(lived: World) -> None:
    other = neighbour(WHO)
    event = encode_event(lived.do(other, "i15"))
    lived.log.append([NewRecord(INTERACTIONS, WHO.encode(), event)])
    (record,) = [
        r
        for r in lived.records(INTERACTIONS, home(WHO))
        if r.value == event and r.key == WHO.encode()
    ]

    assert without(record, WHO) == record._replace(key=None)


def test_the_request_is_read_by_what_it_was(lived: World) -> None:
    request = lived.ask_to_forget(WHO)

    assert isinstance(request, ForgetRequested)
    (found,) = forgetting(lived.log).pending.values()
    assert found[1] == request
    lists = [
        decode_recommendations(r.value)
        for r in lived.records(RECOMMENDATIONS, home(WHO))
        if r.key == WHO.encode()
    ]
    assert lists
