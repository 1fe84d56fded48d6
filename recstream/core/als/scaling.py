"""Hyper-parameters and score sizes in units that transfer between data sets.

Good values of α₀ and λ depend on the number of items and on the length of histories. Two ratios
transfer:

- *unobserved mass* ``U = α₀ |I| / n̄``: total weight of all cells of a user's row, relative to the
  observed ones;
- *ridge* ``R = λ n̄``: regularization of an average user, in units of one observation, whatever ν (see
  `recstream.core.als.objective`).

n̄ is the mean number of entries of users with any. Weights of popularity and neighbours are in units of
`typical_score`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recstream.core.als.model import ALSModel
from recstream.core.als.objective import Objective
from recstream.core.numeric.arrays import Int32s, Int64s
from recstream.core.validation import as_csr_rows
from recstream.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Proportions:
    """Hyper-parameters of an objective, independent of the size of the data.

    Attributes
    ----------
    unobserved_mass : float
        U > 0.
    ridge : float
        R > 0.
    regularization_exponent, positive_exponents, missing_exponents
        As in `recstream.core.als.objective`.
    """

    unobserved_mass: float = 0.4
    ridge: float = 0.7
    regularization_exponent: float = 1.0
    positive_exponents: tuple[float, float] = (0.0, 0.0)
    missing_exponents: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("unobserved_mass", "ridge"):
            value = getattr(self, name)
            if not 0.0 < value < float("inf"):
                raise InvalidInput(f"{name} must be a finite number above 0, got {value!r}")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    def objective(self, *, n_items: int, mean_user_count: float) -> Objective:
        """Return the objective for data of a size.

        >>> Proportions(3.0).objective(n_items=100, mean_user_count=10.0).unobserved_weight
        0.3
        """
        if n_items < 1 or not mean_user_count > 0:
            raise InvalidInput(
                f"n_items and mean_user_count must be above 0, got {n_items} and {mean_user_count}"
            )
        return Objective(
            regularization=self.ridge / mean_user_count,
            unobserved_weight=self.unobserved_mass * mean_user_count / n_items,
            regularization_exponent=self.regularization_exponent,
            positive_exponents=self.positive_exponents,
            missing_exponents=self.missing_exponents,
        )

    @classmethod
    def of(cls, objective: Objective, *, n_items: int, mean_user_count: float) -> "Proportions":
        """Return the proportions of an objective on data of a size, to 9 digits."""
        mean_weight = objective.alpha * mean_user_count
        return cls(
            unobserved_mass=_rounded(objective.unobserved_weight * n_items / mean_weight),
            ridge=_rounded(objective.regularization * mean_user_count),
            regularization_exponent=objective.regularization_exponent,
            positive_exponents=objective.positive_exponents,
            missing_exponents=objective.missing_exponents,
        )


def scaled(options: Mapping[str, Any], *, n_items: int, mean_user_count: float) -> dict[str, Any]:
    """Return options of `ALS` with the proportions among them as values for data of a size.

    ``unobserved_weight`` and ``regularization`` take precedence over proportions.

    Parameters
    ----------
    options : mapping
        Options of `ALS`, and optionally ``unobserved_mass`` and ``ridge``.

    >>> scaled({"alpha": 2.0, "ridge": 6.0}, n_items=100, mean_user_count=10.0)
    {'alpha': 2.0, 'regularization': 0.6}
    """
    out = dict(options)
    proportions = {name: out.pop(name) for name in ("unobserved_mass", "ridge") if name in out}
    objective = Proportions(**proportions).objective(
        n_items=n_items, mean_user_count=mean_user_count
    )
    for name, value in (("unobserved_mass", "unobserved_weight"), ("ridge", "regularization")):
        if name in proportions:
            out.setdefault(value, getattr(objective, value))
    return out


def _rounded(value: float) -> float:
    return float(f"{value:.9g}")


def typical_score(model: ALSModel, interactions: object) -> float:
    """Return the mean of ``x·y`` over the entries of a matrix: the scale of this model's scores.

    The factor between relative weights, such as the weight of popularity, and scores.
    Reads fewer than 200,000 entries, evenly spaced.

    Parameters
    ----------
    model : ALSModel
        With user factors.
    interactions : scipy sparse, (n_users, n_items)
    """
    if model.user_factors is None:
        raise InvalidInput("typical_score needs a model with user_factors; this one has none")
    rows = as_csr_rows(interactions, "interactions")
    if len(rows) > len(model.user_factors) or rows.n_columns > model.n_items:
        raise InvalidInput(
            f"interactions must have at most {len(model.user_factors)} rows and {model.n_items} "
            f"columns, got {len(rows)} and {rows.n_columns}"
        )
    places = np.arange(0, len(rows.indices), sample_step(len(rows.indices)))
    owners = np.searchsorted(rows.indptr, places, side="right") - 1
    return mean_score(model, owners, rows.indices[places])


def sample_step(n_entries: int) -> int:
    """Return the distance of the entries that `typical_score` reads."""
    return max(1, n_entries // 100_000)


def mean_score(model: ALSModel, users: Int64s, items: Int32s) -> float:
    """Return the mean of ``x·y`` over pairs of rows; at least 1e-6.

    Parameters
    ----------
    model : ALSModel
        With user factors.
    users, items : (n,) int
    """
    if model.user_factors is None:
        raise InvalidInput("mean_score needs a model with user_factors; this one has none")
    pairs = model.user_factors[users], model.item_factors[items]
    total = float(np.einsum("ij,ij->", *pairs, dtype=np.float64))
    return max(total / max(1, len(users)), 1e-6)
