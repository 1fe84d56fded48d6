"""Fold-in of users: solve user factors against item factors, which deltas update and extend."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import numpy as np

from recstream.core.als.contributions import history_contributions
from recstream.core.als.half_step import Axes, make_plan, padded, solve, width_of
from recstream.core.als.objective import Objective, count_weights
from recstream.core.numeric.arrays import Float32s, Float64s, GrowableArray, Int32s, Int64s
from recstream.core.numeric.pool import open_pool
from recstream.core.validation import CSRRows
from recstream.errors import InvalidInput

NEGLIGIBLE = np.float32(2.0**-100)
"""Part of a row's largest weight below which an entry is negligible: it can change the last bit of a
sum at most. Old entries decay to such weights, and numbers below 2^-126 take hundreds of cycles."""


class UserFoldIn:
    """Solver for users; the items of a generation are the fixed side.

    Parameters
    ----------
    item_factors : (m, d) float32
        In principal axes.
    item_counts : (m,) int64
        Current entries per item.
    spectrum, missing_total : (d,) float32, float
        Weight of the generation's items as missing entries; see `Axes` and `make_plan`.
    mean_user_count, mean_item_count : float
        In the training matrix.

    Attributes
    ----------
    item_factors, item_counts
        After the newest `put`.
    """

    def __init__(
        self,
        item_factors: Float32s,
        item_counts: Int64s,
        *,
        objective: Objective,
        spectrum: Float32s,
        missing_total: float,
        mean_user_count: float,
        mean_item_count: float,
    ) -> None:
        self.item_factors = item_factors
        self.item_counts = item_counts
        self._objective = objective
        self._missing_total = missing_total
        self._mean_user_count = mean_user_count
        self._mean_item_count = mean_item_count
        self._n_factors = item_factors.shape[1]
        wide = np.ones(width_of(self._n_factors), np.float32)
        wide[: self._n_factors] = spectrum
        self._axes = Axes(padded(item_factors), wide, self._n_factors)
        self._weight = self._weights_of(item_counts)
        self._growing: tuple[GrowableArray, GrowableArray, GrowableArray] | None = None

    def fold_in(self, rows: CSRRows, *, threads: int, skip_negligible: bool) -> Float32s:
        """Return the factors (b, d) of users with these histories; see `ALSModel.fold_in`."""
        plan = make_plan(
            rows,
            "users",
            self._objective,
            mean=self._mean_user_count,
            weight=self._weight,
            missing_total=self._missing_total,
            n_factors=self._n_factors,
            n_tasks=threads,
        )
        if skip_negligible:
            plan = replace(plan, rows=_without_negligible(rows))
        out = np.empty((len(rows), self._axes.factors.shape[1]), np.float32)
        with open_pool(threads) as pool:
            solve(plan, self._axes, out, pool=pool)
        return np.ascontiguousarray(out[:, : self._n_factors])

    def contributions(self, columns: Int32s, weights: Float32s, items: Int32s) -> Float64s:
        """Return the contributions (n, h) of h entries of a history to the scores of n items."""
        return history_contributions(
            columns,
            weights,
            items,
            self._axes.factors,
            self._weight,
            self._axes.spectrum[: self._n_factors],
            self._mean_user_count,
            self._objective.terms("users", self._missing_total),
        )

    @property
    def arrays(self) -> tuple[Float32s, Int64s, Float32s]:
        """The arrays that `put` changes: padded factors, counts and weights."""
        return self._axes.factors, self.item_counts, self._weight

    def growing(self, arrays: Sequence[GrowableArray] | None = None) -> UserFoldIn:
        """Return a copy that `put` may change, with growable arrays of its own, or with those given."""
        side = copy(self)
        factors, counts, weight = arrays or [GrowableArray(each) for each in self.arrays]
        side._growing = factors, counts, weight  # noqa: SLF001 - a copy of this one
        side._update_views()  # noqa: SLF001 - likewise
        return side

    def put(self, rows: Int64s, factors: Float32s, counts: Int64s | None) -> None:
        """Replace items, or append them. Their weight as missing entries stays the same.

        Raises
        ------
        InvalidInput
            Not made by `growing`: its arrays may be shared.
        """
        if self._growing is None:
            raise InvalidInput(
                "put_items needs a model with arrays of its own: call growing() first"
            )
        n_items = max(len(self.item_factors), int(rows.max()) + 1 if len(rows) else 0)
        new_weight = self._weights_of(np.zeros(1, np.int64))[0]
        for each, fill in zip(self._growing, (0.0, 0, new_weight), strict=True):
            each.grow(n_items, fill)
        self._update_views()
        self.item_factors[rows] = factors
        if counts is not None:
            self.item_counts[rows] = counts
            self._weight[rows] = self._weights_of(counts)

    def _update_views(self) -> None:
        """Point the attributes to the growable arrays."""
        if self._growing is None:
            return
        factors, self.item_counts, self._weight = (each.rows for each in self._growing)
        self._axes = replace(self._axes, factors=factors)
        self.item_factors = factors[:, : self._n_factors]

    def _weights_of(self, counts: Int64s) -> Float32s:
        """Return the separable weight of observed entries of items with these counts."""
        return count_weights(counts, self._mean_item_count, self._objective.positive_exponents[1])


def _without_negligible(rows: CSRRows) -> CSRRows:
    """Return rows in which negligible entries have weight 0."""
    lengths = np.diff(rows.indptr)
    is_filled = lengths > 0
    if not is_filled.any():
        return rows
    largest = np.maximum.reduceat(rows.weights, rows.indptr[:-1][is_filled])
    least = np.repeat(largest * NEGLIGIBLE, lengths[is_filled])
    return replace(rows, weights=np.where(rows.weights < least, np.float32(0.0), rows.weights))
