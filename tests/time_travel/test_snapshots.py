"""Histories and lists as of any offset, from rows kept at intervals and the events since."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from recstream.control import new_control_record
from recstream.control.reader import read_timeline
from recstream.core.events import EventWeights
from recstream.core.history.fold import History
from recstream.core.records import Forgotten, SettingsActivated, decode_recommendations
from recstream.errors import StartupError
from recstream.log.port import NewRecord, Record
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS
from recstream.time_travel.fold import PartitionFold
from recstream.time_travel.snapshots import Snapshots
from tests.replay.world import World


def folded(world: World, user: str, partition: int, offset: int) -> History:
    """The slow reference: everything from the beginning."""
    fold = PartitionFold(partition, 2, read_timeline(world.log))
    fold.fold(each for each in world.records(INTERACTIONS, partition) if each.offset <= offset)
    return fold.history(user)


@pytest.fixture(params=[1, 7, 1000])
def snapshots(
    eventful: World, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Snapshots]:
    made = Snapshots(eventful.log, tmp_path / "snapshots", block_events=request.param)
    yield made
    made.close()


@pytest.mark.slow
def test_a_history_at_any_offset_is_the_one_folded_from_the_beginning(
    eventful: World, snapshots: Snapshots
) -> None:
    for user in ("u0", "u1", "u2", "u10", "stranger"):
        partition = snapshots.partition(user)
        for offset in range(eventful.log.high_watermark(INTERACTIONS, partition)):
            assert snapshots.history(user, offset) == folded(eventful, user, partition, offset)


def test_what_is_appended_later_is_taken_in(eventful: World, snapshots: Snapshots) -> None:
    partition = snapshots.partition("u5")
    snapshots.history("u5", 3)
    eventful.browse(30, seed=9)
    last = eventful.log.high_watermark(INTERACTIONS, partition) - 1

    assert snapshots.history("u5", last) == folded(eventful, "u5", partition, last)


FOREIGN = {
    "another key": lambda value: (b"session-7", value),
    "escaped, no key": lambda value: (None, value.replace(b"ana/1", rb"an\u0061\/1")),
    "in an array, escaped, another key": lambda value: (
        b"7",
        b"[null," + value.replace(b"ana/1", rb"ana\/1") + b"]",
    ),
}


@pytest.mark.parametrize("form", FOREIGN)
def test_events_of_producers_with_other_keys_and_escaped_characters_count(
    eventful: World, snapshots: Snapshots, form: str
) -> None:
    """The worker counts an event by its user, whatever the record's key."""
    user = "ana/1"
    partition = snapshots.partition(user)
    for number in range(3):
        event = {"id": f"f{number}", "type": "view", "user": user, "item": f"i0{number}",
                 "ts": "2020-01-01T00:00:00Z"}  # fmt: skip
        key, value = FOREIGN[form](msgspec.json.encode(event))
        (at,) = eventful.log.append([NewRecord(INTERACTIONS, key, value, partition)])
    expected = folded(eventful, user, partition, at.offset)
    assert expected.offset == at.offset

    assert snapshots.history(user, at.offset) == expected


