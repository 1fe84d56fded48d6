"""Step 5 of the flow: the matrix → user and item factors, by implicit alternating least squares.

The loss is written out in `recstream.core.objective`, one half-step in `recstream.core.foldin`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from timeit import default_timer

import numba
import numpy as np

from recstream.core.als_model import ALSModel
from recstream.core.foldin import (
    FixedSide,
    Rows,
    Side,
    Solved,
    Solver,
    as_rows,
    principal_axes,
    solve,
)
from recstream.core.kernels.arrays import Float32s, Int64s
from recstream.core.kernels.pool import Pool, pool
from recstream.core.objective import Objective, count_weights, mean_count
from recstream.errors import InvalidInput

__all__ = ["ALS", "ALSModel", "Iteration"]

_DEFAULT = Objective()


@dataclass(frozen=True, slots=True)
class Iteration:
    """One step of a training, as `callback` receives it.

    Attributes
    ----------
    number : int
        From 1; 0 for what happens before the first iteration.
    loss : float or None
        The objective after it; none before the first.
    seconds : float
        Wall time it took.
    note : str
        What is going on, for a person.
    """

    number: int
    loss: float | None
    seconds: float
    note: str = ""


class ALS:
    """Implicit alternating least squares; `fit` returns a model and leaves this unchanged.

    Parameters
    ----------
    n_factors : int
    regularization, alpha, unobserved_weight, regularization_exponent : float
    positive_exponents, missing_exponents : (float, float)
        See `recstream.core.objective`.
    iterations : int
        Times that both sides are solved.
    solver : {"mixed", "exact"}
        "exact" solves every row by Cholesky, "mixed" takes a few warm-started steps of conjugate
        gradients for long rows.
    seed : int
        Of the random start.
    threads : int, optional
        At most this many at work; by default what numba would take (``NUMBA_NUM_THREADS``, or
        the processors this process may use).
    """

    def __init__(
        self,
        n_factors: int = 64,
        *,
        regularization: float = _DEFAULT.regularization,
        alpha: float = _DEFAULT.alpha,
        unobserved_weight: float = _DEFAULT.unobserved_weight,
        regularization_exponent: float = _DEFAULT.regularization_exponent,
        positive_exponents: tuple[float, float] = _DEFAULT.positive_exponents,
        missing_exponents: tuple[float, float] = _DEFAULT.missing_exponents,
        iterations: int = 16,
        solver: Solver = "mixed",
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        for name, value in (("n_factors", n_factors), ("iterations", iterations)):
            if not isinstance(value, int) or value < 1:
                raise InvalidInput(f"{name} must be a whole number of at least 1, got {value!r}")
        if not isinstance(seed, int) or seed < 0:
            raise InvalidInput(f"seed must be a whole number of at least 0, got {seed!r}")
        if solver not in ("mixed", "exact"):
            raise InvalidInput(f'solver must be "mixed" or "exact", got {solver!r}')
        self.objective = Objective(
            regularization,
            alpha,
            unobserved_weight,
            regularization_exponent,
            positive_exponents,
            missing_exponents,
        )
        self.n_factors = n_factors
        self.iterations = iterations
        self.solver: Solver = solver
        self.seed = seed
        self.threads = numba.config.NUMBA_NUM_THREADS if threads is None else threads

    def fit(
        self,
        interactions: object,
        *,
        init: ALSModel | None = None,
        callback: Callable[[Iteration], object] | None = None,
    ) -> ALSModel:
        """Train on a matrix of weights.

        Parameters
        ----------
        interactions : scipy sparse, (n_users, n_items)
            Weights r ≥ 0; a stored zero is an item the user has seen and that counts for nothing.
        init : ALSModel, optional
            Start from these factors. Rows the matrix has beyond them start anew.
        callback : callable, optional
            Called with an `Iteration` before the first and after each.

        Raises
        ------
        InvalidInput
            A matrix without a positive entry, or one that `as_rows` refuses.
        ModelError
            Factors that are not finite.
        """
        users = as_rows(interactions, "interactions")
        user_counts, item_counts = users.counts(), users.column_counts()
        if not user_counts.any():
            raise InvalidInput(
                f"interactions must have at least one weight above 0, got none in "
                f"{len(users)} × {users.n_columns}"
            )
        tell = callback or (lambda _: None)
        begun = default_timer()
        items = users.transposed()
        X, Y = self._start(len(users), len(items), init)
        tell(Iteration(0, None, default_timer() - begun, "prepared"))
        means = (mean_count(user_counts), mean_count(item_counts))
        with pool(self.threads) as workers:
            for number in range(1, self.iterations + 1):
                begun = default_timer()
                penalty = self._half_step("users", users, X, Y, item_counts, means, workers).penalty
                loss = self._half_step("items", items, Y, X, user_counts, means, workers).loss
                tell(Iteration(number, loss + penalty, default_timer() - begun))
        return ALSModel(
            Y,
            item_counts,
            objective=self.objective,
            mean_user_count=means[0],
            mean_item_count=means[1],
            user_factors=X,
            user_counts=user_counts,
        )

    def _start(
        self, n_users: int, n_items: int, init: ALSModel | None
    ) -> tuple[Float32s, Float32s]:
        """Return factors to start from: those of `init` where it has some, small noise for new items."""
        d = self.n_factors
        generator = np.random.Generator(np.random.PCG64(self.seed))
        Y = generator.standard_normal((n_items, d), np.float32) * np.float32(0.1 / np.sqrt(d))
        X = np.zeros((n_users, d), np.float32)
        if init is not None:
            if init.n_factors != d:
                raise InvalidInput(f"init must have {d} factors, got {init.n_factors}")
            known = min(n_items, init.n_items)
            Y[:known] = init.item_factors[:known]
            if init.user_factors is not None:
                known = min(n_users, len(init.user_factors))
                X[:known] = init.user_factors[:known]
        return X, Y

    def _half_step(
        self,
        side: Side,
        rows: Rows,
        out: Float32s,
        factors: Float32s,
        counts: Int64s,
        means: tuple[float, float],
        workers: Pool,
    ) -> Solved:
        """Solve one side against the other, both in the other's principal axes afterwards."""
        fixed_which = 1 if side == "users" else 0
        objective = self.objective
        mean = means[fixed_which]
        missing = count_weights(counts, mean, objective.missing_exponents[fixed_which])
        rotation, spectrum = principal_axes(factors, missing, objective.unobserved_weight)
        factors[:] = factors @ rotation
        out[:] = out @ rotation
        fixed = FixedSide(
            factors,
            spectrum,
            count_weights(counts, mean, objective.positive_exponents[fixed_which]),
            objective.unobserved_weight * float(missing.sum(dtype=np.float64)),
        )
        return solve(
            rows,
            fixed,
            objective,
            side,
            means[1 - fixed_which],
            out=out,
            solver=self.solver,
            pool=workers,
        )
