"""A candidate that is clearly worse on what happened last does not serve."""

import numpy as np
import pytest
from scipy import sparse

from recstream.core.als.trainer import ALS
from recstream.core.evaluation.gate import MIN_USERS, HeldOut, evaluate_candidate, hold_out
from recstream.core.events import Event, EventWeights, from_timestamp_ms
from recstream.core.generation.generation import Generation
from recstream.core.history.fold import FoldSettings, History, apply
from recstream.core.history.matrix import matrix_row, stack

HALF_LIFE_MS = 1e12
RULES = FoldSettings(EventWeights(), HALF_LIFE_MS)
ITEMS = [f"i{at:02}" for at in range(60)]
INDEX = {item: at for at, item in enumerate(ITEMS)}


def board(n_users: int = 80, n_events: int = 14, seed: int = 0) -> list[History]:
    """Even users take even items, odd users odd ones: what comes next is known by construction."""
    rng = np.random.default_rng(seed)
    histories = []
    for user in range(n_users):
        history = History(f"u{user:03}")
        chosen = rng.permutation(len(ITEMS) // 2)[:n_events] * 2 + user % 2
        for at, item in enumerate(chosen.tolist()):
            offset = at * n_users + user
            event = Event(
                id=f"{user}-{at}",
                type="view",
                user=history.user,
                item=ITEMS[item],
                ts=from_timestamp_ms(offset * 1000),
            )
            history = apply(history, event, offset, 0, RULES)
        histories.append(history)
    return histories


def trained(histories: list[History], number: int = 1, *, shuffled: bool = False) -> Generation:
    matrix = stack([matrix_row(each, INDEX, HALF_LIFE_MS) for each in histories], len(ITEMS))
    if shuffled:
        rng = np.random.default_rng(1)
        matrix = sparse.csr_matrix([rng.permutation(one) for one in matrix.toarray()])
    return Generation(
        number=number,
        parent=None,
        offsets={},
        hyperparameters={},
        seed=0,
        items=ITEMS,
        bias=np.zeros(len(ITEMS), np.float32),
        model=ALS(n_factors=8, iterations=8).fit(matrix),
    )


@pytest.fixture(scope="module")
def held() -> HeldOut:
    return hold_out(board(n_users=200))


def test_the_newest_entries_are_taken_and_the_rest_is_as_it_was() -> None:
    histories = board(n_users=200)
    held = hold_out(histories)

    n_taken = sum(map(len, held.items.values()))
    assert n_taken == int(200 * 14 * 0.02)
    newest = sorted(
        (entry.offset, history.user, entry.item)
        for history in histories
        for entry in history.entries()
    )[-n_taken:]
    taken = {(user, item) for user, items in held.items.items() for item in items}
    assert taken == {(user, item) for _, user, item in newest}
    for before, after in zip(histories, held.histories, strict=True):
        gone = held.items.get(before.user, ())
        assert {e.item for e in after.entries()} == {e.item for e in before.entries()} - set(gone)
        assert after.n_items == before.n_items - len(gone)


def test_a_history_without_its_newest_entry_is_the_history_before_it() -> None:
    histories = board(n_users=200)
    before = board(n_users=200, n_events=13)

    held = hold_out(histories)

    for after, earlier in zip(held.histories, before, strict=True):
        if after.user in held.items:
            assert (
                matrix_row(after, INDEX, HALF_LIFE_MS)[0].tolist()
                == matrix_row(earlier, INDEX, HALF_LIFE_MS)[0].tolist()
            )
            assert after.clock_ms == earlier.clock_ms


def test_a_few_users_are_too_few_to_evaluate() -> None:
    held = hold_out(board(n_users=MIN_USERS - 1))

    verdict = evaluate_candidate(trained(held.histories), None, held, HALF_LIFE_MS)

    assert held.items == {}
    assert verdict.is_accepted
    assert "too few events" in verdict.reason


def test_a_candidate_as_good_as_the_serving_one_is_accepted(held: HeldOut) -> None:
    candidate = trained(held.histories, 2)

    verdict = evaluate_candidate(candidate, trained(held.histories, 1), held, HALF_LIFE_MS)

    assert verdict.is_accepted
    assert verdict.candidate == verdict.serving
    assert verdict.candidate > 1.5 * verdict.popular


def test_a_candidate_trained_on_noise_is_not_accepted_and_the_reason_names_both(
    held: HeldOut,
) -> None:
    verdict = evaluate_candidate(
        trained(held.histories, 2, shuffled=True), trained(held.histories, 1), held, HALF_LIFE_MS
    )

    assert not verdict.is_accepted
    assert f"{verdict.candidate:.4f}" in verdict.reason
    assert "clearly below" in verdict.reason


def test_popularity_is_the_floor_even_without_a_serving_generation(held: HeldOut) -> None:
    wanted = {item for items in held.items.values() for item in items}
    candidate = trained(held.histories, 1, shuffled=True)
    candidate.index.update(
        np.arange(len(ITEMS), dtype=np.int32),
        -candidate.model.item_factors if candidate.model else np.zeros((60, 8), np.float32),
        np.array([1e-6 * (item in wanted) for item in ITEMS], np.float32),
    )

    verdict = evaluate_candidate(candidate, None, held, HALF_LIFE_MS)

    assert not verdict.is_accepted
    assert "popularity alone" in verdict.reason


def test_withdrawn_items_are_in_no_list_that_is_compared(held: HeldOut) -> None:
    wanted = {item for items in held.items.values() for item in items}
    candidate = trained(held.histories, 2)
    bias = np.array([float(item in wanted) for item in ITEMS], np.float32)
    candidate = Generation(
        number=2,
        parent=None,
        offsets={},
        hyperparameters={},
        seed=0,
        items=ITEMS,
        bias=bias,
        model=candidate.model,
        withdrawn=bias > 0.0,
    )

    result = evaluate_candidate(candidate, trained(held.histories, 1), held, HALF_LIFE_MS)

    assert (result.candidate, result.popular, result.serving) == (0.0, 0.0, 0.0)


def test_evaluation_is_a_pure_function(held: HeldOut) -> None:
    candidate = trained(held.histories, 2)

    assert evaluate_candidate(candidate, None, held, HALF_LIFE_MS) == evaluate_candidate(
        candidate, None, held, HALF_LIFE_MS
    )
