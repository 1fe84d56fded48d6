"""Ratings: the newest one of an item replaces the older one."""

from datetime import timedelta

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from recstream.core.events import EPOCH, Event, EventWeights
from recstream.core.history import table_rows as rows_of
from recstream.core.history.fold import FoldSettings, History, apply

DAY_MS = 86_400_000
NEWEST_RATING = FoldSettings(EventWeights(rate=4.0), half_life_ms=10.0 * DAY_MS, semantics=2)


def rated(value: float, *, item: str = "p", days: float = 0.0, number: int = 0) -> Event:
    return Event(
        id=f"{item}-{value}-{days}-{number}", type="rate", user="u", item=item, value=value,
        ts=EPOCH + timedelta(days=1000 + days),
    )  # fmt: skip


def folded(*events: Event, settings: FoldSettings = NEWEST_RATING) -> History:
    history = History("u")
    for offset, each in enumerate(events):
        history = apply(history, each, offset, 0, settings)
    return history


def weight_of(history: History, item: str = "p") -> float:
    entry = history.find(item)
    assert entry is not None
    return entry.weight


def test_the_newest_rating_of_an_item_replaces_the_older_one() -> None:
    assert weight_of(folded(rated(5.0), rated(0.5, days=1.0))) == 0.0
    assert weight_of(folded(rated(0.5), rated(5.0, days=1.0))) == 4.0
    assert weight_of(folded(rated(5.0), rated(4.0, days=3.0))) == pytest.approx(4.0 * 1.5 / 2.5)


def test_a_rating_that_comes_late_leaves_the_newer_one() -> None:
    assert weight_of(folded(rated(0.5, days=1.0), rated(5.0))) == 0.0


def test_a_rating_replaces_a_rating_only_and_other_events_stay() -> None:
    view = Event(id="v", type="view", user="u", item="p", ts=EPOCH + timedelta(days=1000))

    for events in ((view, rated(5.0)), (rated(5.0), view)):
        assert weight_of(folded(*events)) == pytest.approx(5.0)
        assert weight_of(folded(*events, rated(0.5))) == pytest.approx(1.0)


def test_a_rating_below_the_users_usual_one_has_no_weight() -> None:
    usual = [rated(5.0, item=f"p{at}", number=at) for at in range(3)]

    assert weight_of(folded(*usual, rated(4.5))) == 0.0
    assert weight_of(folded(*usual, rated(5.0))) == 4.0
    assert weight_of(folded(*usual[:2], rated(4.5))) > 0.0


def test_logs_without_a_semantics_add_ratings_up_as_they_did() -> None:
    once = FoldSettings(EventWeights(rate=4.0), half_life_ms=10.0 * DAY_MS)

    old = folded(rated(5.0), rated(5.0, number=1), rated(0.5), settings=once)

    assert weight_of(old) == 8.0
    (_, page), (_, header) = rows_of.changes(None, old)
    assert [len(entry) for entry in msgspec.msgpack.decode(page)] == [6]
    assert len(msgspec.msgpack.decode(header)) == 9


def test_a_rating_from_before_the_semantics_changed_is_replaced_too() -> None:
    before = folded(rated(5.0), settings=FoldSettings(EventWeights(rate=4.0), 10.0 * DAY_MS))

    after = apply(before, rated(0.5, days=1.0), 1, 0, NEWEST_RATING)

    assert weight_of(after) == 0.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["rate", "view", "like", "dislike", "remove"]),
            st.sampled_from("abc"),
            st.sampled_from([0.0, 0.5, 3.0, 5.0]),
            st.integers(0, 9),
            st.sampled_from([1, 2]),
        ),
        max_size=40,
    ),
    st.integers(0, 40),
)
def test_histories_with_ratings_come_back_equal_from_their_rows(made, cut) -> None:
    whole = resumed = History("u")
    for offset, (kind, item, value, days, semantics) in enumerate(made):
        event = Event(
            id=str(offset), type=kind, user="u", item=item, value=value,
            ts=EPOCH + timedelta(days=1000 + days),
        )  # fmt: skip
        version = msgspec.structs.replace(NEWEST_RATING, semantics=semantics)
        if offset == cut and offset:
            stored = dict(rows_of.changes(None, resumed))
            resumed = rows_of.load("u", stored.get)
        whole = apply(whole, event, offset, 0, version)
        resumed = apply(resumed, event, offset, 0, version)
        assert all(entry.weight >= 0.0 for entry in whole.entries())

    assert rows_of.history_digest(whole) == rows_of.history_digest(resumed)
