"""No record of any topic stops a replay, a query about the past, an export or a trainer."""

import threading
from pathlib import Path

import pytest

from recstream.analysis import Slice
from recstream.core.history import table_rows
from recstream.log import CATALOGUE, CONTROL, INTERACTIONS, MODELS, RECOMMENDATIONS, NewRecord
from recstream.replay.run import ReplayPlan, replay, stored_histories
from recstream.time_travel import Moment, Snapshots, TimeTravel, diff_lists
from recstream.trainer.lease import EmbeddedLease
from recstream.trainer.loop import Trainer
from tests.replay.world import World, export_slice

DEEP = b"[" * 5000 + b"]" * 5000
HOSTILE = {
    "open brackets": b"[" * 5000,
    "deep": DEEP,
    "a deep context": b'{"id":"a","type":"view","user":"u1","item":"p","ts":"2024-01-01T00:00:00Z","context":'
    + b'{"a":' * 980 + b"1" + b"}" * 981,
    "a deep generation": b'{"type":"generation","hyperparameters":' + DEEP + b"}",
    "forgotten nowhere": b'{"type":"forgotten","id":"x","partition":99,"at_offset":5}',
    "a deep row": b"\x93\0\0" + b"\x91" * 5000,
    "bytes": b"\xff\xfe\x00[",
    "empty": b"",
    "null": b"null",
    "a tombstone": None,
}  # fmt: skip
TIMES = (None, 2**63 - 1, 1_700_000_000_000_000)


@pytest.fixture(params=HOSTILE, ids=str)
def hostile(eventful: World, request: pytest.FixtureRequest) -> World:
    """Return a world whose topics hold a record that nobody can read, at any time."""
    value = HOSTILE[request.param]
    topics = (INTERACTIONS, RECOMMENDATIONS, MODELS, CONTROL, CATALOGUE, eventful.changelog)
    for topic in topics:
        if topic == RECOMMENDATIONS and value is None:
            continue  # a valid record: the user has no list any more
        for at in TIMES:
            keys = [b"u1"] if topic in {INTERACTIONS, RECOMMENDATIONS} else [b"\xff\0key"]
            keys += [table_rows.APPLIED_KEY] if topic == eventful.changelog else []
            eventful.log.append([NewRecord(topic, key, value, 0, at) for key in keys])
    eventful.browse(10, seed=9)
    eventful.work()
    return eventful


def test_replay_derives_all_lists_and_generations(hostile: World) -> None:
    ranges = {at: (0, hostile.log.high_watermark(INTERACTIONS, at)) for at in range(2)}
    plan = ReplayPlan(
        ranges=ranges, verify=True, retrain=True, evaluate=True, changelog=hostile.changelog
    )

    report = replay(hostile.log, hostile.store, plan)

    assert all(each.is_identical for each in report.generations)
    wrong = [each for part in report.partitions for each in part.differences]
    assert all("can't be read" in each.what for each in wrong)
    assert sum(each.lists for each in report.partitions) > 60


def test_lists_of_the_past_are_found_and_compared(hostile: World, tmp_path: Path) -> None:
    snapshots = Snapshots(hostile.log, tmp_path / "snapshots", block_events=11)
    travel = TimeTravel(hostile.log, hostile.store, snapshots)

    for user in ("u1", "u2", "u3"):
        assert travel.list_at(user, Moment()).is_identical
        assert diff_lists(travel, user, Moment(offset=3), Moment()).steps
    snapshots.close()


def test_a_slice_is_exported_and_read(hostile: World, tmp_path: Path) -> None:
    ranges = {at: (0, hostile.log.high_watermark(INTERACTIONS, at)) for at in range(2)}

    export_slice(hostile, ranges, tmp_path / "x.zip", user="u1")

    part = Slice(tmp_path / "x.zip")
    report = replay(part, part, ReplayPlan(ranges=ranges, verify=True), fold_at=part.fold)
    assert sum(each.lists for each in report.partitions) > 5


def test_a_trainer_reads_on(hostile: World) -> None:
    lease = EmbeddedLease(hostile.log, "a")
    trainer = Trainer(hostile.settings, hostile.log, hostile.store, lease, clock_ms=lambda: 0)
    stopping = threading.Event()
    thread = threading.Thread(target=trainer.serve, args=(stopping,))
    thread.start()

    while trainer.generation is None and thread.is_alive():
        thread.join(0.05)

    assert thread.is_alive(), "a record ended the trainer"
    assert trainer._inputs.histories.n_users == 12
    stopping.set()
    thread.join()
    trainer.close()


def test_histories_are_compared_beside_a_position_that_can_not_be_read(eventful: World) -> None:
    key = table_rows.APPLIED_KEY
    eventful.log.append([NewRecord(eventful.changelog, key, b"\xc1", at) for at in range(2)])
    ranges = {at: (0, eventful.log.high_watermark(INTERACTIONS, at)) for at in range(2)}

    report = replay(
        eventful.log,
        eventful.store,
        ReplayPlan(ranges=ranges, verify=True, changelog=eventful.changelog),
    )

    assert report.is_identical
    assert all(part.histories > 0 for part in report.partitions)


def test_a_log_that_no_worker_has_read_has_no_histories_to_compare(eventful: World) -> None:
    assert stored_histories(eventful.log, "nobody-user-histories-changelog", 0) == ({}, 0)
