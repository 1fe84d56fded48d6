"""Splits that hold out clusters of a user's items."""

import numpy as np
from scipy import sparse

from scripts.bench.cluster_split import cluster_split, cosines_without_user


def of_users(*items: list[int], n_items: int) -> sparse.csr_matrix:
    matrix = np.zeros((len(items), n_items), np.float32)
    for user, own in enumerate(items):
        matrix[user, own] = 1
    return sparse.csr_matrix(matrix)


def test_cosines_count_the_other_users_alone() -> None:
    # Without user 0, item 0 has one user, item 1 two, item 2 none; one user has items 0 and 1.
    train = of_users([0, 1, 2], [0, 1], [1], n_items=3)
    counts = np.diff(train.tocsc().indptr)

    found = cosines_without_user(train.T.tocsr()[:3], counts)

    half = 2**-0.5
    assert np.allclose(found, [[0, half, 0], [half, 0, 0], [0, 0, 0]])


def test_each_user_loses_the_part_rounded_up_and_keeps_an_item() -> None:
    train = of_users([0, 1, 2, 3, 4, 5], [0, 1], [2], n_items=6)

    kept, held = cluster_split(train, 0.2, np.random.default_rng(0))

    assert np.diff(held.indptr).tolist() == [2, 1, 0]
    assert ((kept + held) != train).nnz == 0


def test_held_out_items_are_similar_to_one_another() -> None:
    # Two groups of five items; users of one group each, and 200 users with both.
    groups = [list(range(5)), list(range(5, 10))]
    train = of_users(*groups * 400, *[list(range(10))] * 200, n_items=10)

    _, held = cluster_split(train, 0.2, np.random.default_rng(0))

    both = held[800:].toarray()
    in_one_group = (both[:, :5].sum(axis=1) == 2) | (both[:, 5:].sum(axis=1) == 2)
    # Two items at random are of one group for 4 of 9 users.
    assert in_one_group.mean() > 0.8
