"""A replay derives state from the log alone, compares as asked, and overwrites nothing."""

from pathlib import Path

import pytest
import rocksdict

from recstream.cli.log.replay import _describe, _first_difference
from recstream.core.history.table_rows import load
from recstream.errors import StartupError
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS, MODELS, RECOMMENDATIONS
from recstream.models import start_of_generations
from recstream.replay.run import ReplayPlan, Report, play, replay
from recstream.time_travel import Generations
from tests.full_disk import files_of_at_most
from tests.replay.world import World


def ranges(world: World) -> dict[int, tuple[int, int]]:
    return {at: (0, world.log.high_watermark(INTERACTIONS, at)) for at in range(2)}


def run(world: World, **options: object) -> Report:
    plan = ReplayPlan(**{"ranges": ranges(world), "changelog": world.changelog, **options})
    return replay(world.log, world.store, plan)


def test_everything_is_identical_when_nothing_was_tampered_with(eventful: World) -> None:
    report = run(eventful, verify=True, retrain=True)

    assert report.is_identical
    assert sum(each.lists for each in report.partitions) > 60
    assert sum(each.histories for each in report.partitions) == 12
    assert len(report.generations) == 3


def test_lists_of_generations_that_retention_deleted_are_underivable_and_not_different(
    eventful: World,
) -> None:
    eventful.log.delete_before(MODELS, 0, start_of_generations(eventful.log, 1))

    report = run(eventful, verify=True)

    assert report.is_identical
    assert sum(each.underivable for each in report.partitions) > 0
    assert sum(each.underivable for each in report.partitions) < sum(
        each.lists for each in report.partitions
    )


def test_a_generation_that_is_announced_while_a_replay_reads_is_no_difference(
    eventful: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generations(*given: object) -> Generations:
        found = Generations(*given)  # type: ignore[arg-type]
        monkeypatch.undo()
        eventful.train(factors=False)
        eventful.work(group=9)
        return found

    n_before = sum(eventful.log.high_watermark(RECOMMENDATIONS, each) for each in range(2))
    monkeypatch.setattr("recstream.replay.run.Generations", generations)

    report = run(eventful, verify=True, retrain=True)

    assert sum(eventful.log.high_watermark(RECOMMENDATIONS, at) for at in range(2)) > n_before
    assert report.is_identical
    assert sum(each.underivable for each in report.partitions) == 0


def test_a_list_whose_artifact_was_pruned_is_not_called_different(eventful: World) -> None:
    for name in eventful.store.list():
        eventful.store.delete(name)
    report = run(eventful, verify=True)

    text, error = _describe(report, verify=True), _first_difference(report)

    assert not report.is_identical
    assert text.splitlines()[-1].endswith("lists derived again: not all can be derived")
    assert "can't be derived again: generation" in error
    assert "--retrain derives it again" in error
    assert len(error) < 300


def test_two_replays_have_the_same_digests(eventful: World) -> None:
    assert run(eventful).partitions == run(eventful).partitions


def test_an_event_added_behind_the_tables_back_is_seen_as_a_difference_of_histories(
    eventful: World,
) -> None:
    rows = eventful.records(eventful.changelog, 0)
    header = next(each for each in reversed(rows) if each.key in {b"u1", b"u2"})
    older = next(each for each in rows if each.key == header.key)
    eventful.log.append([NewRecord(eventful.changelog, older.key, older.value, 0)])

    report = run(eventful, verify=True)

    assert not report.is_identical
    (difference,) = report.partitions[0].differences
    assert (difference.what, difference.user) == ("history", (older.key or b"").decode())


def test_histories_are_compared_as_of_where_the_table_stands(eventful: World) -> None:
    seen = eventful.records(INTERACTIONS, 0)[0]
    assert seen.value is not None
    value = seen.value.replace(b'"id":"', b'"id":"unfolded-', 1)
    eventful.log.append([NewRecord(INTERACTIONS, seen.key, value, 0)])

    whole = run(eventful, verify=True)
    short = run(eventful, verify=True, ranges={0: (0, 5)})

    assert whole.is_identical
    assert sum(each.histories for each in whole.partitions) == 12
    assert [each.histories for each in short.partitions] == [-1]


def test_progress_reports_events_and_lists(eventful: World) -> None:
    told: dict[str, int] = {}
    plan = ReplayPlan(ranges=ranges(eventful), verify=True)

    def progress(what: str, n: int) -> None:
        told[what] = told.get(what, 0) + n

    report = replay(eventful.log, eventful.store, plan, progress=progress)

    assert told["events"] == sum(each.events for each in report.partitions) == eventful.n_events
    assert told["lists"] == sum(each.lists for each in report.partitions)


def test_state_written_into_a_folder_is_what_the_worker_has(
    eventful: World, tmp_path: Path
) -> None:
    run(eventful, into=tmp_path / "state")

    for partition in range(2):
        options = rocksdict.Options(raw_mode=True)
        database = rocksdict.Rdict(str(tmp_path / "state" / f"partition-{partition}"), options)
        written = dict(database.items())
        database.close()
        for user in [key.decode() for key in written if b"\0" not in key]:
            assert load(user, written.get) == eventful.engine.state(partition).user(user).history


def test_a_folder_with_something_in_it_is_not_written_over(eventful: World, tmp_path: Path) -> None:
    run(eventful, into=tmp_path / "state")

    with pytest.raises(StartupError, match="must be empty or new"):
        run(eventful, into=tmp_path / "state")


def test_state_that_does_not_fit_on_the_disk_is_named_and_removed(
    eventful: World, tmp_path: Path
) -> None:
    with files_of_at_most(1_000), pytest.raises(StartupError, match="partition-0 can't be"):
        run(eventful, into=tmp_path / "state")

    assert not list((tmp_path / "state").iterdir())
    run(eventful, into=tmp_path / "state")


def test_playing_keeps_the_order_of_time_and_its_distances(eventful: World) -> None:
    waited: list[float] = []

    played = list(play(eventful.log, ranges(eventful), speed=10.0, sleep=waited.append))

    times = [record.timestamp_ms for record in played]
    assert times == sorted(times)
    assert {record.topic for record in played} == {INTERACTIONS, RECOMMENDATIONS}
    assert sum(waited) == pytest.approx((times[-1] - times[0]) / 10_000)
