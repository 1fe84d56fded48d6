"""The solver's promises on real data; skipped where the data is absent."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from recstream.core.als.objective import count_weights
from recstream.core.als.trainer import ALS

pytestmark = pytest.mark.data

FOLDER = Path(os.environ.get("RECSTREAM_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.fixture(scope="module")
def gowalla() -> sp.csr_matrix:
    path = FOLDER / "gowalla" / "train.txt.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there; set RECSTREAM_DATA")
    users: list[int] = []
    items: list[int] = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            user, *seen = map(int, line.split())
            users += [user] * len(seen)
            items += seen
    return sp.csr_matrix((np.ones(len(users), np.float32), (users, items)))


def test_exact_rows_are_within_a_hundred_thousandth_of_float64(gowalla):
    model = ALS(64, iterations=3, solver="exact").fit(gowalla)
    terms, Y = model.objective, model.item_factors.astype(np.float64)
    missing, positive = (
        count_weights(model.item_counts, model.mean_item_count, pair[1]).astype(np.float64)
        for pair in (terms.missing_exponents, terms.positive_exponents)
    )
    gramian = terms.unobserved_weight * (Y * missing[:, None]).T @ Y
    total = terms.unobserved_weight * missing.sum()
    average = terms.alpha * model.mean_user_count
    folded = model.fold_in(gowalla)

    errors = []
    for user in np.random.default_rng(0).choice(len(folded), 300, replace=False):
        items = gowalla[user].indices
        relative = len(items) / model.mean_user_count
        m = relative ** -terms.missing_exponents[0]
        w = terms.alpha * relative ** -terms.positive_exponents[0] * positive[items]
        ridge = terms.regularization * average * (w.sum() + m * total) / (average + total)
        system = m * gramian + (Y[items] * w[:, None]).T @ Y[items] + ridge * np.eye(64)
        x = np.linalg.solve(system, w @ Y[items])
        errors.append(np.linalg.norm(folded[user] - x) / np.linalg.norm(x))

    assert max(errors) < 1e-5


def test_mixed_training_ends_where_exact_training_ends(gowalla):
    losses = {}
    for solver in ("mixed", "exact"):
        steps: list[float | None] = []
        ALS(64, iterations=8, solver=solver).fit(gowalla, callback=lambda s: steps.append(s.loss))  # noqa: B023
        losses[solver] = steps[-1]

    assert losses["mixed"] == pytest.approx(losses["exact"], rel=1e-4)
