"""Fold-in of users whose entries decayed long ago."""

import numpy as np
import pytest
import scipy.sparse as sp

from recstream.core.als.trainer import ALS
from tests.core.als.als_cases import checkerboard


@pytest.mark.parametrize("n", [5, 30])
def test_negligible_entries_do_not_move_a_user_however_small_they_are(n):
    model = ALS(16, iterations=3).fit(checkerboard())
    rows = {}
    for old in (2.0**-101, 2.0**-140):
        weights = np.full(n, old, np.float32)
        weights[::4] = 1.0
        rows[old] = sp.csr_matrix((weights, np.arange(n), [0, n]), shape=(1, 40))

    skipped = [model.fold_in(each, skip_negligible=True) for each in rows.values()]
    whole = model.fold_in(rows[2.0**-101])

    assert skipped[0].any()
    assert skipped[0].tobytes() == skipped[1].tobytes()
    np.testing.assert_allclose(skipped[0], whole, rtol=1e-5, atol=1e-7)


def test_no_entry_is_negligible_beside_others_of_its_size():
    model = ALS(16, iterations=3).fit(checkerboard())
    weights = np.full(6, 2.0**-110, np.float32)
    row = sp.csr_matrix((weights, np.arange(6), [0, 6]), shape=(1, 40))

    assert model.fold_in(row).any()
    assert model.fold_in(row, skip_negligible=True).tobytes() == model.fold_in(row).tobytes()
