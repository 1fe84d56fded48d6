"""Compile or load every kernel of training and fold-in before the first request."""

from typing import Any, get_args

import numpy as np
import scipy.sparse as sp

from recstream.core.als.fold_in_items import _residual_targets, residual_targets
from recstream.core.als.half_step import Axes, Solver, make_plan, principal_axes, rotate, solve
from recstream.core.als.objective import Objective
from recstream.core.numeric.simd import LANES
from recstream.core.validation import as_csr_rows


def is_warm() -> bool:
    """Return whether this process has its kernels ready."""
    kernel: Any = _residual_targets  # ranking loads others
    return bool(kernel.signatures)


def warm_up() -> None:
    """Load every kernel from the cache, or compile it: some ten seconds without a cache."""
    d = LANES
    entries = np.ones((2, 2 * LANES + 1), np.float32)
    entries[1, 2:] = 0.0
    rows = as_csr_rows(sp.csr_matrix(entries), "entries")
    fixed = np.eye(2 * LANES + 1, d, dtype=np.float32)
    objective = Objective()
    rotation, spectrum = principal_axes(fixed, d, np.ones(len(fixed), np.float32), 1.0)
    rotate(fixed, rotation, np.arange(len(fixed)))
    weight = np.ones(len(fixed), np.float32)
    residual_targets(fixed, rows, np.zeros((2, d), np.float32))
    for solver in get_args(Solver):
        plan = make_plan(
            rows,
            "users",
            objective,
            mean=1.0,
            weight=weight,
            missing_total=1.0,
            n_factors=d,
            solver=solver,
        )
        solve(plan, Axes(fixed, spectrum, d), np.zeros((2, d), np.float32))
