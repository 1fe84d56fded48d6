"""The table of neighbours against dictionaries: what a put changes, what histories receive."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recstream.core.neighbours.behaviour import (
    WIDTH,
    Neighbours,
    SeedRule,
    fit_behaviour,
    gather,
    seed_weights,
)
from recstream.core.neighbours.co_occurrence import REACH, WINDOW
from recstream.core.numeric.neighbour_tables import MAX_SEEDS, RECENT, write_contributions
from recstream.errors import InvalidInput


def slow_put(lists: dict[int, dict[int, float]], item: int, near: dict[int, float]) -> None:
    """The rule of `Neighbours.put_all`, with dictionaries."""

    def cut(row: int) -> None:
        best = sorted(lists[row].items(), key=lambda pair: (-pair[1], pair[0]))
        lists[row] = dict(best[:WIDTH])

    for other in lists[item]:
        lists[other].pop(item, None)
    lists[item] = {row: weight for row, weight in near.items() if row != item and weight > 0}
    cut(item)
    for other, weight in list(lists[item].items()):
        lists[other][item] = weight
        cut(other)


def as_lists(table: Neighbours) -> dict[int, list[tuple[int, float]]]:
    """Every list of a table, in order."""
    return {
        row: list(zip(near.tolist(), weights.tolist(), strict=True))
        for row in range(len(table))
        for near, weights in [table.of(row)]
    }


def filled(n_items: int = 200, seed: int = 0) -> Neighbours:
    """A table with full lists."""
    rng = np.random.default_rng(seed)
    table = Neighbours.empty(n_items)
    near = np.array([rng.permutation(n_items)[:WIDTH] for _ in range(n_items)])
    table.put_all(np.arange(n_items), near, rng.random(near.shape))
    return table


def test_an_item_enters_the_lists_of_its_neighbours():
    table = Neighbours.empty(4)

    table.put(0, [2, 3], [0.5, 0.75])

    assert as_lists(table) == {0: [(3, 0.75), (2, 0.5)], 1: [], 2: [(0, 0.5)], 3: [(0, 0.75)]}


def test_an_item_put_again_leaves_the_lists_of_neighbours_it_lost():
    table = Neighbours.empty(4)
    table.put(0, [2, 3], [0.5, 0.75])

    table.put(0, [1, 3], [0.5, 0.25])

    assert as_lists(table) == {0: [(1, 0.5), (3, 0.25)], 1: [(0, 0.5)], 2: [], 3: [(0, 0.25)]}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 39),
            st.dictionaries(st.integers(0, 39), st.integers(0, 5).map(lambda w: w / 8)),
        ),
        max_size=60,
    )
)
def test_puts_do_what_dictionaries_do(puts: list[tuple[int, dict[int, float]]]):
    table, lists = Neighbours.empty(40), {row: {} for row in range(40)}

    for item, near in puts:
        best = dict(sorted(near.items(), key=lambda pair: (-pair[1], pair[0]))[:WIDTH])
        table.put(item, list(best), list(best.values()))
        slow_put(lists, item, best)

    expected = {
        row: sorted(near.items(), key=lambda pair: (-pair[1], pair[0]))
        for row, near in lists.items()
    }
    assert as_lists(table) == expected


def test_growing_keeps_lists_and_adds_empty_ones():
    table = filled(50)
    before = as_lists(table)

    for size in (50, 51, 300, 10):
        table.grow(size)

    assert len(table) == 300
    assert as_lists(table) == {**before, **{row: [] for row in range(50, 300)}}


def test_a_table_comes_back_from_its_arrays():
    table = filled()

    again = Neighbours.from_arrays(table.arrays())

    assert as_lists(again) == as_lists(table)


@pytest.mark.parametrize(
    ("rows", "weights", "message"),
    [
        ([9], [0.5], "among 9 items"),
        ([1], [np.nan], "finite"),
        ([1, 2], [0.5], "one length"),
        (list(range(WIDTH + 1)), [0.5] * (WIDTH + 1), "at most"),
    ],
)
def test_what_cannot_be_neighbours_is_refused(rows: list[int], weights: list[float], message: str):
    table = Neighbours.empty(9)

    with pytest.raises(InvalidInput, match=message):
        table.put(0, rows, weights)

    assert as_lists(table) == {row: [] for row in range(9)}


def test_what_cannot_be_a_table_is_refused():
    good = filled(50).arrays()

    for wrong in (
        {"rows": good["rows"]},
        good | {"rows": good["rows"].astype(np.int64)},
        good | {"rows": good["rows"] + 50},
        good | {"rows": good["rows"][:, 1:]},
    ):
        with pytest.raises(InvalidInput):
            Neighbours.from_arrays(wrong)


def test_gathering_adds_what_every_entry_gives():
    tables = [(filled(seed=1), 2.0), (filled(seed=2), 0.25)]
    rng = np.random.default_rng(3)
    columns = np.sort(rng.permutation(200)[:30]).astype(np.int32)
    v = seed_weights(columns, rng.random(30).astype(np.float32))

    told = gather(columns, v, tables)

    expected: dict[int, float] = defaultdict(float)
    for table, gain in tables:
        for item, strength in zip(columns.tolist(), v.tolist(), strict=True):
            if strength > 0:
                for near, weight in zip(*map(np.ndarray.tolist, table.of(item)), strict=True):
                    expected[near] += gain * (strength * weight)
    assert told.rows.tolist() == sorted(expected)
    assert told.total.tolist() == [expected[row] for row in sorted(expected)]
    shares = np.zeros((len(tables), len(told.rows), len(columns)))
    for (table, gain), out in zip(tables, shares, strict=True):
        write_contributions(columns, v, table.rows, table.weights, gain, told.rows, out)
    np.testing.assert_allclose(shares.sum(axis=(0, 2)), told.total, rtol=1e-12)


def test_seeds_are_the_strongest_entries_with_a_weight():
    weights = np.linspace(2.0, 0.0, RECENT + 5, dtype=np.float32)
    columns = np.arange(len(weights), dtype=np.int32)

    v = seed_weights(columns[::-1].copy(), weights[::-1].copy())[::-1]

    assert np.flatnonzero(v).tolist() == list(range(RECENT))
    assert (np.diff(v[:RECENT]) < 0).all()
    assert seed_weights(columns[:2], np.zeros(2, np.float32)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("version", "n_seeds"), [(1, RECENT), (2, 40), (3, 40)])
def test_one_seed_weighs_one_and_many_weigh_four_at_most(version: int, n_seeds: int):
    equal = np.full(40, 0.1, np.float32)
    columns = np.arange(40, dtype=np.int32)

    rule = SeedRule.of(version)
    assert seed_weights(columns[:1], equal[:1], rule).tolist() == [1.0]
    np.testing.assert_allclose(seed_weights(columns[:2], equal[:2], rule), [0.8, 0.8])
    many = seed_weights(columns, equal, rule)
    np.testing.assert_allclose(many[:n_seeds], 4 / (3 + n_seeds), rtol=1e-6)
    assert np.count_nonzero(many) == n_seeds


def test_entries_as_strong_as_the_last_seed_are_seeds_up_to_a_limit():
    columns = np.arange(MAX_SEEDS + 60, dtype=np.int32)
    weights = np.full(len(columns), 0.5, np.float32)
    weights[::40] = 1.0
    weights[1::40] = 0.25

    v = seed_weights(columns, weights)

    strong, equal, weak = (v[weights == each] for each in (1.0, 0.5, 0.25))
    assert (strong > 0).all()
    assert not weak.any()
    assert np.count_nonzero(equal) == MAX_SEEDS - len(strong)
    assert not equal[MAX_SEEDS - len(strong) :].any()


@pytest.mark.parametrize(("rule", "decay"), [(SeedRule(), 0.8), (SeedRule(decay=0.5), 0.5)])
def test_strength_falls_with_each_stronger_entry_and_the_root_of_the_weight(
    rule: SeedRule, decay: float
):
    weights = np.array([0.25, 1.0, 0.25], np.float32)
    parts = np.array([0.5 * decay, 1.0, 0.5 * decay])

    v = seed_weights(np.arange(3, dtype=np.int32), weights, rule)

    np.testing.assert_allclose(v, parts * 4 / (3 + parts.sum()), rtol=1e-6)


def slow_behaviour(
    owners: list[int], items: list[int], times: list[int], n_items: int, version: int
) -> dict[int, list[tuple[int, float]]]:
    """The formula of `fit_behaviour`, pair by pair."""
    histories: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for owner, item, at in zip(owners, items, times, strict=True):
        histories[owner].append((at, item))
    sums: dict[tuple[int, int], float] = defaultdict(float)
    counts = np.zeros(n_items)
    newest = [sorted(history)[-WINDOW:] for history in histories.values()]
    for history in newest:
        counts[[item for _, item in history]] += 1
        if version == 1:
            history = [(at, item) for at, (_, item) in enumerate(history)]  # noqa: PLW2901
        moments = [at for at, _ in history]
        for at, item in history:
            for then, near in history:
                between = bisect_left(moments, max(at, then)) - bisect_right(moments, min(at, then))
                if item != near and between < REACH:
                    gain = (1.0 if then > at else 0.75) * 2.0 ** (-between / 5)
                    if then == at:
                        gain = moments.count(at) ** -0.25
                    sums[item, near] += gain
    lists: dict[int, list[tuple[int, float]]] = {row: [] for row in range(n_items)}
    for (item, near), total in sums.items():
        own, other = counts[item] + 3, counts[near] + 3
        size = math.sqrt(own * other) if version < 3 else own**0.7 * other**0.3
        lists[item].append((near, total / size))
    return {
        row: sorted(near, key=lambda pair: (-round(pair[1], 5), pair[0]))[:WIDTH]
        for row, near in lists.items()
    }


def shuffled_histories(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users with histories from 1 to more than `WINDOW` items, in no order."""
    rng = np.random.default_rng(seed)
    lengths = [1, 2, 5, 40, 60, WINDOW + 20]
    owners = np.repeat(np.arange(len(lengths)), lengths)
    items = np.concatenate([rng.permutation(300)[:n] for n in lengths])
    order = rng.permutation(len(owners))
    return owners[order], items[order], rng.permutation(len(owners))


