"""A range of the log under other rules or another model, beside what was published."""

from itertools import pairwise

import pytest

from recstream.analysis.log_samples import Sampler, sample_events
from recstream.analysis.log_what_if import evaluate_what_if
from recstream.analysis.ranges import parse_ranges
from recstream.control import read_timeline
from recstream.core.steering import Exclude, Steering
from recstream.core.steering.rules import Condition
from recstream.errors import InvalidInput, NotFound
from recstream.log import INTERACTIONS
from recstream.time_travel import Generations, Snapshots
from tests.replay.world import World, judged


@pytest.fixture(scope="module")
def stretch(tmp_path_factory):
    """A log with two generations whose lists were published event by event, and its samples."""
    folder = tmp_path_factory.mktemp("stretch")
    world = World(folder)
    world.browse(60, seed=1)
    world.train()
    world.work()
    for _ in range(3):
        for _ in range(8):
            world.browse(1, seed=world.n_events)
            world.work()
        world.train()
        world.work()
    snapshots = Snapshots(world.log, folder / "s", block_events=17)
    yield world, snapshots
    snapshots.close()


class Pruned:
    """A store without the artifacts of some generations."""

    def __init__(self, store, names):
        self.store, self.names = store, names

    def get(self, name):
        if name in self.names:
            raise NotFound(f"no artifact {name!r}")
        return self.store.get(name)


def compare(world, snapshots, limit=1000, ranges=None, store=None, **alternative):
    ranges = ranges or parse_ranges(world.log)
    samples, n_found = sample_events(world.log, snapshots, ranges, limit=limit)
    generations = Generations(world.log, store or world.store)
    return evaluate_what_if(samples, n_found, generations, read_timeline(world.log), **alternative)


def test_with_nothing_different_the_accuracy_is_what_was_published(stretch):
    world, snapshots = stretch
    scores = judged(world)

    found = compare(world, snapshots)

    assert found.was["all"] == scores.totals()["all"]
    assert found.n_events == found.was["all"].events > 10
    assert (found.n_stale, found.n_changed) == (0, 0)
    assert found.would == found.was


def test_rules_that_exclude_every_item_leave_nothing_to_hit(stretch):
    world, snapshots = stretch
    nothing = Steering(
        rules=(Exclude(name="all", where=Condition(items=tuple(f"i{n:02}" for n in range(24)))),)
    )

    found = compare(world, snapshots, steering=nothing)

    assert found.would["all"].hits[10] == 0.0
    assert found.coverage_would == 0.0
    assert found.n_changed == found.n_events
    assert found.hit_10.mean == pytest.approx(-found.was["all"].hits[10])
    assert found.hit_10.verdict == "worse"


def test_a_generation_that_was_trained_on_the_events_is_said_to_know_them(stretch):
    world, snapshots = stretch
    newest = max(Generations(world.log, world.store).announced)

    found = compare(world, snapshots, generation=newest)

    assert found.n_seen_by_model == found.n_events
    assert set(found.would) >= {"all", f"generation {newest}"}


def test_events_whose_generation_was_pruned_are_left_out_and_counted(stretch):
    world, snapshots = stretch
    announced = Generations(world.log, world.store).announced
    names = {number: each.artifact for number, each in announced.items()}
    every = compare(world, snapshots)
    first = min(int(name.split()[1]) for name in every.was if name.startswith("generation"))
    n_first = every.was[f"generation {first}"].events

    found = compare(world, snapshots, store=Pruned(world.store, {names[first]}))

    assert 0 < n_first < every.n_events
    assert (found.n_pruned, found.n_events) == (n_first, every.n_events - n_first)
    with pytest.raises(NotFound, match="choose a later range, or one generation"):
        compare(world, snapshots, store=Pruned(world.store, set(names.values())))
    with pytest.raises(NotFound, match="no artifact"):
        compare(world, snapshots, generation=first, store=Pruned(world.store, set(names.values())))


def test_a_part_of_the_range_is_compared_from_the_state_at_its_start(stretch):
    world, snapshots = stretch
    ends = {p: world.log.high_watermark(INTERACTIONS, p) for p in range(2)}
    late = {p: (end - 5, end) for p, end in ends.items()}

    part = compare(world, snapshots, ranges=late)
    whole, _ = sample_events(world.log, snapshots, parse_ranges(world.log), limit=1000)

    expected = [s for s in whole if s.offset >= late[s.partition][0]]
    assert part.n_events == len(expected)
    samples, _ = sample_events(world.log, snapshots, late, limit=1000)
    assert [s.before for s in samples] == [s.before for s in expected]


def test_of_many_events_an_even_sample_is_kept():
    sampler = Sampler(10)
    for number in range(1000):
        sampler.add(number, 0, None, None)

    kept = [each[0] for each in sampler.kept]
    assert 5 <= len(kept) <= 10
    assert {b - a for a, b in pairwise(kept)} == {128}


def test_when_time_is_up_what_was_compared_comes_with_a_mark(stretch):
    world, snapshots = stretch

    found = compare(world, snapshots, is_late=lambda: True)

    assert (found.n_events, found.is_complete, found.curve) == (0, False, ())


def test_a_range_that_is_too_long_is_refused(stretch):
    world, snapshots = stretch

    with pytest.raises(InvalidInput, match="shorter"):
        sample_events(world.log, snapshots, {0: (0, 10**9)}, limit=1)


def test_a_range_may_end_now(stretch):
    assert parse_ranges(stretch[0].log, "0", "now") == parse_ranges(stretch[0].log)


@pytest.mark.parametrize("beyond", [("99999", None), ("0", "99999")])
def test_a_range_beyond_the_end_of_the_log_is_refused(stretch, beyond):
    with pytest.raises(InvalidInput, match="the end of the longest partition, got 99999"):
        parse_ranges(stretch[0].log, *beyond)