def test_a_folder_that_could_not_be_made_after_an_erasure_is_made_by_the_next_question(
    eventful: World, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = snapshots.partition("u5")
    before = snapshots.history("u5", 3)
    done = Forgotten(id="f", partition=partition, at_offset=0, forgotten_ts=0)
    eventful.log.append([new_control_record(done)])

    def full(*_: object) -> None:
        raise StartupError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("recstream.time_travel.snapshots.SnapshotTable", full)
        with pytest.raises(StartupError):
            snapshots.history("u5", 3)

    assert snapshots.history("u5", 3) == before


def test_events_are_folded_by_settings_that_changed_while_the_folder_was_open(
    eventful: World, snapshots: Snapshots
) -> None:
    for user in ("u4", "u5"):
        partition = snapshots.partition(user)
        snapshots.history(user, eventful.log.high_watermark(INTERACTIONS, partition) - 1)
    weights = EventWeights(view=9.0, like=7.0, purchase=5.0)
    eventful.settings = msgspec.structs.replace(eventful.settings, weights=weights)
    eventful.worker()
    eventful.browse(60, seed=9)

    for user in ("u4", "u5"):
        partition = snapshots.partition(user)
        last = eventful.log.high_watermark(INTERACTIONS, partition) - 1
        assert snapshots.history(user, last) == folded(eventful, user, partition, last)


@pytest.mark.parametrize("is_open", [True, False])
def test_what_was_read_ahead_of_a_worker_is_folded_again_by_the_settings_that_it_activates(
    eventful: World, tmp_path: Path, is_open: bool
) -> None:
    snapshots = Snapshots(eventful.log, tmp_path / "kept", block_events=7)
    users = ("u4", "u5")
    ends = [
        eventful.log.high_watermark(INTERACTIONS, snapshots.partition(user)) - 1 for user in users
    ]
    for user, end in zip(users, ends, strict=True):
        snapshots.history(user, end)
    for partition in range(2):
        activated = SettingsActivated(
            partition=partition,
            from_offset=5,
            weights=EventWeights(view=9.0, like=7.0, purchase=5.0),
            half_life_ms=1e9,
            list_size=5,
            adopted_ts=0,
        )
        eventful.log.append([new_control_record(activated)])
    if not is_open:
        snapshots.close()
        snapshots = Snapshots(eventful.log, tmp_path / "kept", block_events=7)

    for user, end in zip(users, ends, strict=True):
        partition = snapshots.partition(user)
        assert snapshots.history(user, end) == folded(eventful, user, partition, end)
        position = snapshots.list_position(user, offset=end)
        assert position is None or position.as_of <= end
    snapshots.close()


def test_settings_that_hold_from_later_on_start_nothing_again(
    eventful: World, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots.history("u5", 30)
    eventful.settings = msgspec.structs.replace(eventful.settings, half_life_days=1.0)
    eventful.worker()
    monkeypatch.setattr(Snapshots, "_start_at", None)

    snapshots.history("u5", 31)


def test_the_folder_serves_again_after_a_restart(eventful: World, tmp_path: Path) -> None:
    partition_of_u4 = None
    for _ in range(2):
        snapshots = Snapshots(eventful.log, tmp_path / "kept", block_events=7)
        partition_of_u4 = snapshots.partition("u4")
        found = snapshots.history("u4", 40)
        snapshots.close()
        eventful.browse(10, seed=11)

        assert found == folded(eventful, "u4", partition_of_u4, 40)


def test_the_folder_of_another_log_is_made_anew(eventful: World, tmp_path: Path) -> None:
    before = Snapshots(eventful.log, tmp_path / "kept", block_events=3)
    before.history("u1", 30)
    before.close()
    other = World(tmp_path / "other")
    other.browse(20, seed=4)

    snapshots = Snapshots(other.log, tmp_path / "kept", block_events=3)

    partition = snapshots.partition("u1")
    last = other.log.high_watermark(INTERACTIONS, partition) - 1
    assert snapshots.history("u1", last) == folded(other, "u1", partition, last)
    snapshots.close()
    other.close()


@pytest.mark.usefixtures("snapshots")
def test_a_folder_in_use_is_refused(eventful: World, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="close the other process"):
        Snapshots(eventful.log, tmp_path / "snapshots")


def test_the_list_at_an_offset_is_the_last_one_published_as_of_it(
    eventful: World, snapshots: Snapshots
) -> None:
    user = "u3"
    partition = snapshots.partition(user)
    mine = [
        (record.offset, decode_recommendations(record.value or b""))
        for record in eventful.records(RECOMMENDATIONS, partition)
        if record.key == user.encode()
    ]
    for offset in range(eventful.log.high_watermark(INTERACTIONS, partition)):
        expected = [at for at, body in mine if body.as_of and body.as_of.offset <= offset]

        found = snapshots.list_position(user, offset=offset)

        assert (found and found.offset) == (expected[-1] if expected else None)


def test_the_list_at_a_time_is_the_last_one_published_by_then(
    eventful: World, snapshots: Snapshots
) -> None:
    partition = snapshots.partition("u3")
    mine = [each for each in eventful.records(RECOMMENDATIONS, partition) if each.key == b"u3"]
    middle = mine[len(mine) // 2]

    found = snapshots.list_position("u3", timestamp_ms=middle.timestamp_ms)

    assert found is not None
    by_then = [each for each in mine if each.timestamp_ms <= middle.timestamp_ms]
    assert found.offset == by_then[-1].offset
    assert snapshots.list_position("u3", timestamp_ms=0) is None


@pytest.mark.parametrize(
    ("as_of", "timestamp_ms"), [(-1, 0), (2**64, 0), (10**30, 0), (0, -1), (0, -(2**63))]
)
def test_a_list_with_a_number_that_no_index_holds_hides_no_other(
    eventful: World, tmp_path: Path, as_of: int, timestamp_ms: int
) -> None:
    odd = {
        "rec_id": "odd",
        "user": "u3",
        "generation": 1,
        "as_of": {"partition": 0, "offset": as_of},
        "source": "popular",
        "items": [],
    }
    value = msgspec.json.encode(
        odd | {"as_of": msgspec.Raw(b'{"partition":0,"offset":%d}' % as_of)}
    )
    eventful.log.append([NewRecord(RECOMMENDATIONS, b"u3", value, timestamp_ms=timestamp_ms)])
    snapshots = Snapshots(eventful.log, tmp_path / "odd")
    try:
        (record, *_) = [
            each
            for each in eventful.records(RECOMMENDATIONS, snapshots.partition("u3"))
            if each.key == b"u3"
        ]
        found = snapshots.find_list(decode_recommendations(record.value or b"").rec_id)
    finally:
        snapshots.close()

    assert found is not None
    assert found[1].offset == record.offset


def as_of_offset(record: Record) -> int:
    as_of = decode_recommendations(record.value or b"").as_of
    assert as_of is not None
    return as_of.offset


def test_the_lists_between_two_offsets_come_in_order(eventful: World, snapshots: Snapshots) -> None:
    partition = snapshots.partition("u3")
    mine = [
        record.offset
        for record in eventful.records(RECOMMENDATIONS, partition)
        if record.key == b"u3" and 20 <= as_of_offset(record) < 50
    ]

    found = snapshots.list_positions("u3", 20, 50)

    assert [each.offset for each in found] == mine
