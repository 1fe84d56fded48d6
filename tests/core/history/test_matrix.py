"""Rows of the training matrix, made one by one and in batches."""

import random
from datetime import timedelta

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from recstream.core.columns import IdTable
from recstream.core.events import EPOCH, Event, EventWeights
from recstream.core.history import Draft, Entry, FoldSettings, History, history_rows, matrix_row
from recstream.core.history.pages import Page

INDEX = IdTable([f"p{n}" for n in (3, 0, 7, 1)])
HALF_LIFE_MS = 1e3
RULES = FoldSettings(EventWeights(), HALF_LIFE_MS)

entries = st.builds(
    lambda number, weight, at_ms: Entry(f"p{number}", weight, at_ms, 1, 0, 1),
    st.integers(0, 9),
    st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    st.sampled_from([0, 1, 1, 999, 2_000]),
)


def history_of(given_entries):
    page = {entry.item: entry for entry in given_entries}
    clock_ms = max((entry.at_ms for entry in page.values()), default=0)
    return History("u", clock_ms=clock_ms, pages=(page,))


def by_definition(history):
    """One entry at a time, of items in the index: half-lives passed, and newer entries."""
    found = []
    held = [entry for entry in history.entries() if entry.item in INDEX.rows]
    for entry in held:
        newer = sum(other.at_ms > entry.at_ms for other in held)
        weight = entry.weight * np.exp2(np.float64(entry.at_ms - history.clock_ms) / HALF_LIFE_MS)
        weight *= np.float32(np.exp2(-newer / 10.0))
        found.append((INDEX.rows[entry.item], np.float32(weight)))
    return sorted(found)


@settings(max_examples=40)
@given(st.lists(st.lists(entries, max_size=9), max_size=4))
def test_rows_of_a_batch_and_of_one_history_are_those_of_the_definition(given_entries):
    histories = [history_of(each) for each in given_entries]

    indptr, columns, weights = history_rows(histories, INDEX.rows, HALF_LIFE_MS)

    for at, history in enumerate(histories):
        part = slice(indptr[at], indptr[at + 1])
        expected = by_definition(history)
        assert list(zip(columns[part].tolist(), weights[part], strict=True)) == expected
        alone = matrix_row(history, INDEX.rows, HALF_LIFE_MS)
        assert list(zip(alone[0].tolist(), alone[1], strict=True)) == expected


def columns_of(history, index):
    return matrix_row(history, index.rows, HALF_LIFE_MS)[0].tolist()


def test_what_a_page_keeps_is_used_for_its_own_index_alone():
    page = Page({item: Entry(item, 1.0, 0, 1, 0, 1) for item in ("p1", "p2")})
    history = History("u", pages=(page,))
    one, other = IdTable(["p1", "p2"]), IdTable(["p0", "p2", "p1"])

    assert columns_of(history, one) == [0, 1]
    assert columns_of(history, other) == [1, 2]
    assert columns_of(history, one) == [0, 1]
    assert matrix_row(history, {"p2": 7}, HALF_LIFE_MS)[0].tolist() == [7]


def test_a_kept_page_follows_the_ids_that_its_index_gains_and_loses():
    page = Page({item: Entry(item, 1.0, 0, 1, 0, 1) for item in ("p1", "p2")})
    history = History("u", pages=(page,))
    index = IdTable(["p1"])

    assert columns_of(history, index) == [0]
    index.add(["p2"])
    assert columns_of(history, index) == [0, 1]
    index.erase(0)
    assert columns_of(history, index) == [1]


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_the_row_after_some_events_is_that_of_pages_read_anew(seed, most):
    chance = random.Random(seed)
    history, index = History("u"), IdTable([f"p{number}" for number in range(5)])
    draft = Draft(history)
    for number in range(60):
        kind = chance.choice(["view", "view", "view", "remove", "dislike"])
        event = Event(
            id=f"e{number}", type=kind, user="u", item=f"p{chance.randrange(10)}",
            ts=EPOCH + timedelta(seconds=number),
        )  # fmt: skip
        draft.add(event, number, 0, RULES)
        if chance.randrange(most):
            continue
        history = draft.history()
        draft = Draft(history)
        if chance.random() < 0.2:
            index.add([f"p{chance.randrange(10)}"])
        if chance.random() < 0.7:
            anew = replace(history, pages=tuple(dict(page) for page in history.pages))
            expected = matrix_row(anew, index.rows, HALF_LIFE_MS)
            found = matrix_row(history, index.rows, HALF_LIFE_MS)
            assert [each.tobytes() for each in found] == [each.tobytes() for each in expected]
