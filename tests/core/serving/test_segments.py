"""Popularity by segment: boosts by which the popularity of all users becomes that of a segment."""

import math
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recstream.core.serving import segments
from recstream.core.serving.segments import HALF_LIFE_MS, SHRINKAGE, SegmentCounts, _Counts

NOW = 1_700_000_000_000
COOK = (("segment", "cook"),)


def counts_of(**events: list[str]) -> SegmentCounts:
    """Count events at one time; users whose name starts with ``cook`` are cooks."""
    counts = SegmentCounts()
    for user, items in events.items():
        if user.startswith("cook"):
            counts.learn(user, {"segment": "cook"})
        for item in items:
            counts.count(user, item, NOW)
    return counts


def test_a_boost_is_the_logarithm_of_the_segments_share_over_that_of_all():
    counts = counts_of(cook1=["pan"] * 6, cook2=["pan"] * 3 + ["bike"], other=["bike"] * 10)

    found = dict(counts.boosts(COOK, 0.2, 5, NOW))

    # Pans: 9 of 10 events of cooks, 9 of 20 of all. Bikes: 1 of 10, and 11 of 20.
    pan = (9 / (9 / 20) + SHRINKAGE) / (10 + SHRINKAGE)
    bike = (1 / (11 / 20) + SHRINKAGE) / (10 + SHRINKAGE)
    assert found == pytest.approx({"pan": 0.2 * math.log(pan), "bike": 0.2 * math.log(bike)})
    assert found["pan"] > 0 > found["bike"]


def test_events_before_the_property_was_set_or_after_it_was_removed_are_of_no_segment():
    counts = counts_of(late=["pan"] * 5)
    counts.learn("late", {"segment": "cook"})
    counts.learn("late", {"segment": None})
    counts.count("late", "pan", NOW)

    assert counts.boosts(COOK, 0.2, 5, NOW) == []


def test_the_items_whose_share_changes_most_come_first():
    counts = counts_of(cook=["pan"] * 20 + ["pot"] * 10, other=["bike"] * 60)

    assert [item for item, _ in counts.boosts(COOK, 0.2, 2, NOW)] == ["bike", "pan"]


def test_items_that_clients_invent_do_not_grow_the_counts_without_end(monkeypatch):
    monkeypatch.setattr(segments, "MAX_ITEMS", 10)
    counts = counts_of(
        cook=["pan"] * 20 + ["pot"] * 10 + [f"x{at}" for at in range(100)], other=["bike"] * 60
    )

    assert len(counts._all.of) <= 10
    assert all(each.of.keys() <= counts._all.of.keys() for each in counts._segments.values())
    assert counts._all.total == sum(counts._all.of.values())
    assert [item for item, _ in counts.boosts(COOK, 0.2, 2, NOW)] == ["bike", "pan"]


def test_later_events_weigh_more():
    counts = SegmentCounts()
    counts.learn("u", {"segment": "cook"})
    counts.count("u", "old", NOW)
    counts.count("u", "new", int(NOW + 3 * HALF_LIFE_MS))
    counts.count("other", "old", int(NOW + 3 * HALF_LIFE_MS))

    found = dict(counts.boosts(COOK, 1.0, 5, int(NOW + 3 * HALF_LIFE_MS)))

    assert found["new"] > 0 > found["old"]


FUTURE = 250_000_000_000_000


@given(
    st.lists(
        st.sampled_from([0, 10**12, NOW, 7 * 10**12, FUTURE]) | st.integers(0, FUTURE),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([0, NOW, FUTURE]),
)
@example([10**12, NOW, 0], NOW)
@example([NOW, FUTURE], NOW)
def test_boosts_are_finite_whatever_times_events_claim(times_ms, now_ms):
    counts = SegmentCounts()
    counts.learn("u", {"segment": "cook", "land": "fr"})
    for number, at_ms in enumerate(times_ms):
        counts.count("u" if number % 2 else "v", f"item{number}", at_ms)

    properties = (("segment", "cook"), ("land", "fr"))
    assert all(math.isfinite(by) for _, by in counts.boosts(properties, 1.0, 5, now_ms))


def test_weights_fade_however_old_the_first_event_is():
    fresh, old = SegmentCounts(), SegmentCounts()
    old.count("other", "first", 0)
    for counts in (fresh, old):
        counts.learn("u", {"segment": "cook"})
        for age, item in ((10, "old"), (5, "pan"), (0, "pan")):
            at_ms = int(NOW - age * HALF_LIFE_MS)
            counts.count("u", item, at_ms)
            counts.count("other", "bike", at_ms)

    expected = dict(fresh.boosts(COOK, 1.0, 3, NOW))
    found = {item: by for item, by in old.boosts(COOK, 1.0, 4, NOW) if item != "first"}
    assert found == pytest.approx(expected)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from([0.5, 1.0, 2.0])) | st.integers(1, 4)
    )
)
def test_the_first_items_are_those_of_a_sort_at_any_time(steps):
    counts, weights = _Counts(), Counter()
    for step in steps:
        if isinstance(step, int):
            expected = sorted(weights, key=lambda item: (weights[item], item), reverse=True)
            assert counts.first(step) == expected[:step]
        else:
            counts.add(*step)
            weights[step[0]] += step[1]
