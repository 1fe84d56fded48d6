"""Time travel and replay start from the nearest checkpoint, never from a part of the past."""

import msgspec
import pytest

from recstream.analysis import Alternative, parse_ranges, what_if
from recstream.checkpoints import Checkpoints, audit_horizon, read_rows
from recstream.checkpoints.columns import write_rows
from recstream.checkpoints.manifest import file_name
from recstream.control import read_timeline
from recstream.core.history import History, table_rows
from recstream.core.records import list_header
from recstream.errors import BeyondHorizon, CheckpointCorrupt, CheckpointError, InvalidInput
from recstream.log import INTERACTIONS, RECOMMENDATIONS, read_batches, read_records
from recstream.models import DirectoryStore
from recstream.replay import ReplayPlan, replay
from recstream.time_travel import (
    Moment,
    Snapshots,
    TimeTravel,
    nearest_fold,
    verify_checkpoint,
    verify_checkpoints,
)
from recstream.time_travel.fold import PartitionFold
from tests.checkpoints.made import make_checkpoint
from tests.replay.world import World

USERS = ("u1", "u2", "stranger")


def folded(world: World, user: str, partition: int, offset: int) -> History:
    """The slow reference: everything from the beginning."""
    fold = PartitionFold(partition, 2, read_timeline(world.log))
    fold.fold(each for each in world.records(INTERACTIONS, partition) if each.offset <= offset)
    return fold.history(user)


