"""Fold-in of items: solve item factors against a generation's user factors, with an optional prior."""

import numpy as np

from recstream.core.als.half_step import Axes, make_plan, padded, principal_axes, rotate, solve
from recstream.core.als.objective import Objective, count_weights
from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.core.numeric.pool import open_pool
from recstream.core.validation import CSRRows, as_matrix

PRIOR_EVENTS = 5.0
"""Number of entries at which an item's own factors weigh as much as its prior."""


class ItemFoldIn:
    """Solver for items; the users of a generation are the fixed side.

    Parameters
    ----------
    user_factors : (n, d) float32
    user_counts : (n,) int64
        Entries per user in the training matrix.
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
        rows: CSRRows,
        users: Float32s,
        counts: Int64s,
        prior: Float32s | None,
        *,
        mean_item_count: float,
        threads: int,
    ) -> Float32s:
        """Return the factors (b, d) of items with these users; see `ALSModel.fold_in_items`.

        Parameters
        ----------
        rows : CSRRows, (b, n_users)
        users, counts : (n_users, d) float32, (n_users,) int64
            Current factors and entry counts.
        prior : (b, d) float32 or None
        mean_item_count : float
            In the training matrix.
        """
        # Rotate only the users that occur: a delta touches few of them.
        touched, columns = np.unique(rows.indices, return_inverse=True)
        fixed = padded(users[touched])
        rotate(fixed, self._rotation, np.arange(len(fixed)))
        rows = CSRRows(rows.indptr, columns.astype(np.int32), rows.weights, len(touched))
        plan = make_plan(
            rows,
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
        out = np.empty((len(rows), fixed.shape[1]), np.float32)
        centre = None if prior is None else self._centre(prior, rows)
        targets = None if centre is None else residual_targets(fixed, rows, centre)
        with open_pool(threads) as pool:
            solve(
                plan, Axes(fixed, self._spectrum, self._n_factors), out, pool=pool, targets=targets
            )
        if centre is not None:
            out += centre
        rotate(out, self._rotation.T, np.arange(len(out)))
        # Rotating there and back would change a prior's last bits. Without users, D is 0.
        untouched = rows.counts() == 0
        out[untouched, : self._n_factors] = 0.0 if prior is None else prior[untouched]
        return np.ascontiguousarray(out[:, : self._n_factors])

    def _centre(self, prior: Float32s, rows: CSRRows) -> Float32s:
        """Return κμ of each row, in the axes of the users."""
        values = as_matrix(prior, "prior", n_columns=self._n_factors, n_rows=len(rows))
        kept = PRIOR_EVENTS / (PRIOR_EVENTS + rows.counts())
        centre = padded((values * kept[:, None]).astype(np.float32))
        rotate(centre, self._rotation, np.arange(len(centre)))
        return centre


def residual_targets(fixed: Float32s, rows: CSRRows, centre: Float32s) -> Float32s:
    """Return each entry's target for a row with the prior c: ``1 - c·y``, (nnz,).

    With ``x = c + z`` the prior ``(x - c)ᵀ D (x - c)`` is ``zᵀDz``, and z has these targets.
    """
    targets = np.empty(len(rows.indices), np.float32)
    _residual_targets(fixed, rows.indptr, rows.indices, centre, targets)
    return targets


@compiled
def _residual_targets(
    fixed: Float32s, indptr: Int64s, indices: Int32s, centre: Float32s, targets: Float32s
) -> None:
    """Fill the targets, summed in float64 in the order of the factors."""
    for row in range(len(indptr) - 1):
        for a in range(indptr[row], indptr[row + 1]):
            given = np.float64(0.0)
            for k in range(fixed.shape[1]):
                given += np.float64(fixed[indices[a], k]) * np.float64(centre[row, k])
            targets[a] = np.float32(1.0 - given)
