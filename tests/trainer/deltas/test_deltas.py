"""Deltas: items moved by what happened since a generation was trained."""

import numpy as np
import pytest
from scipy import sparse

from recstream.core.generation.generation import Generation
from recstream.core.history import matrix_row
from recstream.core.history.matrix import stack
from recstream.trainer.deltas.deltas import Deltas
from recstream.trainer.deltas.restore import restore
from recstream.trainer.deltas.users import LiveUsers
from recstream.trainer.histories.changelog import Touch
from recstream.trainer.training.dataset import columns_of
from recstream.trainer.training.train import hyperparameters, train
from tests.trainer.trainer_world import (
    N_ITEMS,
    SETTINGS,
    follow,
    history_of,
    snapshot_of,
    trained_on,
)
from tests.worker.worker_world import event, single


def moved(world, trained, events):
    """Return the delta after some events, and the generation moved by it."""
    n_before = follow(world).n_events
    deltas = Deltas(trained)
    world.feed([single(each) for each in events])
    follower = follow(world)
    names = {each.user for each in events}
    touches = [Touch(n, each.item, each.user, is_positive=True) for n, each in enumerate(events)]
    assert n_before < follower.n_events
    deltas.touch(names, touches)
    delta = deltas.make_item_delta(follower.histories, now_ms=0)
    generation = Generation.from_arrays(trained.generation.arrays())
    generation.apply_delta(delta)
    return delta, generation, follower, deltas


def test_a_new_item_gets_the_factors_of_those_who_like_it(fed):
    trained = trained_on(fed)
    likers = [event(1000 + n, f"u{2 * n}", "fresh") for n in range(8)]

    delta, generation, follower, _ = moved(fed, trained, likers)

    assert "fresh" in delta.items
    x_even, x_odd = (
        generation.model.fold_in(user_row(follower, user, generation)) for user in ("u4", "u5")
    )
    y = generation.model.item_factors[generation.rows["fresh"]]
    assert (x_even @ y).item() > (x_odd @ y).item()


def user_row(follower, user, generation):
    return stack(
        [matrix_row(history_of(follower, user), generation.rows, 1e15)], generation.n_items
    )


def test_a_deltas_factors_are_the_items_folded_in_against_all_its_users(fed):
    trained = trained_on(fed)
    ids = follow(fed).histories.users
    liker = ids[trained.users[trained.matrix.tocsc()[:, trained.generation.rows["p1"]].indices[0]]]
    again = event(1002, liker, "p1", "purchase")
    events = [event(1000, "u4", "p1"), event(1001, "newcomer", "p1"), again]

    delta, _, follower, _ = moved(fed, trained, events)

    now = train(
        snapshot_of(follower), number=2, parent=trained.generation,
        chosen=hyperparameters(SETTINGS), seed=0,
    )  # fmt: skip
    column = now.matrix.tocsc()[:, now.generation.rows["p1"]]
    counts = np.frombuffer(delta.counts, np.int32)
    assert counts[delta.items.index("p1")] == column.nnz
    histories = follower.histories
    users = [histories.users[now.users[n]] for n in column.indices]
    assert {"u4", "newcomer"} <= set(users)

    current = LiveUsers(trained)
    acted = histories.rows_of(["u4", "newcomer", liker])
    columns = columns_of(list(histories.items), trained.generation.rows)
    acted_columns = columns[histories.entries_of(acted).items]
    current.update(histories, acted, acted_columns, trained.model)
    at = current.numbers(histories.rows_of(users))
    order = np.argsort(at)
    user_factors, user_counts = current.current(np.arange(len(trained.users) + 1))
    expected = trained.model.fold_in_items(
        sparse.csr_matrix(
            (column.data[order], at[order], [0, len(at)]), shape=(1, len(user_factors))
        ),
        user_factors=user_factors,
        user_counts=user_counts,
    )
    factors = np.frombuffer(delta.factors, np.float32).reshape(len(delta.items), -1)
    np.testing.assert_allclose(factors[delta.items.index("p1")], expected[0], rtol=1e-5)


def test_deltas_are_numbered_and_none_is_sent_without_a_change(fed):
    trained = trained_on(fed)

    delta, generation, follower, deltas = moved(fed, trained, [event(1000, "u4", "p1")])

    assert (delta.delta, generation.delta) == (1, 1)
    assert deltas.make_item_delta(follower.histories, now_ms=0) is None


def test_priors_follow_what_is_popular_now(fed):
    trained = trained_on(fed)
    rush = [event(1000 + n, f"u{n}", "p3") for n in range(30)]

    _, generation, _, _ = moved(fed, trained, rush)

    assert generation.items[int(np.argmax(generation.bias))] == "p3"


@pytest.mark.parametrize("n_items", [1, 3, N_ITEMS])
def test_one_user_does_not_take_over_what_is_popular(fed, n_items):
    trained = trained_on(fed)
    before = most_popular(trained.generation)
    # One user acts eight times as often as all others together, on items nobody knew.
    busy = [event(1000 + n, "busy", f"new{n % n_items}") for n in range(160)]
    others = [event(2000 + n, f"u{n}", f"p{n % 4}") for n in range(20)]
    events = [each for n in range(20) for each in (*busy[8 * n : 8 * n + 8], others[n])]

    _, generation, _, _ = moved(fed, trained, events)

    assert sum(item.startswith("new") for item in most_popular(generation)) <= 1, before


def most_popular(generation, n=4):
    """Return the items with the largest bias."""
    return [generation.items[row] for row in np.argsort(-generation.bias, kind="stable")[:n]]


def test_a_restarted_trainer_moves_on_where_the_deltas_stopped(fed):
    trained = trained_on(fed)
    _, generation, _, _ = moved(fed, trained, [event(1000, "u4", "first-new")])
    fed.feed([single(event(1001, "u6", "second-new"))])
    follower = follow(fed)

    resumed, unknown = restore(generation, follower.histories)
    deltas = Deltas(resumed)
    deltas.touch(unknown.users, unknown.touches)
    delta = deltas.make_item_delta(follower.histories, now_ms=0)

    assert delta.delta == 2
    assert "second-new" in delta.items
    assert generation.apply_delta(delta)
    assert generation.items[-2:] == ["first-new", "second-new"]
