"""The fold of one user's events: what counts, how much, and what it is stored as."""

import math
from datetime import timedelta
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from recstream.core.events import EPOCH, Event, EventWeights
from recstream.core.history import table_rows as rows_of
from recstream.core.history.fold import (
    CHUNK_IDS,
    PAGE_ENTRIES,
    WINDOW_IDS,
    Draft,
    FoldSettings,
    History,
    apply,
    seen_items,
)
from recstream.core.history.matrix import matrix_row

DAY_MS = 86_400_000
RULES = FoldSettings(EventWeights(view=1.0, purchase=5.0, rate=4.0), half_life_ms=10.0 * DAY_MS)


def event(number, kind="view", item="p1", *, days=0.0, value=None):
    items = ("p1",) if kind == "impression" else ()
    return Event(
        id=f"e{number}", type=kind, user="u", item=None if items else item, items=items,
        ts=EPOCH + timedelta(days=1000 + days), value=value,
    )  # fmt: skip


def fold(events, history=None, *, first=0):
    history = History("u") if history is None else history
    for offset, each in enumerate(events, start=first):
        history = apply(history, each, offset, 0, RULES)
    return history


def stored(history):
    return dict(rows_of.changes(None, history))


def test_weights_of_one_item_add_up_and_halve_with_the_half_life():
    history = fold([event(1), event(2, "purchase", days=10)])

    entry = history.find("p1")

    assert entry.weight == 1.0 * 0.5 + 5.0
    assert entry.n_events == 2
    assert entry.offset == 1


def test_an_event_that_comes_late_is_added_as_faded_as_it_is_by_then():
    in_order = fold([event(1), event(2, "purchase", days=10)])
    late = fold([event(2, "purchase", days=10), event(1)])

    assert late.find("p1").weight == in_order.find("p1").weight
    assert late.clock_ms == in_order.clock_ms


def test_a_row_fades_by_time_and_by_the_users_newer_entries():
    history = fold([event(1, item="p1"), event(2, item="p2", days=20)])

    columns, weights = matrix_row(history, {"p1": 4, "p2": 1}, RULES.half_life_ms)

    assert columns.tolist() == [1, 4]
    # Twenty days are two half-lives; one newer entry is a tenth of one.
    assert weights.tolist() == pytest.approx([1.0, 0.25 * 2**-0.1])


def test_a_row_leaves_out_items_the_model_lacks_but_they_stay_seen():
    history = fold([event(1, item="new"), event(2, item="p1")])

    columns, _ = matrix_row(history, {"p1": 0}, RULES.half_life_ms)

    assert columns.tolist() == [0]
    assert seen_items(history) == {"new", "p1"}


def test_a_dislike_takes_the_weight_and_keeps_the_item_seen():
    history = fold([event(1, "purchase"), event(2, "dislike")])

    columns, weights = matrix_row(history, {"p1": 0}, RULES.half_life_ms)

    assert (columns.tolist(), weights.tolist()) == ([0], [0.0])


def test_a_removed_item_may_come_back():
    history = fold([event(1), event(2, "remove")])

    assert seen_items(history) == set()
    assert history.n_items == 0
    assert fold([event(3)], history, first=2).find("p1").n_events == 1


def test_removing_what_is_not_there_only_moves_the_position():
    history = fold([event(1, "remove")])

    assert (history.n_items, history.n_ids, history.offset) == (0, 1, 0)


def test_a_rating_below_neutral_is_seen_without_weight():
    history = fold([event(1, "rate", value=2.0), event(2, "rate", item="p2", value=5.0)])

    assert [history.find(item).weight for item in ("p1", "p2")] == [0.0, 4.0]


def test_an_impression_changes_nothing():
    before = fold([event(1)])

    assert apply(before, event(2, "impression"), 1, 0, RULES) is before


def test_a_record_delivered_again_changes_nothing():
    history = fold([event(1), event(2)])

    assert apply(history, event(3), 1, 0, RULES) is history
    assert apply(history, event(3), 0, 5, RULES) is history
    assert apply(history, event(3), 1, 1, RULES) is not history


@pytest.mark.parametrize("other", [event(1), event(1, "purchase", "p9")])
def test_a_repeated_id_changes_nothing_whatever_its_body(other):
    history = fold([event(1), event(2)])

    assert apply(history, other, 7, 0, RULES) is history


def test_a_request_of_a_thousand_events_sent_twice_counts_once():
    batch = [event(number, item=f"p{number % 50}") for number in range(1000)]
    once = fold(batch)

    assert fold(batch, once, first=1000) is once


@pytest.mark.parametrize("n_events", [WINDOW_IDS + 1, WINDOW_IDS + CHUNK_IDS, 2 * WINDOW_IDS + 7])
def test_each_of_the_newest_ids_is_remembered_in_memory_and_from_storage(n_events):
    history = fold([event(number, item=f"p{number % 9}") for number in range(n_events)])
    again = rows_of.load("u", stored(history).get)

    for number in range(n_events - WINDOW_IDS, n_events):
        assert apply(history, event(number), n_events, 0, RULES) is history
        assert apply(again, event(number), n_events, 0, RULES) is again


def test_an_id_older_than_the_window_counts_again():
    filler = [event(number) for number in range(1, WINDOW_IDS + 2 * CHUNK_IDS)]
    history = fold([event(0), *filler])

    assert apply(history, event(0), 10_000, 0, RULES) is not history


