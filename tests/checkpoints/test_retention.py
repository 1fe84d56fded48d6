"""Retention deletes what the settings no longer keep, and never what a checkpoint can't replace."""

import msgspec
import pytest

from recstream.checkpoints import audit_horizon, open_checkpoints, retain
from recstream.control import control_records, read_control, read_timeline, submit
from recstream.core.records import (
    CheckpointRequested,
    ForgetRequested,
    Forgotten,
    SettingsActivated,
    SteeringSet,
    TrainingRequested,
)
from recstream.core.steering import Steering
from recstream.errors import BeyondHorizon, ModelStoreUnavailable, NotFound
from recstream.log import CONTROL, INTERACTIONS, MODELS, RECOMMENDATIONS, NewRecord
from recstream.models import announcements
from recstream.settings import Settings
from recstream.time_travel import verify_checkpoints
from tests.worker.installation import Installation
from tests.worker.worker_world import GROUP, PARTITIONS, SETTINGS

DAY_MS = 24 * 3600 * 1000
NOW_MS = 1_800_000_000_000


def settings_with(**changes: object) -> Settings:
    return Settings(app_id=GROUP, partitions=PARTITIONS, **changes)


def events(tables, partition=0):
    return tables.log.earliest(INTERACTIONS, partition), tables.log.high_watermark(
        INTERACTIONS, partition
    )


def test_by_default_everything_is_kept(tables):
    tables.feed(300)
    tables.checkpoint()
    verify_checkpoints(tables.checkpoints)

    assert not any(retain(tables.checkpoints, Settings(), now_ms=NOW_MS + 1000 * DAY_MS))


@pytest.mark.parametrize("keep", [{"keep_interactions_events": 10}, {"keep_interactions_days": 1}])
def test_events_go_up_to_the_newest_verified_checkpoint_that_retention_reaches(tables, keep):
    tables.feed(200)
    first = tables.checkpoint()
    tables.feed(200, seed=1)
    second = tables.checkpoint()
    tables.feed(200, seed=2)
    later = NOW_MS + 2 * DAY_MS

    assert not any(retain(tables.checkpoints, settings_with(**keep), now_ms=later))  # unverified
    verify_checkpoints(tables.checkpoints)
    pruned = retain(tables.checkpoints, settings_with(**keep), now_ms=later)

    earliest, _ = events(tables)
    assert earliest == pruned.interactions
    assert earliest == second.offset > first.offset
    assert audit_horizon(tables.checkpoints, 0) == earliest
    assert events(tables, 1)[0] == 0  # has no checkpoint


@pytest.mark.parametrize("damage", ["gone", "cut", "away"])
def test_events_stay_while_the_file_of_their_checkpoint_can_not_be_read(
    tables, damage, monkeypatch
):
    tables.feed(200)
    first = tables.checkpoint()
    tables.feed(200, seed=1)
    second = tables.checkpoint()
    tables.feed(50, seed=2)
    verify_checkpoints(tables.checkpoints)
    whole = tables.store.get

    def get(name):
        if name != second.name:
            return whole(name)
        if damage == "cut":
            return whole(name)[:-9]
        raise NotFound(name) if damage == "gone" else ModelStoreUnavailable("away")

    monkeypatch.setattr(tables.store, "get", get)
    keep = settings_with(keep_interactions_events=1)
    retain(tables.checkpoints, keep, now_ms=NOW_MS)

    assert events(tables)[0] == first.offset
    monkeypatch.undo()
    retain(tables.checkpoints, keep, now_ms=NOW_MS)
    assert events(tables)[0] == second.offset


def test_what_is_kept_verifies_from_the_checkpoint_on(tables):
    tables.feed(200)
    first = tables.checkpoint()
    tables.feed(200, seed=1)
    second = tables.checkpoint()
    verify_checkpoints(tables.checkpoints)
    tables.log.delete_before(INTERACTIONS, 0, first.offset)

    done = verify_checkpoints(tables.checkpoints)

    assert "compared with the changelog" in done[first.name]
    assert f"folded again from offset {first.offset}" in done[second.name]


def test_a_checkpoint_without_events_behind_it_is_compared_with_the_changelog(tables):
    tables.feed(300)
    made = tables.checkpoint()
    tables.log.delete_before(INTERACTIONS, 0, made.offset)
    tables.feed(50, seed=1)

    assert "compared with the changelog" in verify_checkpoints(tables.checkpoints)[made.name]
    assert tables.checkpoints.newest(0).is_verified