@pytest.mark.parametrize(("version", "ties"), [(1, 8), (2, 1), (2, 10**6), (3, 1), (3, 3)])
def test_what_is_near_in_histories_follows_the_formula(version: int, ties: int):
    owners, items, times = shuffled_histories(seed=5)
    times //= ties

    table = fit_behaviour(owners, items, times, 300, version=version)

    expected = slow_behaviour(owners.tolist(), items.tolist(), times.tolist(), 300, version)
    for row, near in expected.items():
        rows, weights = table.of(row)
        np.testing.assert_allclose(weights, [weight for _, weight in near], atol=2e-5)
        clear = [at for at, (_, weight) in enumerate(near) if weight > near[-1][1] + 1e-4]
        assert set(rows[: len(clear)].tolist()) == {near[at][0] for at in clear}
        assert row not in rows


def test_without_order_neighbours_do_not_depend_on_the_rows_of_items():
    owners, items, _ = shuffled_histories(seed=7)
    items = items[owners < 5]
    owners = owners[owners < 5]
    renamed = np.random.default_rng(8).permutation(300)

    table = fit_behaviour(owners, items, np.zeros(len(items)), 300)
    other = fit_behaviour(owners, renamed[items], np.zeros(len(items)), 300)

    for item in range(300):
        np.testing.assert_array_equal(table.of(item)[1], other.of(renamed[item])[1])


