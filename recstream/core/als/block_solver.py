"""Half-steps on blocks of rows, for a training whose blocks are on several machines.

A row's factors depend on that row and on the fixed side alone. So blocks of any size give the factors
of `recstream.core.als.trainer.ALS`, bit for bit. Sums over all rows are made from parts whose ranges
depend on the number of rows alone (`gramian_ranges`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recstream.core.als.gramian import add_gramian
from recstream.core.als.half_step import (
    Axes,
    Side,
    Solved,
    Solver,
    gramian_shape,
    make_plan,
    rotate,
    solve,
)
from recstream.core.als.objective import Objective, count_weights, mean_count
from recstream.core.numeric.arrays import Float32s, Float64s, Int64s
from recstream.core.validation import CSRRows


@dataclass(frozen=True, slots=True)
class BlockSolver:
    """State shared by all blocks of one half-step; make it with `of`.

    Attributes
    ----------
    side : {"users", "items"}
        Side of the rows that are solved.
    tolerance : float
        As of `recstream.core.als.trainer.ALS`.
    mean : float
        Mean count of the rows.
    fixed_mean : float
        Mean count of the fixed side.
    missing_total : float
        α₀ Σ m of the fixed side.
    """

    side: Side
    objective: Objective
    n_factors: int
    solver: Solver
    tolerance: float
    mean: float
    fixed_mean: float
    missing_total: float

    @classmethod
    def of(
        cls,
        side: Side,
        counts: Int64s,
        fixed_counts: Int64s,
        *,
        objective: Objective,
        n_factors: int,
        solver: Solver,
        tolerance: float,
    ) -> BlockSolver:
        """Return the solver of a side, from the counts of positive entries of both sides.

        Parameters
        ----------
        counts, fixed_counts : (n,) and (m,) int64
        tolerance : float
        """
        fixed_mean = mean_count(fixed_counts)
        missing = count_weights(
            fixed_counts, fixed_mean, objective.missing_exponents[side == "users"]
        )
        total = objective.unobserved_weight * float(missing.sum(dtype=np.float64))
        return cls(
            side, objective, n_factors, solver, tolerance, mean_count(counts), fixed_mean, total
        )

    def missing_weights(self, fixed_counts: Int64s) -> Float32s:
        """Return the weights of rows of the fixed side as missing entries."""
        exponent = self.objective.missing_exponents[self.side == "users"]
        return count_weights(fixed_counts, self.fixed_mean, exponent)

    def gramian(self, factors: Float32s, fixed_counts: Int64s) -> Float64s:
        """Return the weighted gramian of one range of `gramian_ranges` of the fixed side.

        Parameters
        ----------
        factors : (k, width) float32
            The range's rows, padded.
        fixed_counts : (k,) int64
        """
        part = np.zeros(gramian_shape(factors.shape[1]))
        missing = self.missing_weights(fixed_counts)
        add_gramian(factors.reshape(-1), factors.shape[1], missing, 0, len(factors), part)
        return part

    @staticmethod
    def rotate_all(factors: Float32s, rotation: Float64s) -> None:
        """Rotate all rows of padded factors, in place."""
        rotate(factors, rotation, np.arange(len(factors)))

    def solve(
        self,
        rows: CSRRows,
        factors: Float32s,
        fixed_counts: Int64s,
        rotation: Float64s,
        spectrum: Float32s,
        out: Float32s,
    ) -> Solved:
        """Solve a block of rows, in place.

        Parameters
        ----------
        rows : CSRRows
            The block's entries; columns are rows of the whole fixed side.
        factors : (m, width) float32
            The whole fixed side, in its principal axes.
        fixed_counts : (m,) int64
        rotation, spectrum : (d, d) float64 and (width,) float32
            Rotation and spectrum of these axes.
        out : (k, width) float32
            The block's factors before the half-step, in the axes before; overwritten.
        """
        exponent = self.objective.positive_exponents[self.side == "users"]
        plan = make_plan(
            rows,
            self.side,
            self.objective,
            mean=self.mean,
            weight=count_weights(fixed_counts, self.fixed_mean, exponent),
            missing_total=self.missing_total,
            n_factors=self.n_factors,
            solver=self.solver,
        )
        # Only conjugate gradients start from the factors before.
        for moved in plan.gradient:
            rotate(out, rotation, moved)
        axes = Axes(factors, spectrum, self.n_factors)
        return solve(plan, axes, out, tolerance=self.tolerance)
