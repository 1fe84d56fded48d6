import numpy as np
import scipy.sparse as sp

from recstream.core.content.ridge import ridge
from recstream.core.numeric.pool import open_pool

GENERATOR = np.random.default_rng(0)
FEATURES = sp.random(200, 30, 0.2, "csr", np.float32, GENERATOR)
COUNTS = GENERATOR.random(200)
TARGETS = GENERATOR.standard_normal((200, 5)).astype(np.float32)


def test_a_map_minimises_the_weighted_squares():
    solved = ridge(FEATURES, TARGETS, COUNTS, penalties=[0.5])

    kept = np.diff(FEATURES.indptr) > 0
    dense, c = FEATURES.toarray()[kept].astype(np.float64), COUNTS[kept] / COUNTS[kept].mean()
    system = (dense * c[:, None]).T @ dense + 0.5 * np.eye(30)
    expected = np.linalg.solve(system, (dense * c[:, None]).T @ TARGETS[kept])
    np.testing.assert_allclose(solved.weights, expected, atol=2e-3)


def test_a_penalty_is_chosen_by_items_that_were_held_out():
    noise = ridge(FEATURES, TARGETS, COUNTS)
    line = FEATURES @ GENERATOR.standard_normal((30, 5))

    told = ridge(FEATURES, line.astype(np.float32), COUNTS)

    assert (noise.penalty > told.penalty).all()
    assert noise.explained < 0.1
    assert told.explained > 0.9


def test_a_map_has_the_same_bits_on_any_number_of_threads():
    with open_pool(3) as workers:
        threaded = ridge(FEATURES, TARGETS, COUNTS, pool=workers)

    np.testing.assert_array_equal(threaded.weights, ridge(FEATURES, TARGETS, COUNTS).weights)


def test_nothing_known_maps_to_zero():
    for features, counts in ((FEATURES, np.zeros(200)), (sp.csr_matrix((200, 30)), COUNTS)):
        assert not ridge(features.astype(np.float32), TARGETS, counts).weights.any()