@pytest.fixture
def checkpoints(eventful, tmp_path):
    """Two checkpoints of each partition: after a third and after two thirds of the events."""
    found = Checkpoints(eventful.log, DirectoryStore(tmp_path / "checkpoints"))
    for partition in range(2):
        end = eventful.log.high_watermark(INTERACTIONS, partition)
        for offset in (end // 3, 2 * end // 3):
            make_checkpoint(found, partition, offset, eventful.changelog)
    return found


@pytest.fixture
def snapshots(eventful, checkpoints, tmp_path):
    made = Snapshots(eventful.log, tmp_path / "past", block_events=7, checkpoints=checkpoints)
    yield made
    made.close()


def prune(world, checkpoints, number=0):
    """Delete the events and lists from before a checkpoint of each partition."""
    references = {}
    for partition in range(2):
        manifest = checkpoints.all(partition)[number]
        for user in USERS:
            end = world.log.high_watermark(INTERACTIONS, partition)
            for offset in range(manifest.offset, end):
                references[user, partition, offset] = folded(world, user, partition, offset)
        world.log.delete_before(INTERACTIONS, partition, manifest.offset)
    return references


def test_histories_at_any_offset_are_those_folded_from_the_beginning(eventful, snapshots):
    for user in USERS:
        partition = snapshots.partition(user)
        for offset in reversed(range(eventful.log.high_watermark(INTERACTIONS, partition))):
            assert snapshots.history(user, offset) == folded(eventful, user, partition, offset)


def test_a_recent_history_reads_no_events_from_before_the_checkpoint(
    eventful, checkpoints, snapshots, monkeypatch
):
    partition = snapshots.partition("u1")
    newest = checkpoints.newest(partition)
    first = []

    def noted(log, topic, number, start=0, stop=None):
        if topic == INTERACTIONS:
            first.append(start)
        return read_batches(log, topic, number, start, stop)

    for module in ("snapshots", "fold"):
        monkeypatch.setattr(f"recstream.time_travel.{module}.read_batches", noted)
    last = eventful.log.high_watermark(INTERACTIONS, partition) - 1

    assert snapshots.history("u1", last) == folded(eventful, "u1", partition, last)
    assert min(first) >= newest.offset > 0


def test_a_question_about_the_past_folds_no_event_after_it(eventful, snapshots, monkeypatch):
    partition = snapshots.partition("u1")
    read = []

    def noted(log, topic, number, start=0, stop=None):
        for found in read_batches(log, topic, number, start, stop):
            read.extend(each.offset for each in found if topic == INTERACTIONS)
            yield found

    for module in ("snapshots", "fold"):
        monkeypatch.setattr(f"recstream.time_travel.{module}.read_batches", noted)
    end = eventful.log.high_watermark(INTERACTIONS, partition)

    for offset in (end // 2, end // 2 + 3, end // 4):
        assert snapshots.history("u1", offset) == folded(eventful, "u1", partition, offset)
        assert max(read) == offset
        read.clear()
    snapshots.list_positions("u1", 0, end)
    assert read == []


def test_lists_from_before_a_checkpoint_are_read_when_they_are_asked_for(
    eventful, checkpoints, snapshots, monkeypatch
):
    partition = snapshots.partition("u1")
    log, first = eventful.log, []

    def noted(log, topic, number, start=0, stop=None):
        first.append(start)
        return read_records(log, topic, number, start, stop)

    monkeypatch.setattr("recstream.time_travel.snapshots.read_records", noted)
    last = log.high_watermark(INTERACTIONS, partition) - 1
    newest = checkpoints.newest(partition)
    lists = [each for each in log.read(RECOMMENDATIONS, partition, 0, 10**6) if each.value]
    later = [each for each in lists if list_header(each.value).as_of.offset >= newest.offset]

    snapshots.history("u1", last)

    assert 0 < min(first) <= later[0].offset
    assert snapshots.list_positions("u1", 0, last + 1)[0].offset == next(
        each.offset for each in lists if each.key == b"u1"
    )


def test_lists_at_any_offset_are_those_found_without_checkpoints(
    eventful, snapshots, tmp_path, monkeypatch
):
    monkeypatch.setattr("recstream.time_travel.snapshots.BATCH_ROWS", 3)
    plain = Snapshots(eventful.log, tmp_path / "plain", block_events=7)
    for user in USERS:
        end = eventful.log.high_watermark(INTERACTIONS, plain.partition(user))
        for offset in (*reversed(range(end)), end // 2, end - 1):
            expected = plain.list_position(user, offset=offset)
            assert snapshots.list_position(user, offset=offset) == expected
            if expected is not None:
                assert snapshots.list_before(user, expected) == plain.list_before(user, expected)
    plain.close()


def test_a_pruned_log_answers_from_its_oldest_checkpoint_on(eventful, checkpoints, snapshots):
    references = prune(eventful, checkpoints)

    for (user, partition, offset), expected in references.items():
        if snapshots.partition(user) == partition:
            assert snapshots.history(user, offset) == expected


@pytest.mark.parametrize("asked_before", ["the beginning", "all", "nothing"])
def test_what_was_asked_before_pruning_does_not_move_the_horizon(
    eventful, checkpoints, snapshots, asked_before
):
    for user in USERS:
        partition = snapshots.partition(user)
        end = eventful.log.high_watermark(INTERACTIONS, partition)
        if asked_before != "nothing":
            snapshots.history(user, 9 if asked_before == "the beginning" else end - 1)

    references = prune(eventful, checkpoints, 1)

    for (user, partition, offset), expected in references.items():
        if snapshots.partition(user) == partition:
            assert snapshots.history(user, offset) == expected
    for user in USERS:
        partition = snapshots.partition(user)
        horizon = audit_horizon(checkpoints, partition)
        assert horizon == checkpoints.all(partition)[1].offset
        with pytest.raises(BeyondHorizon, match="recstream checkpoint list"):
            snapshots.history(user, horizon - 2)
        last = eventful.log.high_watermark(INTERACTIONS, partition) - 1
        assert snapshots.history(user, last) == references[user, partition, last]


def test_beyond_the_horizon_there_is_a_named_error_and_no_partial_history(
    eventful, checkpoints, snapshots, tmp_path
):
    prune(eventful, checkpoints)
    partition = snapshots.partition("u1")
    horizon = audit_horizon(checkpoints, partition)
    assert horizon == checkpoints.all(partition)[0].offset

    with pytest.raises(BeyondHorizon, match=r"recstream checkpoint list"):
        snapshots.history("u1", horizon - 2)
    with pytest.raises(BeyondHorizon, match="audit_horizon"):
        parse_ranges(eventful.log, str(horizon - 1), checkpoints=checkpoints)
    plan = ReplayPlan(ranges=parse_ranges(eventful.log, checkpoints=checkpoints))
    with pytest.raises(BeyondHorizon):
        replay(eventful.log, eventful.store, plan)
    travel = TimeTravel(eventful.log, eventful.store, snapshots)
    with pytest.raises(BeyondHorizon):
        travel.history_at("u1", Moment(offset=0))

    without = Snapshots(eventful.log, tmp_path / "none")
    with pytest.raises(BeyondHorizon):
        without.history("u1", horizon)
    without.close()


def damage(checkpoints, manifest, user):
    """Replace a checkpoint by one in which a user's page and list can't be read."""
    content = checkpoints.read(manifest)
    rows = {key: value for _, found in read_rows(content) for key, value in found}
    for key in (table_rows.page_key(user.encode(), 0), table_rows.list_key(user.encode())):
        assert key in rows
        rows[key] = b"\xc1"  # no msgpack
    raw, counts = write_rows(sorted(rows.items()))
    digest = checkpoints.digest(raw)
    checkpoints.remove(manifest)
    name = file_name(manifest.partition, manifest.offset, digest)
    changes = {"name": name, "digest": digest, "size": len(raw), "n_entries": counts.entries}
    checkpoints.put(msgspec.structs.replace(manifest, **changes), raw)


@pytest.mark.parametrize("is_pruned", [False, True])
def test_a_user_whose_rows_can_not_be_read_is_named_and_the_others_are_answered(
    eventful, checkpoints, snapshots, is_pruned
):
    partition = snapshots.partition("u1")
    last = eventful.log.high_watermark(INTERACTIONS, partition) - 1
    newest = checkpoints.newest(partition)
    users = [f"u{n}" for n in range(12) if snapshots.partition(f"u{n}") == partition]
    expected = {user: folded(eventful, user, partition, last) for user in users}
    assert expected["u1"].offset > newest.offset  # it is met while the partition is folded
    damage(checkpoints, newest, "u1")
    if is_pruned:
        eventful.log.delete_before(INTERACTIONS, partition, newest.offset)

    others = [user for user in users if user != "u1"]
    assert len(others) > 1
    for user in others:
        assert snapshots.history(user, last) == expected[user]
        assert snapshots.list_position(user, offset=last) is not None
    assert snapshots.unreadable[partition] == ({"u1"} if is_pruned else set())
    if is_pruned:
        with pytest.raises(CheckpointCorrupt, match="rows of user 'u1' as of offset"):
            snapshots.history("u1", last)
        with pytest.raises(CheckpointCorrupt, match="u1"):
            snapshots.fold_at(partition, last).history("u1")
    else:
        assert snapshots.history("u1", last) == expected["u1"]


@pytest.mark.parametrize("is_pruned", [False, True])
def test_a_checkpoint_whose_content_can_not_be_read_is_passed_over(
    eventful, checkpoints, snapshots, is_pruned, monkeypatch
):
    partition = snapshots.partition("u1")
    older, newest = checkpoints.all(partition)
    wrong = checkpoints.read(newest)
    last = eventful.log.high_watermark(INTERACTIONS, partition) - 1
    users = [f"u{n}" for n in range(12) if snapshots.partition(f"u{n}") == partition]
    expected = {user: folded(eventful, user, partition, last) for user in users}
    if is_pruned:
        eventful.log.delete_before(INTERACTIONS, partition, older.offset)

    def torn(content):
        for n, each in enumerate(read_rows(content)):
            if n == 2 and content == wrong:
                raise CheckpointCorrupt("rows that don't fit together")
            yield each

    monkeypatch.setattr("recstream.time_travel.snapshots.read_rows", torn)

    assert {user: snapshots.history(user, last) for user in users} == expected
    eventful.log.delete_before(INTERACTIONS, partition, newest.offset)
    checkpoints.remove(older)
    with pytest.raises(BeyondHorizon):
        Snapshots(
            eventful.log, snapshots._folder.with_name("new"), checkpoints=checkpoints
        ).history("u1", last)


def test_verifying_names_a_user_whose_rows_can_not_be_read(checkpoints):
    damage(checkpoints, checkpoints.all(0)[0], some_user_of(checkpoints, 0))

    with pytest.raises(CheckpointError):
        verify_checkpoints(checkpoints, 0)
    newest = checkpoints.all(0)[1]
    with pytest.raises(CheckpointCorrupt, match="rows of user"):
        verify_checkpoint(checkpoints, newest, checkpoints.newest_readable(0, newest.offset - 1))


def some_user_of(checkpoints, partition):
    """Return a user who has a list in the first checkpoint of a partition."""
    content = checkpoints.read(checkpoints.all(partition)[0])
    found = [user for user, rows in read_rows(content) if table_rows.list_key(user) in dict(rows)]
    return found[0].decode()


def test_without_a_checkpoint_a_pruned_log_answers_nothing(eventful, tmp_path):
    none = Checkpoints(eventful.log, DirectoryStore(tmp_path / "none"))
    assert audit_horizon(none, 0) == 0

    eventful.log.delete_before(INTERACTIONS, 0, 5)

    assert audit_horizon(none, 0) == eventful.log.high_watermark(INTERACTIONS, 0)


@pytest.mark.parametrize("is_pruned", [False, True])
def test_a_replay_from_checkpoints_verifies_and_trains_again(eventful, checkpoints, is_pruned):
    log = eventful.log
    if is_pruned:
        prune(eventful, checkpoints)
        for partition in range(2):
            middle = log.high_watermark(RECOMMENDATIONS, partition) // 3
            log.delete_before(RECOMMENDATIONS, partition, middle)
    timeline = read_timeline(log)
    ranges = parse_ranges(log, checkpoints=checkpoints)
    plan = ReplayPlan(ranges=ranges, verify=True, retrain=True, changelog=eventful.changelog)

    report = replay(
        log,
        eventful.store,
        plan,
        fold_at=lambda p: nearest_fold(checkpoints, log, p, timeline, ranges[p][0]),
    )

    assert report.is_identical
    assert sum(each.lists for each in report.partitions) > 0
    assert all(each.histories > 0 for each in report.partitions)
    derived = [each.number for each in report.generations if each.derived]
    if is_pruned:
        assert "audit_horizon" in report.generations[0].why
    else:
        assert derived == [each.number for each in report.generations]


def test_the_nearest_fold_has_all_histories_of_its_checkpoint(eventful, checkpoints):
    timeline = read_timeline(eventful.log)
    first, second = checkpoints.all(0)

    assert nearest_fold(checkpoints, eventful.log, 0, timeline, first.offset - 1).next_offset == 0
    for manifest, offset in ((first, second.offset - 1), (second, 10**6)):
        fold = nearest_fold(checkpoints, eventful.log, 0, timeline, offset)
        assert fold.next_offset == manifest.offset
        assert fold.histories == {
            user: history
            for user in fold.histories
            if (history := folded(eventful, user, 0, manifest.offset - 1)).offset >= 0
        }
        assert len(fold.histories) == manifest.n_users


@pytest.mark.slow
def test_a_list_with_other_weights_says_how_many_pruned_events_keep_theirs(
    eventful, checkpoints, snapshots
):
    partition = snapshots.partition("u1")
    travel = TimeTravel(eventful.log, eventful.store, snapshots)
    other = Alternative(half_life_days=1.0)
    n_before = folded(eventful, "u1", partition, checkpoints.all(partition)[0].offset - 1).n_ids
    assert what_if(travel, "u1", Moment(), other).n_pruned == 0

    prune(eventful, checkpoints)

    assert what_if(travel, "u1", Moment(), other).n_pruned == n_before > 0
    assert what_if(travel, "u1", Moment(), Alternative(n=3)).n_pruned == 0
    gone = Alternative(half_life_days=1.0, without=("0",))
    earliest = eventful.log.earliest(INTERACTIONS, partition)
    with pytest.raises(InvalidInput, match=f"no event at 0 among the kept offsets {earliest} to"):
        what_if(travel, "u1", Moment(), gone)