def test_checkpoints_stay_at_distances_while_events_are_pruned(tables):
    made = []
    for seed in range(6):
        tables.feed(60, seed=seed)
        made.append(tables.checkpoint())
    verify_checkpoints(tables.checkpoints)
    span = made[-1].offset - made[0].offset

    keep = settings_with(keep_interactions_events=8 * (span // 2), keep_checkpoints=1)
    tables.checkpoints.prune(0, keep)

    kept = [each.offset for each in tables.checkpoints.all(0)]
    assert kept[0] == made[0].offset
    assert kept[-1] == made[-1].offset
    assert 3 <= len(kept) <= 4


def test_checkpoints_from_before_the_first_event_that_is_kept_go(tables):
    keep = settings_with(keep_interactions_events=100, keep_checkpoints=1)
    for seed in range(8):
        tables.feed(60, seed=seed)
        tables.checkpoint()
        verify_checkpoints(tables.checkpoints)
        retain(tables.checkpoints, keep, now_ms=NOW_MS)
        tables.checkpoints.prune(0, keep)

    earliest, end = events(tables)
    assert 0 < earliest < end - 100
    kept = [each.offset for each in tables.checkpoints.all(0)]
    assert kept[0] == earliest
    assert len(kept) <= 9
    assert len(tables.store.list()) == 2 * len(kept)


@pytest.mark.parametrize("ahead_days", [400, -400])
def test_checkpoints_made_while_a_clock_was_wrong_stop_no_steps(tables, ahead_days):
    made = []
    for seed in range(6):
        tables.feed(60, seed=seed)
        at_ms = NOW_MS + DAY_MS * (seed + (ahead_days if seed == 1 else 0))
        found = msgspec.structs.replace(tables.checkpoint(), made_ts=at_ms, is_verified=True)
        tables.checkpoints.announce(found)
        made.append(found)

    tables.checkpoints.prune(0, settings_with(keep_interactions_days=8, keep_checkpoints=1))

    assert tables.checkpoints.all(0) == made  # each is a day, an eighth of 8, from the one before


@pytest.mark.parametrize("lost", [0, 1])
def test_a_checkpoint_without_its_file_neither_sets_the_horizon_nor_replaces_another(tables, lost):
    made = []
    for seed in range(4):
        tables.feed(60, seed=seed)
        made.append(tables.checkpoint())
    verified = [msgspec.structs.replace(each, is_verified=True) for each in made[:2]]
    for each in verified:
        tables.checkpoints.announce(each)
    tables.log.delete_before(INTERACTIONS, 0, made[0].offset)
    assert audit_horizon(tables.checkpoints, 0) == made[0].offset
    tables.store.delete(made[lost].name)

    tables.checkpoints.prune(0, settings_with(keep_checkpoints=1))

    assert audit_horizon(tables.checkpoints, 0) == made[1 - lost].offset
    assert {verified[1 - lost].name, made[3].name} <= set(tables.store.list())


def test_while_the_store_is_away_the_horizon_is_that_of_the_announcements(tables, monkeypatch):
    tables.feed(60)
    made = tables.checkpoint()
    tables.log.delete_before(INTERACTIONS, 0, made.offset)
    monkeypatch.setattr(tables.store, "list", lambda: (_ for _ in ()).throw(OSError("away")))

    assert audit_horizon(tables.checkpoints, 0) == made.offset


def test_lists_models_go_by_their_own_settings(tmp_path):
    installation = Installation(tmp_path)
    log = installation.world.log
    for number in range(4):
        installation.announce(number)
    for at in (NOW_MS - 3 * DAY_MS, NOW_MS):
        log.append([NewRecord(RECOMMENDATIONS, b"u", b"{}", 0, at)] * 3)
    checkpoints = open_checkpoints(log, installation.settings)
    models = f"file://{installation.store.folder}"
    keep = settings_with(keep_lists_days=2, keep_models=2, models=models)

    assert retain(checkpoints, keep, now_ms=NOW_MS) == (0, 3, 2, 0)

    assert log.earliest(RECOMMENDATIONS, 0) == 3
    assert log.earliest(MODELS, 0) == 2
    installation.close()


@pytest.mark.parametrize(
    ("keep", "stored", "kept"),
    [
        (1, {3, 4}, [4]),
        (3, {3, 4}, [2, 3, 4]),  # more than there are artifacts of
        (1, {1, 2}, [2, 3, 4]),  # artifacts of the newest are lost: 2 serves
        (3, {1}, [1, 2, 3, 4]),
        (2, set(), [0, 1, 2, 3, 4]),
        (9, {3, 4}, [0, 1, 2, 3, 4]),
    ],
)
def test_announcements_stay_as_many_as_are_kept_and_one_that_can_serve(
    tmp_path, keep, stored, kept
):
    installation = Installation(tmp_path)
    log = installation.world.log
    for number in range(5):
        installation.announce(number)
    for _, announced in announcements(log):
        if announced.generation not in stored:
            installation.store.delete(announced.artifact)
    checkpoints = open_checkpoints(log, installation.settings)
    models = f"file://{installation.store.folder}"

    retain(checkpoints, settings_with(keep_models=keep, models=models), now_ms=NOW_MS)

    assert sorted(each.generation for _, each in announcements(log)) == kept
    installation.close()


def activated(partition, from_offset, steering=-1):
    return SettingsActivated(
        partition=partition, from_offset=from_offset, weights=SETTINGS.weights,
        half_life_ms=1e9 + from_offset, list_size=20, adopted_ts=0, steering=steering,
    )  # fmt: skip


LATER_MS = 4_000_000_000_000
"""A time long after the append of every record."""


def put_requests(log, n):
    """Append requests that only the newest has a meaning of."""
    for number in range(n):
        submit(log, TrainingRequested(id=f"t{number}", requested_ts=number))


def test_control_records_without_a_meaning_go_and_the_others_keep_their_offsets(tables):
    log = tables.log

    def put(record):
        return submit(log, record)

    old_steering = put(SteeringSet(id="a", steering=Steering(), requested_ts=1))
    replaced = put(activated(0, 0))
    put_requests(log, 120)
    training = log.high_watermark(CONTROL, 0) - 1
    put(CheckpointRequested(id="c1", requested_ts=1))
    in_force = put(activated(0, 5, old_steering))
    request = put(CheckpointRequested(id="c2", requested_ts=2))
    newer = put(activated(0, 90))
    other = put(activated(1, 0))
    forgotten = put(Forgotten(id="f", partition=1, at_offset=0, forgotten_ts=0))
    unknown = log.append([NewRecord(CONTROL, None, b'{"type":"later"}', 0)])[0].offset
    log.append([NewRecord(CONTROL, None, b"no JSON", 0)])
    tables.feed(300)
    made = tables.checkpoint()
    log.delete_before(INTERACTIONS, 0, made.offset)
    expected = {
        each: read_timeline(log).at(0, each) for each in range(made.offset, made.offset + 9)
    }
    of_readers = dict(read_control(log))
    end = log.high_watermark(CONTROL, 0)

    pruned = retain(tables.checkpoints, settings_with(compact_control=True), now_ms=LATER_MS)

    assert pruned.control == 119 + 2 + 1 + 1  # trainings, rules not in force, checkpoint, no JSON
    assert log.earliest(CONTROL, 0) == end
    kept = dict(read_control(log))
    assert {old_steering, training, request, newer, other, forgotten} <= kept.keys()
    assert replaced not in kept
    assert kept == {offset: of_readers[offset] for offset in kept}
    assert {each: read_timeline(log).at(0, each) for each in expected} == expected
    assert unknown in {each.offset for each in control_records(log)}
    assert in_force < newer
    again = retain(tables.checkpoints, settings_with(compact_control=True), now_ms=LATER_MS)
    assert again.control == 0
    put_requests(log, 200)
    assert retain(tables.checkpoints, settings_with(compact_control=True), now_ms=LATER_MS).control
    assert {o: r for o, r in read_control(log) if o < training} == {
        o: r for o, r in kept.items() if o < training
    }


def test_a_reader_that_is_behind_gets_what_a_snapshot_has_of_the_rest(tables):
    log = tables.log
    put_requests(log, 150)
    at = submit(log, activated(0, 7))
    put_requests(log, 150)
    retain(tables.checkpoints, settings_with(compact_control=True), now_ms=LATER_MS)

    assert next(offset for offset, _ in read_control(log, at)) == at
    assert at not in {offset for offset, _ in read_control(log, at + 1)}


def test_a_request_to_erase_and_what_follows_it_stays_until_it_is_carried_out(tables):
    log = tables.log
    put_requests(log, 150)
    request = submit(log, ForgetRequested(id="f", user="u1", requested_ts=0))
    put_requests(log, 150)

    retain(tables.checkpoints, settings_with(compact_control=True), now_ms=LATER_MS)

    assert log.earliest(CONTROL, 0) == request
    assert b"u1" not in log.read(CONTROL, 0, log.high_watermark(CONTROL, 0) - 1)[0].value


def test_young_control_records_stay_for_readers_that_are_behind(tables):
    put_requests(tables.log, 300)
    now_ms = tables.log.read(CONTROL, 0, 0, 1)[0].timestamp_ms + 60_000

    assert not retain(
        tables.checkpoints, settings_with(compact_control=True), now_ms=now_ms
    ).control


def test_control_records_that_somebody_else_deleted_are_missed(tables):
    submit(tables.log, activated(0, 0))
    put_requests(tables.log, 5)
    tables.log.delete_before(CONTROL, 0, 3)

    with pytest.raises(BeyondHorizon, match="no snapshot replaces"):
        read_timeline(tables.log)


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"[" * 5000, b'{"type":"snapshot","before":%d,"records":[]}' % 2**50]
)
def test_a_snapshot_that_can_not_be_one_hides_none_that_is(tables, value):
    log = tables.log
    put_requests(log, 150)
    at = submit(log, activated(0, 7))
    put_requests(log, 150)
    retain(tables.checkpoints, settings_with(compact_control=True), now_ms=LATER_MS)

    log.append([NewRecord(CONTROL, b"snapshot", value, 0)])

    assert next(offset for offset, _ in read_control(log, at)) == at
