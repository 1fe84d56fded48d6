"""Training: the estimator `ALS`, which alternates half-steps over users and items.

The loss is in `recstream.core.als.objective`, a half-step in `recstream.core.als.half_step`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numba
import numpy as np

from recstream.core.als.half_step import (
    Axes,
    Plan,
    Side,
    Solved,
    Solver,
    make_plan,
    principal_axes,
    rotate,
    solve,
    width_of,
)
from recstream.core.als.model import ALSModel
from recstream.core.als.objective import Objective, count_weights, mean_count
from recstream.core.als.warm_up import is_warm, warm_up
from recstream.core.numeric.arrays import Float32s, Float64s, Int64s
from recstream.core.numeric.pool import Pool, open_pool
from recstream.core.validation import CSRRows, as_csr_rows, as_finite, as_whole
from recstream.errors import InvalidInput

_DEFAULT = Objective()
MAX_FACTORS = 1 << 16
MAX_ITERATIONS = 1_000_000


@dataclass(frozen=True, slots=True)
class Iteration:
    """Progress of a training, as `callback` receives it.

    Attributes
    ----------
    number : int
        From 1; 0 for the preparation.
    loss : float or None
        The objective after the iteration; none for the preparation.
    seconds : float
        Its wall time, by `ALS.clock`.
    note : str
        What happens, for a person.
    skipped : int
        Rows left unchanged, because they were within the tolerance.
    """

    number: int
    loss: float | None
    seconds: float
    note: str = ""
    skipped: int = 0


class ALS:
    """Implicit alternating least squares. `fit` returns a model and leaves the estimator unchanged.

    Parameters
    ----------
    n_factors : int
        Length of the latent vectors.
    regularization : float
        λ > 0, in units of the weight an average row has observed.
    alpha : float
        Scale of observed weights.
    unobserved_weight : float
        α₀ > 0: weight of an unobserved entry.
    regularization_exponent : float
        ν: how regularization grows with the row's weight.
    positive_exponents, missing_exponents : (float, float)
        Frequency weights of users and items; see `recstream.core.als.objective`.
    iterations : int
        Each solves both sides once.
    solver : {"mixed", "exact"}
        "exact" solves every row by Cholesky. "mixed" solves long rows by a few warm-started steps
        of conjugate gradients.
    seed : int
        Seed of the random start.
    threads : int, optional
        Maximum number of threads; by default that of numba (``NUMBA_NUM_THREADS``, or the
        processors this process may use).
    tolerance : float
        With "mixed", skip a long row whose excess loss is at most this share of its weight: most
        rows of a warm start. 0 solves every row.
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
        tolerance: float = 0.0,
    ) -> None:
        self.n_factors = n_factors
        self.regularization = regularization
        self.alpha = alpha
        self.unobserved_weight = unobserved_weight
        self.regularization_exponent = regularization_exponent
        self.positive_exponents = positive_exponents
        self.missing_exponents = missing_exponents
        self.iterations = iterations
        self.solver: Solver = solver
        self.seed = seed
        self.threads = threads
        self.tolerance = tolerance
        self._check()

    def _check(self) -> Objective:
        """Return the objective; raises `InvalidInput` for a wrong parameter."""
        as_whole(self.n_factors, "n_factors", 1, MAX_FACTORS)
        as_whole(self.iterations, "iterations", 1, MAX_ITERATIONS)
        as_whole(self.seed, "seed", 0)
        if self.threads is not None:
            as_whole(self.threads, "threads", 1)
        if as_finite(self.tolerance, "tolerance") < 0:
            raise InvalidInput(
                f"tolerance must be a finite number of at least 0, got {self.tolerance!r}"
            )
        if self.solver not in ("mixed", "exact"):
            raise InvalidInput(f'solver must be "mixed" or "exact", got {self.solver!r}')
        return self.objective

    @property
    def objective(self) -> Objective:
        """The loss that `fit` minimises."""
        return Objective(**{field.name: getattr(self, field.name) for field in fields(Objective)})

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002  (sklearn's)
        """Return the constructor's arguments, as scikit-learn's ``clone`` expects."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **parameters: Any) -> ALS:
        """Change constructor arguments, and return the estimator.

        Raises
        ------
        InvalidInput
            An unknown name or a wrong value; nothing is changed.
        """
        if unknown := sorted(set(parameters) - set(_PARAMETERS)):
            raise InvalidInput(f"ALS has the parameters {list(_PARAMETERS)}, got {unknown}")
        vars(self).update(vars(type(self)(**{**self.get_params(), **parameters})))
        return self

    def __repr__(self) -> str:
        changed = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if repr(value) != repr(_PARAMETERS[name])
        ]
        return f"ALS({', '.join(changed)})"

    @staticmethod
    def clock() -> float:
        """Return the time in seconds, for `Iteration.seconds`.

        The core reads no clock: `recstream.ALS` replaces this by `time.perf_counter`.
        """
        return 0.0

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
            Start from these factors. Rows that the matrix has beyond them start anew.
        callback : callable, optional
            Receives an `Iteration` before the first iteration and after each.

        Raises
        ------
        InvalidInput
            No positive entry, or a matrix that `as_csr_rows` refuses.
        ModelError
            Factors that are not finite.
        """
        objective = self._check()
        if init is not None and not isinstance(init, ALSModel):
            raise InvalidInput(f"init must be an ALSModel, got {type(init).__name__}")
        users = as_csr_rows(interactions, "interactions")
        user_counts, item_counts = users.counts_by_side()
        if not user_counts.any():
            raise InvalidInput(
                f"interactions must have at least one weight above 0, got none in "
                f"{len(users)} × {users.n_columns}"
            )
        report = callback or (lambda _: None)
        if not is_warm():
            report(Iteration(0, None, 0.0, "loading kernels; the first start compiles them"))
            warm_up()
        begun = self.clock()
        X, Y = self.initial_factors(len(users), users.n_columns, init)
        with open_pool(self._threads()) as pool:
            user_side = self._side("users", users, user_counts, item_counts)
            item_side = self._side("items", users.transposed(), item_counts, user_counts)
            report(Iteration(0, None, self.clock() - begun, "prepared"))
            for number in range(1, self.iterations + 1):
                begun = self.clock()
                by_user = self._half_step(user_side, X, Y, pool)
                by_item = self._half_step(item_side, Y, X, pool)
                seconds = self.clock() - begun
                loss = by_item.loss + by_user.penalty
                report(Iteration(number, loss, seconds, skipped=by_user.skipped + by_item.skipped))
            rotation, spectrum = self._axes(user_side, Y, pool)
            rotate(Y, rotation, np.arange(len(Y)), pool=pool)
            rotate(X, rotation, np.arange(len(X)), pool=pool)
        d = self.n_factors
        return ALSModel(
            np.ascontiguousarray(Y[:, :d]),
            item_counts,
            objective=objective,
            mean_user_count=mean_count(user_counts),
            user_factors=np.ascontiguousarray(X[:, :d]),
            user_counts=user_counts,
            spectrum=spectrum[:d],
            missing_total=user_side.missing_total,
        )

    def _threads(self) -> int:
        """Return the number of threads; by default that of numba."""
        return self.threads or int(vars(numba.config)["NUMBA_NUM_THREADS"])

    def initial_factors(
        self, n_users: int, n_items: int, init: ALSModel | None
    ) -> tuple[Float32s, Float32s]:
        """Return initial factors: those of `init`, small noise for items it lacks."""
        d = self.n_factors
        X, Y = (np.zeros((n, width_of(d)), np.float32) for n in (n_users, n_items))
        generator = np.random.Generator(np.random.PCG64(self.seed))
        Y[:, :d] = generator.standard_normal((n_items, d), np.float32) * np.float32(
            0.1 / np.sqrt(d)
        )
        if init is not None:
            if init.n_factors != d:
                raise InvalidInput(f"init must have {d} factors, got {init.n_factors}")
            known = min(n_items, init.n_items)
            Y[:known, :d] = init.item_factors[:known]
            if init.user_factors is not None:
                known = min(n_users, len(init.user_factors))
                X[:known, :d] = init.user_factors[:known]
        return X, Y

    def _side(self, side: Side, rows: CSRRows, counts: Int64s, fixed_counts: Int64s) -> _HalfStep:
        """Return what a half-step for one side needs besides the factors."""
        objective = self.objective
        which = 1 if side == "users" else 0
        mean = mean_count(fixed_counts)
        missing = count_weights(fixed_counts, mean, objective.missing_exponents[which])
        missing_total = objective.unobserved_weight * float(missing.sum(dtype=np.float64))
        plan = make_plan(
            rows,
            side,
            objective,
            mean=mean_count(counts),
            weight=count_weights(fixed_counts, mean, objective.positive_exponents[which]),
            missing_total=missing_total,
            n_factors=self.n_factors,
            solver=self.solver,
            n_tasks=16 * self._threads(),
        )
        moved = np.concatenate([np.empty(0, np.int64), *plan.gradient])
        return _HalfStep(plan, missing, missing_total, np.sort(moved))

    def _axes(self, half: _HalfStep, factors: Float32s, pool: Pool) -> tuple[Float64s, Float32s]:
        """Return the principal axes of the fixed side of a half-step."""
        return principal_axes(
            factors, self.n_factors, half.fixed_missing, self.objective.unobserved_weight, pool=pool
        )

    def _half_step(self, half: _HalfStep, out: Float32s, factors: Float32s, pool: Pool) -> Solved:
        """Solve one side against the other; leaves both in the other's principal axes."""
        rotation, spectrum = self._axes(half, factors, pool)
        rotate(factors, rotation, np.arange(len(factors)), pool=pool)
        rotate(out, rotation, half.moved, pool=pool)
        return solve(
            half.plan,
            Axes(factors, spectrum, self.n_factors),
            out,
            pool=pool,
            tolerance=self.tolerance,
        )


_PARAMETERS = {
    name: parameter.default
    for name, parameter in inspect.signature(ALS.__init__).parameters.items()
    if name != "self"
}
"""Arguments of `ALS` with their defaults."""


@dataclass(frozen=True)
class _HalfStep:
    """A plan, and the weights of its fixed side as missing entries.

    `moved` holds the rows that start from their old factors, which must be rotated too.
    """

    plan: Plan
    fixed_missing: Float32s
    missing_total: float
    moved: Int64s