@pytest.mark.parametrize("n_before", [0, WINDOW_IDS - 40])
def test_an_id_is_found_only_where_an_id_begins(n_before):
    filler = [event(number) for number in range(n_before + 2)]
    history = fold(filler)
    across = history.window[-12:-4]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recstream.core.history.fold.id_digest", lambda _: across)
        assert apply(history, event(9_999), 10_000, 0, RULES) is not history
        patch.setattr("recstream.core.history.fold.id_digest", lambda _: history.window[-8:])
        assert apply(history, event(9_999), 10_000, 0, RULES) is history


def test_an_event_moves_a_bounded_number_of_rows_however_long_the_history():
    sizes = []
    history = History("u")
    for number in range(3000):
        after = apply(history, event(number, item=f"p{number}"), number, 0, RULES)
        changed = rows_of.changes(history if history.n_ids else None, after)
        sizes.append((len(changed), sum(len(k) + len(v) for k, v in changed)))
        history = after

    assert max(count for count, _ in sizes) <= 5
    assert max(size for _, size in sizes) < 16 * 1024
    recent = np.mean([size for _, size in sizes[-500:]])
    assert recent < 2.0 * np.mean([size for _, size in sizes[100:600]])


def test_pages_stay_near_their_bound():
    history = fold([event(number, item=f"item-{number}") for number in range(2000)])

    assert len(history.pages) == math.ceil(2000 / PAGE_ENTRIES)
    assert max(len(page) for page in history.pages) < 4 * PAGE_ENTRIES
    assert all(history.find(f"item-{number}") for number in range(2000))


@pytest.mark.parametrize("n_items", [0, 1, 30, 100, 777])
def test_many_entries_are_found_as_each_one(n_items):
    history = fold([event(number, item=f"item-{number}") for number in range(n_items)])
    items = [f"item-{number}" for number in range(n_items + 3)]

    assert history.find_each(items) == [history.find(item) for item in items]
    assert sum(entry is not None for entry in history.find_each(items)) == n_items


events = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["view", "purchase", "dislike", "remove", "like", "impression"]),
        st.integers(0, 90),
        st.integers(0, 30),
    ),
    max_size=120,
).map(lambda drawn: [event(n, kind, f"p{item}", days=days) for n, kind, item, days in drawn])


@settings(max_examples=60)
@given(events, events)
def test_folding_a_then_b_is_folding_a_plus_b_even_through_storage(a, b):
    whole = fold([*a, *b])
    part = fold(a)

    again = rows_of.load("u", stored(part).get) if part.n_ids else History("u")
    resumed = fold(b, again, first=len(a))

    assert resumed == whole
    assert rows_of.history_digest(resumed) == rows_of.history_digest(whole)


@settings(max_examples=60)
@given(events, st.integers(1, 9))
def test_the_changed_rows_alone_bring_the_stored_rows_up_to_date(drawn, step):
    table = {}
    history = History("u")
    for start in range(0, len(drawn), step):
        after = fold(drawn[start : start + step], history, first=start)
        if after is not history:
            table.update(rows_of.changes(history if history.n_ids else None, after))
        history = after

    if history.n_ids:
        assert table == stored(history)
        assert rows_of.load("u", table.get) == history


@settings(max_examples=60)
@given(events, events)
def test_a_draft_of_many_events_is_the_history_of_one_after_another(a, b):
    first = fold(a)
    rows_before = stored(first)
    one_by_one = [first]
    for each in b:
        one_by_one.append(fold([each], one_by_one[-1], first=len(a) + len(one_by_one) - 1))
    draft = Draft(first)

    is_folded = [draft.add(each, at, 0, RULES) for at, each in enumerate(b, start=len(a))]

    assert is_folded == [old is not new for old, new in pairwise(one_by_one)]
    assert draft.history() == one_by_one[-1]
    assert rows_of.changes(first, draft.history()) == rows_of.changes(first, one_by_one[-1])
    assert stored(first) == rows_before


@settings(max_examples=40)
@given(events)
def test_delivering_everything_twice_changes_no_byte(drawn):
    once = fold(drawn)

    twice = once
    for offset, each in enumerate(drawn):
        twice = apply(twice, each, offset, 0, RULES)

    assert twice is once


def test_a_history_with_a_missing_row_is_refused():
    table = stored(fold([event(1)]))
    del table[rows_of.page_key(b"u", 0)]

    with pytest.raises(ValueError, match=r"row b'p0' is missing; rebuild the table"):
        rows_of.load("u", table.get)


def test_a_row_that_is_not_ours_is_refused():
    with pytest.raises(ValueError, match="rebuild the table from the log"):
        rows_of.load("u", {b"u": b"\xc1"}.get)


def test_an_unknown_user_has_no_history():
    assert rows_of.load("u", {}.get) is None


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        (b"u", (b"u", "h", 0)),
        (rows_of.page_key(b"u", 12), (b"u", "p", 12)),
        (rows_of.chunk_key(b"u", 3), (b"u", "r", 3)),
        (rows_of.list_key(b"u"), (b"u", "l", 0)),
        (rows_of.APPLIED_KEY, (b"", "a", 0)),
    ],
)
def test_a_key_says_what_its_row_is(key, parts):
    assert rows_of.split_key(key) == parts
