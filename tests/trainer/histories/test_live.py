"""Histories as columns: what was put is what is read, whatever moves in between."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.core.evaluation import hold_out
from recstream.core.history import Entry, History, matrix_row
from recstream.core.popularity import fit_popularity
from recstream.trainer.histories import Histories, UserColumns
from recstream.trainer.histories import live as module
from recstream.trainer.training import dataset
from recstream.trainer.training.dataset import (
    TrainingSnapshot,
    build_dataset,
    columns_of,
    popularity_of,
)

CLOCK_MS = 1_700_000_000_000
ENTRIES = st.builds(
    Entry, st.sampled_from([f"i{n}" for n in range(9)]), st.floats(0, 9),
    st.integers(CLOCK_MS - 50, CLOCK_MS), st.just(0), st.integers(0, 9_999), st.integers(1, 2),
)  # fmt: skip
PAGES = st.lists(ENTRIES, max_size=6, unique_by=lambda each: each.item)


def history(user, entries, n_ids=1):
    page = {each.item: each for each in entries}
    return History(user, clock_ms=CLOCK_MS, n_items=len(page), n_ids=n_ids, pages=(page,))


def put(live, made, partition=0):
    live.put(UserColumns.of(made, partition, live.items))
    live.offsets[partition] = 10_000


def read(columns):
    """Return all histories by user."""
    rows = columns.known_rows().tolist()
    return {each.user: each for each in columns.histories(rows)}


@settings(max_examples=60)
@given(
    st.lists(st.dictionaries(st.sampled_from("abcd"), PAGES | st.none(), max_size=4), max_size=8),
    st.sets(st.integers(0, 8), max_size=3),
)
def test_histories_are_the_newest_that_were_put_and_snapshots_those_of_their_moment(
    steps, frozen_at
):
    live, expected, snapshots = Histories(), {}, []
    limits = module.MAX_EAGER, module.BLOCK
    module.MAX_EAGER, module.BLOCK = 0, 3
    try:
        for number, step in enumerate(steps):
            if number in frozen_at:
                snapshots.append((live.freeze(), dict(expected)))
            made = {user: history(user, page) for user, page in step.items() if page is not None}
            put(live, list(made.values()))
            expected |= made
            for user in step.keys() - made.keys():
                live.remove(user)
                expected.pop(user, None)
        assert read(live) == expected
        assert (live.n_users, live.n_events) == (len(expected), len(expected))
        for frozen, then in snapshots:
            assert read(frozen.columns()) == then
    finally:
        module.MAX_EAGER, module.BLOCK = limits


def test_gaps_are_closed_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 16)
    live, expected = Histories(), {}
    for size in range(1, 60):
        made = {
            f"u{n}": history(
                f"u{n}", [Entry(f"i{at}", 1.0, CLOCK_MS, 0, at, 1) for at in range(size)]
            )
            for n in range(5)
        }
        put(live, list(made.values()))
        expected |= made

    assert read(live) == expected
    assert live.n_entries <= 1.8 * 5 * 59


def test_an_entry_takes_20_bytes():
    live = Histories()
    put(live, [history("u", [Entry(f"i{at}", 1.0, CLOCK_MS, 0, at, 1) for at in range(100)])])

    assert live.words.nbytes == 20 * 100


def test_times_of_69_years_and_offsets_of_8_million_records_are_exact():
    old = Entry("old", 0.1 + 0.2, CLOCK_MS - 2**41 + 1, 0, 10**12 - 2**23 + 1, 1)
    older = Entry("older", 1.0, CLOCK_MS - 2**41 - 5, 0, 10**12, 2)
    live = Histories()
    live.put(UserColumns.of([history("u", [old, older])], 3, live.items))
    live.offsets[3] = 10**12 + 1

    (found,) = live.histories([0])

    assert found.find("old") == old
    assert found.find("older").at_ms == CLOCK_MS - 2**41 + 1


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from([f"u{n}" for n in range(6)]), PAGES, max_size=6))
def test_a_dataset_is_made_of_the_rows_of_the_histories(pages):
    live = Histories()
    made = [history(user, page) for user, page in pages.items()]
    put(live, made)

    found = build_dataset(TrainingSnapshot(live, {}, 0), ["i3", "i8"], 40.0, products=["extra"])

    assert found.items[:2] == ["i3", "i8"]
    users = live.users.names(found.users.tolist())
    assert users == sorted(pages)
    rows = {item: at for at, item in enumerate(found.items)}
    by_user = {each.user: each for each in made}
    for at, user in enumerate(users):
        columns, weights = matrix_row(by_user[user], rows, 40.0)
        part = slice(found.matrix.indptr[at], found.matrix.indptr[at + 1])
        assert found.matrix.indices[part].tolist() == columns.tolist()
        assert found.matrix.data[part].tobytes() == weights.tobytes()
    seen = [
        (rows[each.item], each.at_ms)
        for one in made for each in one.entries() if each.weight > 0.0
    ]  # fmt: skip
    items, at_ms = np.array(seen, np.int64).reshape(-1, 2).T
    expected = fit_popularity(items, at_ms, len(rows))
    columns = columns_of(list(live.items), rows)
    for popularity in (found.popularity(2), popularity_of(live, found.users, columns, len(rows))):
        assert popularity.sums.tobytes() == expected.sums.tobytes()
        assert popularity.credit.tobytes() == expected.credit.tobytes()


@pytest.mark.parametrize("is_tied", [False, True])
def test_the_newest_entries_are_held_out_as_of_whole_histories(is_tied):
    generator = np.random.Generator(np.random.PCG64(0))
    made = []
    for user in range(400):
        items = generator.permutation(60)[: generator.integers(1, 30)]
        times = CLOCK_MS - generator.integers(1, 3 if is_tied else 10**9, len(items))
        made.append(
            history(f"u{user}", [
                Entry(f"i{item}", float(generator.integers(0, 3)), int(at), 0,
                      int(generator.integers(0, 9_999)), int(generator.integers(1, 3)))
                for item, at in zip(items, times, strict=True)
            ])
        )  # fmt: skip
    live = Histories()
    put(live, made)

    found = build_dataset(TrainingSnapshot(live, {}, 0), [], 1e9, with_held_out=True)

    expected = hold_out(sorted(made, key=lambda each: each.user))
    assert expected.items
    assert found.held.items == expected.items
    rows = {item: at for at, item in enumerate(found.items)}
    for at, each in enumerate(expected.histories):
        columns, weights = matrix_row(each, rows, 1e9)
        part = slice(found.matrix.indptr[at], found.matrix.indptr[at + 1])
        assert found.matrix.indices[part].tolist() == columns.tolist()
        assert found.matrix.data[part].tobytes() == weights.tobytes()


def test_popularity_of_the_newest_entries_is_that_of_all(monkeypatch):
    generator = np.random.Generator(np.random.PCG64(0))
    made = [
        history(f"u{user}", [
            Entry(f"i{item}", 1.0, CLOCK_MS - int(generator.integers(0, 10**9)), 0, 0, 1)
            for item in generator.permutation(50)[:20]
        ])
        for user in range(600)
    ]  # fmt: skip
    live = Histories()
    put(live, made)
    columns = np.arange(len(live.items), dtype=np.int32)
    whole = popularity_of(live, live.known_rows(), columns, 50)
    monkeypatch.setattr(dataset, "N_RECENT", 9_000)

    found = popularity_of(live, live.known_rows(), columns, 50)

    assert found.clock == whole.clock == 12_000
    np.testing.assert_array_equal(found.sums[:, -1], whole.sums[:, -1])
    short = found.half_lives <= 64
    np.testing.assert_allclose(
        (found.sums / found.totals)[:, short], (whole.sums / whole.totals)[:, short], atol=1e-12
    )
