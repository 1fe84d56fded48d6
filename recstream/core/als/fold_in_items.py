"""Step 7 of the flow, turned round: items are folded in against a generation's users."""

from __future__ import annotations

import numpy as np

from recstream.core.als.half_step import Axes, make_plan, padded, principal_axes, solve, turn
from recstream.core.als.objective import Objective, count_weights
from recstream.core.numeric.arrays import Float32s, Float64s, Int64s
from recstream.core.numeric.pool import pool
from recstream.core.validation import Rows, as_factors

PRIOR_EVENTS = 5.0
"""Entries with which an item's own factors count as much as its prior."""


class UserSide:
    """The users of a generation as the fixed side: their axes, and their weight as missing entries.

    Parameters
    ----------
    user_factors : (n, d) float32
    user_counts : (n,) int64
        Entries per user in the training matrix.
    mean_user_count : float
    objective : Objective
    """

    def __init__(
        self,
        user_factors: Float32s,
        user_counts: Int64s,
        mean_user_count: float,
        objective: Objective,
    ) -> None:
        self._objective = objective
        self._mean_count = mean_user_count
        self._n_factors = user_factors.shape[1]
        missing = count_weights(user_counts, mean_user_count, objective.missing_exponents[0])
        self._rotation, self._spectrum = principal_axes(
            padded(user_factors), self._n_factors, missing, objective.unobserved_weight
        )
        self._missing_total = objective.unobserved_weight * float(missing.sum(dtype=np.float64))

    def fold_in_items(
        self,
        rows: Rows,
        users: Float32s,
        counts: Int64s,
        prior: Float32s | None,
        *,
        mean_item_count: float,
        threads: int,
    ) -> Float32s:
        """Return the factors (b, d) of items with these users; see `ALSModel.fold_in_items`."""
        # Only the users these items have are rotated: a delta touches few of them.
        touched, columns = np.unique(rows.indices, return_inverse=True)
        near = padded(users[touched])
        turn(near, self._rotation, np.arange(len(near)))
        plan = make_plan(
            Rows(rows.indptr, columns.astype(np.int32), rows.weights, len(touched)),
            "items",
            self._objective,
            mean=mean_item_count,
            weight=count_weights(
                counts[touched], self._mean_count, self._objective.positive_exponents[0]
            ),
            missing_total=self._missing_total,
            n_factors=self._n_factors,
            n_tasks=threads,
        )
        out = np.empty((len(rows), near.shape[1]), np.float32)
        centre = None if prior is None else _centre(prior, rows, self._n_factors, self._rotation)
        with pool(threads) as workers:
            solve(
                plan,
                Axes(near, self._spectrum, self._n_factors),
                out,
                pool=workers,
                centre=centre,
            )
        turn(out, self._rotation.T, np.arange(len(out)))
        if prior is not None:
            # Turning there and back would move the prior's last bits.
            untouched = rows.counts() == 0
            out[untouched, : self._n_factors] = prior[untouched]
        return np.ascontiguousarray(out[:, : self._n_factors])


def _centre(prior: Float32s, rows: Rows, n_factors: int, rotation: Float64s) -> Float32s:
    """Return each row's faded prior in the fixed side's axes."""
    values = as_factors(prior, "prior", n_factors=n_factors, n_rows=len(rows))
    kept = PRIOR_EVENTS / (PRIOR_EVENTS + rows.counts())
    centre = padded((values * kept[:, None]).astype(np.float32))
    turn(centre, rotation, np.arange(len(centre)))
    return centre
