"""Impressions in a history: counted by item until the user acts on it, and bounded."""

from hypothesis import given
from hypothesis import strategies as st

from recstream.core.events import Event, EventWeights, from_timestamp_ms
from recstream.core.history.fold import MAX_IMPRESSIONS, FoldSettings, History, apply

COUNTING = FoldSettings(EventWeights(), 1e6, counts_impressions=True)


def shown(number: int, *items: str) -> Event:
    return Event(
        id=f"s{number}", type="impression", user="u", items=items, ts=from_timestamp_ms(number)
    )


def viewed(number: int, item: str) -> Event:
    return Event(id=f"v{number}", type="view", user="u", item=item, ts=from_timestamp_ms(number))


def test_impressions_are_counted_until_something_is_done_about_the_item() -> None:
    seen = apply(History("u"), shown(0, "a", "b"), 0, 0, COUNTING)
    seen = apply(seen, shown(1, "b", "c", "b"), 1, 0, COUNTING)

    assert dict(seen.impressions) == {"a": 1, "b": 2, "c": 1}
    assert (seen.offset, seen.n_ids, seen.n_items) == (1, 0, 0)
    acted = apply(seen, viewed(2, "b"), 2, 0, COUNTING)
    assert dict(acted.impressions) == {"a": 1, "c": 1}
    assert apply(acted, shown(3, "b"), 3, 0, COUNTING) is acted
    assert apply(acted, shown(1, "a"), 1, 0, COUNTING) is acted


@given(st.lists(st.lists(st.integers(0, 200).map(str), min_size=1, max_size=30), max_size=12))
def test_what_was_shown_is_bounded_and_the_newest_stays(lists: list[list[str]]) -> None:
    seen = History("u")
    for number, items in enumerate(lists):
        seen = apply(seen, shown(number, *items), number, 0, COUNTING)

    newest = [item for items in lists for item in items]
    assert len(seen.impressions) == min(MAX_IMPRESSIONS, len(set(newest)))
    assert not newest or newest[-1] in dict(seen.impressions)
