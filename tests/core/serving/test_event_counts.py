"""Counts for shelves: trends against an item's own past, baskets and their lift, repeats."""

import math

import pytest

from recstream.core.columns import IdTable
from recstream.core.events import Event, from_timestamp_ms
from recstream.core.serving import event_counts
from recstream.core.serving.event_counts import (
    DAY_MS,
    FAST_MS,
    MAX_BASKET,
    SHRINKAGE,
    SLOW_MS,
    EventCounts,
)

NOW = 1_700_000_000_000


def event(user: str, item: str, at_ms: float, kind: str = "view", session: str | None = None):
    ts = from_timestamp_ms(int(at_ms))
    return Event(id="", type=kind, user=user, item=item, ts=ts, session=session)  # type: ignore[arg-type]


def counted(*events: Event) -> EventCounts:
    counts = EventCounts()
    for each in events:
        counts.observe(each)
    return counts


def test_an_item_trends_by_its_rate_now_against_its_own_past():
    steady = [event("u", "steady", NOW - day * DAY_MS) for day in range(20, 0, -1)]
    burst = [event("u", "burst", NOW - 1000 * at) for at in range(20, 0, -1)]
    counts = counted(*steady, *burst)

    steady_trend, burst_trend, none = counts.trends(IdTable(["steady", "burst", "none"]), NOW)

    fast = sum(2 ** (-1000 * at / FAST_MS) for at in range(1, 21)) / FAST_MS
    slow = sum(2 ** (-1000 * at / SLOW_MS) for at in range(1, 21)) / SLOW_MS
    prior = 2.0 / FAST_MS
    assert burst_trend == pytest.approx(math.log2((fast + prior) / (slow + prior)))
    assert burst_trend > 2.0
    assert abs(steady_trend) < 0.2
    assert none == 0.0


def test_the_order_of_events_that_come_late_does_not_matter():
    events = [event("u", "a", NOW - at * DAY_MS) for at in (3, 1, 2)]

    late, sorted_ = (
        counted(*each).trends(IdTable(["a"]), NOW)
        for each in (events, sorted(events, key=lambda e: e.ts))
    )

    assert late == pytest.approx(sorted_, rel=1e-12)


def test_items_of_one_session_are_a_basket_and_lift_is_shrunk():
    counts = counted(
        *(event(f"u{at}", item, NOW, "purchase", "s") for at in range(4) for item in "ab"),
        *(event(f"v{at}", "c", NOW, "purchase", "s") for at in range(4)),
        event("u0", "c", NOW, "view", "s"),
    )

    assert (counts.n_baskets, counts.n_bought["a"], counts.together["a"]) == (8, 4, {"b": 4})
    assert counts.lifts("a") == {"b": (4 + SHRINKAGE) / (4 * 4 / 8 + SHRINKAGE)}
    assert counts.lifts("c") == counts.lifts("nowhere") == {}


def test_without_a_session_an_hour_ends_a_basket():
    near = counted(event("u", "a", NOW, "purchase"), event("u", "b", NOW + 3_000_000, "purchase"))
    far = counted(event("u", "a", NOW, "purchase"), event("u", "b", NOW + 4_000_000, "purchase"))

    assert (near.n_baskets, dict(near.together["a"])) == (1, {"b": 1})
    assert (far.n_baskets, dict(far.together["a"])) == (2, {})


def test_old_purchases_that_are_imported_after_new_ones_are_baskets_of_their_own():
    counts = counted(
        event("u", "new", NOW, "purchase"),
        event("u", "a", NOW - 400 * DAY_MS, "purchase"),
        event("u", "b", NOW - 300 * DAY_MS, "purchase"),
        event("u", "c", NOW - 300 * DAY_MS, "purchase"),
    )

    assert counts.n_baskets == 3
    assert {item: dict(each) for item, each in counts.together.items()} == {
        "b": {"c": 1},
        "c": {"b": 1},
    }


def test_a_basket_without_end_is_bounded():
    counts = counted(*(event("u", f"i{at}", NOW, "purchase", "s") for at in range(200)))

    assert len(counts.together["i0"]) == MAX_BASKET - 1
    assert counts.n_bought["i199"] == 0


def test_what_is_bought_again_is_due_after_its_usual_time():
    week = 7 * DAY_MS
    milk = [event("u", "milk", NOW - at * week, "purchase") for at in (3, 2, 1)]
    counts = counted(*milk, event("u", "piano", NOW - week, "purchase"))

    share = 2 / (3 + SHRINKAGE)
    assert counts.due("milk", int(week)) == pytest.approx(share)
    assert counts.due("milk", int(week / 2)) == pytest.approx(share / 2)
    assert counts.due("piano", int(week)) == 0.0


def test_trends_follow_new_items_and_another_table_of_ids():
    events = [event("u", item, NOW - at) for at, item in enumerate("abca")]
    counts = counted(*events[:2])
    table = IdTable(["b", "c"])
    counts.trends(table, NOW)

    for each in events[2:]:
        counts.observe(each)
    grown = counts.trends(table, NOW)
    table.add(["a"])
    longer, other = counts.trends(table, NOW), counts.trends(IdTable("abc"), NOW)

    assert grown.tolist() == counted(*events).trends(IdTable("bc"), NOW).tolist()
    assert longer.tolist() == other[[1, 2, 0]].tolist()
    assert (other > 0.0).all()


def test_items_that_clients_invent_do_not_grow_the_counts_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_counts, "MAX_ITEMS", 10)
    real = [
        event("u", item, NOW + at, "purchase", session=f"real-{at}")
        for at in range(3)
        for item in ("a", "b")
    ]
    invented = [
        event("v", f"x{at}", NOW + 10 + at, "purchase", session=f"{at // 5}") for at in range(100)
    ]

    few, many = counted(*real), counted(*real, *invented)

    assert len(many._row_of) <= 10
    assert many.n_bought.keys() == many._row_of.keys() >= {"a", "b"}
    assert all(each.keys() <= many._row_of.keys() for each in many.together.values())
    assert many._n_pairs == sum(map(len, many.together.values()))
    table = IdTable(["a", "b"])
    assert many.trends(table, NOW + 200).tolist() == few.trends(table, NOW + 200).tolist()
    assert many.together["a"] == few.together["a"] == {"b": 3}


def test_pairs_of_the_items_bought_least_are_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_counts, "MAX_PAIRS", 8)
    often = [
        event("u", item, NOW + at, "purchase", session=f"often-{at}")
        for at in range(3)
        for item in ("a", "b")
    ]
    once = [event("v", f"x{at}", NOW + at, "purchase", session=f"{at // 2}") for at in range(40)]

    counts = counted(*often, *once)

    assert counts.lifts("a").keys() == {"b"}
    assert counts._n_pairs == sum(map(len, counts.together.values())) <= 8