def test_behaviour_does_not_depend_on_the_order_of_entries_or_the_threads():
    owners, items, times = shuffled_histories(seed=6)

    table = fit_behaviour(owners, items, times, 300)
    turned = fit_behaviour(-owners[::-1], items[::-1], times[::-1], 300, threads=2)

    assert table.rows.tobytes() == turned.rows.tobytes()
    assert table.weights.tobytes() == turned.weights.tobytes()


def test_what_follows_is_nearer_than_what_came_before():
    table = fit_behaviour([1, 1, 1], [7, 5, 6], [10, 20, 30], 8)
    together = fit_behaviour([1, 1, 1], [7, 5, 6], [20, 20, 30], 8)

    assert together.of(7)[0].tolist() == [6, 5]
    np.testing.assert_allclose(together.of(7)[1], [1 / 4, 2**-0.25 / 4], rtol=1e-6)
    assert table.of(5)[0].tolist() == [6, 7]
    assert table.of(7)[0].tolist() == [5, 6]
    np.testing.assert_allclose(table.of(5)[1], [1 / 4, 0.75 / 4], rtol=1e-6)


def test_nobody_has_no_behaviour():
    assert len(fit_behaviour([], [], [], 0)) == 0
    assert fit_behaviour([], [], [], 3).rows.max() == -1


def test_entries_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInput, match="one length"):
        fit_behaviour([1, 1], [0], [0], 3)
    with pytest.raises(InvalidInput, match=r"columns must be in 0\.\.2"):
        fit_behaviour([1], [3], [0], 3)
