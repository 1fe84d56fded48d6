"""What content neighbours are worth: by the shop, and by how many entries an item has."""

import numpy as np
import pytest
from scipy import sparse

from recstream.core.als.trainer import ALS
from recstream.core.content.score_scale import cold_start_multiplier, content_scale
from recstream.core.generation.generation import Generation
from recstream.core.neighbours import Neighbours, seed_weights
from recstream.core.ranking.explain import explain
from recstream.core.ranking.rank import rank
from recstream.core.records import DeltaAnnounced
from tests.core.ranking.steering_cases import HALF_LIFE_MS, N_ITEMS, UNIT, history, shop, table


def told(generation: Generation, seen: list[int], item: int) -> float:
    """Return what content adds to an item's score."""
    return explain(
        history(seen), generation, f"i{item}", list_size=5, half_life_ms=HALF_LIFE_MS
    ).sources.content


def of_count(generation: Generation, item: int, count: int) -> DeltaAnnounced:
    """Return a delta that says of an item, known or new, how many entries it has."""
    return DeltaAnnounced(
        generation=generation.number,
        delta=generation.delta + 1,
        offsets={},
        items=(f"i{item}",),
        factors=np.zeros(generation.n_factors, np.float32).tobytes(),
        bias=np.zeros(1, np.float32).tobytes(),
        counts=np.array([count], np.int32).tobytes(),
        created_ts=0,
    )


def test_content_is_worth_less_with_every_event_of_an_item_until_its_usual_worth() -> None:
    generation = shop()
    (item, *_), (near, *_) = generation.content.of(3)

    found = []
    for count in (0, 1, 4, 99_999):
        generation.apply_delta(of_count(generation, int(item), count))
        found.append(told(generation, [3], int(item)) / (float(near) * 0.4 * 1.25 * UNIT))

    assert found == pytest.approx([3.0, 2.0, 1.4, 1.0], rel=1e-4)


def test_a_new_item_of_a_delta_is_worth_what_one_without_events_is() -> None:
    generation = shop()

    generation.apply_delta(of_count(generation, N_ITEMS, 0))
    generation.apply_delta(of_count(generation, N_ITEMS + 1, 3))

    assert generation.content_multiplier[N_ITEMS:].tolist() == [3.0, 1.5]
    # As an artifact has it, and as it is after its deltas: the same.
    again = Generation.from_arrays(generation.arrays())
    assert again.content_multiplier.tobytes() == generation.content_multiplier.tobytes()


def test_of_two_items_as_near_the_one_nobody_touched_comes_first() -> None:
    generation = shop()
    content = Neighbours.empty(N_ITEMS)
    content.put(0, [20, 30], [0.9, 0.9])
    generation.content.put_all(np.arange(N_ITEMS), content.rows.copy(), content.weights.copy())
    generation.behaviour.put_all(
        np.arange(N_ITEMS), np.full((N_ITEMS, 1), -1), np.zeros((N_ITEMS, 1))
    )
    for item, count in ((20, 50), (30, 0)):
        generation.apply_delta(of_count(generation, item, count))

    (found,) = rank([history([0])], generation, N_ITEMS, HALF_LIFE_MS)

    places = found.rows.tolist()
    assert places.index(30) < places.index(20)


def test_without_factors_nobody_counted_and_content_is_worth_the_same_for_all() -> None:
    assert len(shop(factors=False).content_multiplier) == 0


def slow_unit(
    users: np.ndarray,
    items: np.ndarray,
    matrix: np.ndarray,
    tables: tuple[Neighbours, Neighbours],
    weight: float,
    unit: float,
) -> float:
    """The sums of `content_scale`, pair by pair."""
    n = (matrix > 0).sum(axis=0)
    above = below = 1.0
    dense = [np.zeros((matrix.shape[1],) * 2) for _ in tables]
    for each, of in zip(dense, tables, strict=True):
        for item in range(matrix.shape[1]):
            rows, weights = of.of(item)
            each[item, rows] = weights
    for user, row in enumerate(matrix):
        own = np.flatnonzero(row)
        v = seed_weights(own.astype(np.int32), row[own].astype(np.float32)).astype(np.float64)
        found = []
        for item in set(range(matrix.shape[1])) - set(own.tolist()):
            alike, near = (float(v @ each[own, item]) for each in dense)
            score = float(users[user].astype(np.float64) @ items[item]) / unit + weight * near
            if alike > 0.0 and n[item]:
                found.append((n[item] / (n[item] + 5.0), alike, score))
        level = sum(t * c for t, c, _ in found) / sum(t for t, _, _ in found)
        above += sum(t * (c - level) * s for t, c, s in found)
        below += sum(t * (c - level) ** 2 for t, c, _ in found)
    return round(min(max(above / below, 0.1), 3.0), 3)


def test_the_unit_of_content_is_the_slope_of_what_users_like_over_how_alike_it_is() -> None:
    rng = np.random.default_rng(4)
    taken = (rng.random((70, N_ITEMS)) < 0.15) * rng.integers(1, 4, (70, N_ITEMS))
    taken[:, 7] = 0
    matrix = sparse.csr_matrix(taken, dtype=np.float32)
    model = ALS(n_factors=6, iterations=3, threads=1).fit(matrix)
    assert model.user_factors is not None
    tables = (table(1), table(2))

    for weight, unit in ((0.0, 0.5), (3.0, 0.5), (2.0, 0.01), (9.0, 0.5)):
        found = content_scale(model, matrix, *tables, weight, unit)
        wanted = slow_unit(model.user_factors, model.item_factors, taken, tables, weight, unit)
        assert found == pytest.approx(wanted, abs=1e-3)


def test_where_content_agrees_with_behaviour_it_is_worth_more() -> None:
    rng = np.random.default_rng(5)
    group = np.arange(N_ITEMS) % 4
    matrix = sparse.csr_matrix(
        (group == rng.integers(4, size=600)[:, None]) & (rng.random((600, N_ITEMS)) < 0.3),
        dtype=np.float32,
    )
    model = ALS(n_factors=6, iterations=6, threads=1).fit(matrix)
    telling, silent = Neighbours.empty(N_ITEMS), Neighbours.empty(N_ITEMS)
    for item in range(N_ITEMS):
        same, other = (item + 4) % N_ITEMS, (item + 1) % N_ITEMS
        telling.put(item, [same, other], [0.6, 0.2])
        silent.put(item, [same, other], [0.2, 0.6])
    nothing = Neighbours.empty(N_ITEMS)

    by_group = content_scale(model, matrix, telling, nothing, 0.0, 0.5)
    across = content_scale(model, matrix, silent, nothing, 0.0, 0.5)

    assert by_group > 1.0
    assert across < 0.5


def test_with_nothing_to_look_at_content_is_worth_its_weight() -> None:
    matrix = sparse.csr_matrix(np.eye(8, N_ITEMS, dtype=np.float32))
    model = ALS(n_factors=3, iterations=2, threads=1).fit(matrix)
    nothing = Neighbours.empty(N_ITEMS)

    assert content_scale(model, matrix, nothing, nothing, 7.0, 0.5) == 1.0


def test_the_cold_start_multiplier_depends_on_counts_alone() -> None:
    assert cold_start_multiplier(np.array([0, 1, 3]), 2.2).tolist() == pytest.approx(
        [3.2, 2.1, 1.55]
    )
    assert cold_start_multiplier(np.array([0, 9]), 0.0).tolist() == [1.0, 1.0]
