"""Trained ALS model: fold-in, recommendation, explanation, serialisation.

Serving needs no user factors: item factors, item counts, the objective and the mean user count are
enough to fold users in from their histories.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from recstream.core.als.fold_in_items import ItemFoldIn
from recstream.core.als.fold_in_users import UserFoldIn
from recstream.core.als.half_step import padded, principal_axes, rotated
from recstream.core.als.objective import Objective, count_weights, mean_count
from recstream.core.als.serialize import decode_model, encode_model
from recstream.core.numeric.array_codec import array_digest, opened, read_arrays, write_arrays
from recstream.core.numeric.arrays import Float32s, Float64s, GrowableArray, Int32s, Int64s
from recstream.core.search import top_n
from recstream.core.validation import (
    CSRRows,
    as_counts,
    as_csr_rows,
    as_item_rows,
    as_matrix,
    as_positive,
    as_whole,
    kernel_array,
)
from recstream.errors import ArtifactCorrupt, InvalidInput


@dataclass(frozen=True, slots=True)
class Contributions:
    """Contribution of each entry of one history to the scores of some items.

    Attributes
    ----------
    items : (n,) int32
        Items that are explained.
    history : (h,) int32
        Items of the history, in its order.
    shares : (n, h) float64
        ``shares[a].sum()`` is the score of ``items[a]``, up to float32 rounding of that score.
    """

    items: Int32s
    history: Int32s
    shares: Float64s


class ALSModel:
    """Item factors, optionally user factors, and what fold-in needs.

    Parameters
    ----------
    item_factors : (m, d) float32
    item_counts : (m,) int
        Entries per item in the training matrix, for the separable weights.
    mean_user_count : float
        Mean entries per user in the training matrix.
    mean_item_count : float, optional
        By default that of `item_counts`.
    user_factors, user_counts : (n, d) float32 and (n,) int, optional
    spectrum, missing_total : (d,) float32 and float, optional
        Weight of the generation's items as missing entries. With them, the factors must be in
        principal axes. Without them, the factors are rotated there; no product ``x·y`` changes.
    """

    def __init__(
        self,
        item_factors: Float32s,
        item_counts: Int64s,
        *,
        objective: Objective,
        mean_user_count: float,
        mean_item_count: float | None = None,
        user_factors: Float32s | None = None,
        user_counts: Int64s | None = None,
        spectrum: Float32s | None = None,
        missing_total: float | None = None,
    ) -> None:
        item_factors = as_matrix(item_factors, "item_factors")
        if not item_factors.shape[1]:
            raise InvalidInput(f"item_factors must have some columns, got {item_factors.shape}")
        n_items, n_factors = item_factors.shape
        if not isinstance(objective, Objective):
            raise InvalidInput(f"objective must be an Objective, got {type(objective).__name__}")
        self.objective = objective
        item_counts = as_counts(item_counts, "item_counts", n_items)
        self.mean_user_count = as_positive(mean_user_count, "mean_user_count")
        self.mean_item_count = as_positive(
            mean_count(item_counts) if mean_item_count is None else mean_item_count,
            "mean_item_count",
        )
        if (user_factors is None) != (user_counts is None):
            raise InvalidInput("user_factors and user_counts must be given together")
        self.user_factors = None
        self.user_counts = None
        if user_factors is not None and user_counts is not None:
            user_factors = as_matrix(user_factors, "user_factors", n_columns=n_factors)
            self.user_counts = as_counts(user_counts, "user_counts", len(user_factors))
        if (spectrum is None) != (missing_total is None):
            raise InvalidInput("spectrum and missing_total must be given together")
        if spectrum is None or missing_total is None:
            missing = count_weights(
                item_counts, self.mean_item_count, objective.missing_exponents[1]
            )
            rotation, spectrum = principal_axes(
                padded(item_factors), n_factors, missing, objective.unobserved_weight
            )
            spectrum = spectrum[:n_factors]
            missing_total = objective.unobserved_weight * float(missing.sum(dtype=np.float64))
            item_factors = rotated(item_factors, rotation)
            user_factors = None if user_factors is None else rotated(user_factors, rotation)
        spectrum = kernel_array(spectrum, np.float32)
        if spectrum.shape != (n_factors,) or not np.all(np.isfinite(spectrum) & (spectrum >= 0)):
            raise InvalidInput(f"spectrum must be {n_factors} finite numbers of at least 0")
        self.user_factors = user_factors
        self.spectrum = spectrum
        self.missing_total = as_positive(missing_total, "missing_total")
        self._users: ItemFoldIn | None = None
        self._items = UserFoldIn(
            item_factors,
            item_counts,
            objective=objective,
            spectrum=spectrum,
            missing_total=self.missing_total,
            mean_user_count=self.mean_user_count,
            mean_item_count=self.mean_item_count,
        )

    def __repr__(self) -> str:
        users = "no" if self.user_factors is None else len(self.user_factors)
        return f"<ALSModel: {self.n_items} items, {users} users, {self.n_factors} factors>"

    @property
    def item_factors(self) -> Float32s:
        """(m, d) float32, in principal axes."""
        return self._items.item_factors

    @property
    def item_counts(self) -> Int64s:
        """(m,) int64, current entries per item."""
        return self._items.item_counts

    @property
    def n_factors(self) -> int:
        """Length of a factor row."""
        return int(self.item_factors.shape[1])

    @property
    def n_items(self) -> int:
        """Rows of `item_factors`."""
        return int(self.item_factors.shape[0])

    def replaced(self, **arguments: Any) -> ALSModel:
        """Return a copy made with other values of some arguments."""
        return ALSModel(**{**self._arguments(), **arguments})

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments that make this model."""
        return {
            "item_factors": self.item_factors,
            "item_counts": self.item_counts,
            "objective": self.objective,
            "mean_user_count": self.mean_user_count,
            "mean_item_count": self.mean_item_count,
            "user_factors": self.user_factors,
            "user_counts": self.user_counts,
            "spectrum": self.spectrum,
            "missing_total": self.missing_total,
        }

    def fold_in(
        self, interactions: object, *, threads: int = 1, skip_negligible: bool = False
    ) -> Float32s:
        """Return the factors (b, n_factors) of users with these histories.

        Exact (dual for up to `n_factors` entries, else primal), whatever solver the training
        used. A row's bits depend on that row alone: not on the others, nor on `threads`.

        Parameters
        ----------
        interactions : scipy sparse or CSRRows, (b, n_items)
            Weights of the histories; an empty row gives zeros. `CSRRows` are not checked again.
        skip_negligible : bool
            Leave out entries of less than 2^-100 of their row's largest weight.
        """
        rows = interactions
        if not isinstance(rows, CSRRows):
            rows = as_csr_rows(rows, "interactions", n_columns=self.n_items)
        return self._items.fold_in(
            rows, threads=as_whole(threads, "threads", 1), skip_negligible=skip_negligible
        )

    def fold_in_items(
        self,
        interactions: object,
        *,
        user_factors: Float32s | None = None,
        user_counts: Int64s | None = None,
        prior: Float32s | None = None,
        threads: int = 1,
    ) -> Float32s:
        """Return the factors of items with these users.

        An item with prior μ and n entries above zero minimises the loss of its observed entries
        plus ``(y - κμ)ᵀ D (y - κμ)``. Here ``κ = PRIOR_EVENTS / (PRIOR_EVENTS + n)``, and D holds
        the missing entries and the regularization. Without entries the result is μ; with many it
        tends to the result without a prior.

        Parameters
        ----------
        interactions : scipy sparse, (b, n_users)
            One row per item: the weights of its users.
        user_factors, user_counts : (n_users, n_factors) float32 and (n_users,) int, optional
            Current users, in this model's axes, if they changed since the training. Missing entries
            keep the weight of the generation's users.
        prior : (b, n_factors) float32, optional
            μ, in this model's axes, for instance `ContentModel.prior`. A row of zeros is no prior.

        Returns
        -------
        (b, n_factors) float32
        """
        item_fold_in = self.prepare_item_fold_in()
        if (user_factors is None) != (user_counts is None):
            raise InvalidInput("user_factors and user_counts must be given together")
        users = self.user_factors if user_factors is None else user_factors
        users = as_matrix(users, "user_factors", n_columns=self.n_factors)
        counts = self.user_counts if user_counts is None else user_counts
        counts = as_counts(counts, "user_counts", len(users))
        rows = as_csr_rows(interactions, "interactions", n_columns=len(users))
        return item_fold_in.fold_in_items(
            rows,
            users,
            counts,
            prior,
            mean_item_count=self.mean_item_count,
            threads=as_whole(threads, "threads", 1),
        )

    def prepare_item_fold_in(self) -> ItemFoldIn:
        """Return the solver of `fold_in_items`, made on the first call from all user factors."""
        if self._users is None:
            if self.user_factors is None or self.user_counts is None:
                raise InvalidInput("fold_in_items needs a model with user_factors")
            self._users = ItemFoldIn(
                self.user_factors, self.user_counts, self.mean_user_count, self.objective
            )
        return self._users

    def with_items(
        self, rows: Int32s, factors: Float32s, *, counts: Int64s | None = None
    ) -> ALSModel:
        """Return a copy with the factors of some items replaced or appended.

        Spectrum, mean counts and missing weights stay those of the generation. Applying deltas one
        by one or all at once gives the same bits.

        Parameters
        ----------
        rows : (k,) int
            Distinct item rows; rows past the end are appended.
        factors : (k, n_factors) float32
        counts : (k,) int, optional
            Their current entries; by default unchanged, 0 for new rows.
        """
        model = self.growing()
        model.put_items(rows, factors, counts=counts)
        return model

    def growing(self, arrays: Sequence[GrowableArray] | None = None) -> ALSModel:
        """Return a copy that `put_items` may change, with growable arrays of its own.

        Given arrays with the content of `growable_arrays` are taken over instead.
        """
        model = copy(self)
        model._items = self._items.growing(arrays)  # noqa: SLF001 - a copy of this one
        return model

    @property
    def growable_arrays(self) -> tuple[Float32s, Int64s, Float32s]:
        """The arrays that `put_items` changes."""
        return self._items.arrays

    def put_items(self, rows: Int32s, factors: Float32s, *, counts: Int64s | None = None) -> None:
        """Change the model in place as `with_items` does, at the cost of these items alone.

        Raises
        ------
        InvalidInput
            Not made by `growing`, or invalid values; the model is unchanged.
        """
        index = as_item_rows(rows, "rows", 2**31 - 1)
        if len(np.unique(index)) != len(index):
            raise InvalidInput(f"rows must be distinct, got {index.tolist()[:10]}")
        values = as_matrix(factors, "factors", n_columns=self.n_factors, n_rows=len(index))
        new_counts = None if counts is None else as_counts(counts, "counts", len(index))
        self._items.put(index.astype(np.int64), values, new_counts)

    def recommend(
        self,
        user_factors: Float32s,
        n: int = 20,
        *,
        exclude: object = None,
        bias: Float32s | None = None,
        mask: Any = None,
        threads: int | None = None,
    ) -> tuple[Int32s, Float32s]:
        """Return the `n` best items of each row of factors and their scores; see `top_n`."""
        options = {"exclude": exclude, "bias": bias, "mask": mask, "threads": threads}
        return top_n(user_factors, self.item_factors, n, **options)

    def similar_items(self, items: Any, n: int = 10) -> tuple[Int32s, Float32s]:
        """Return the `n` items of largest cosine with each given item, itself excluded."""
        index = as_item_rows(items, "items", self.n_items)
        norms = np.sqrt(np.einsum("ij,ij->i", self.item_factors, self.item_factors))
        unit = self.item_factors / np.maximum(norms, np.finfo(np.float32).tiny)[:, None]
        itself = sp.csr_matrix(
            (np.ones(len(index), np.float32), index, np.arange(len(index) + 1)),
            shape=(len(index), self.n_items),
        )
        return top_n(unit[index], unit, n, exclude=itself)

    def explain(self, interactions: object, item: int) -> Contributions:
        """Return the contribution of each entry of one history to the score of one item.

        The score ``y_jᵀ A⁻¹ Σ_i w_i y_i`` is a sum over the history (eq. 7 of Hu et al.).
        """
        return self.explain_list(interactions, np.array([item]))

    def explain_list(self, interactions: object, items: Any) -> Contributions:
        """Return the contributions of each entry of one history to the scores of several items.

        One factorisation serves the whole list; see `score_contributions` for its cost. The
        contributions to an item have the same bits in any list.
        """
        rows = as_csr_rows(interactions, "interactions", n_columns=self.n_items)
        if len(rows) != 1:
            raise InvalidInput(f"interactions must be one user's row, got {len(rows)} rows")
        shown = as_item_rows(items, "items", self.n_items)
        return Contributions(
            shown, rows.indices.copy(), self.contributions(rows.indices, rows.weights, shown)
        )

    def contributions(self, columns: Int32s, weights: Float32s, items: Int32s) -> Float64s:
        """Return the contributions (n, h) of h entries of a history to the scores of n items.

        `explain_list` without its checks, for a row of `recstream.core.history.matrix.matrix_row`.
        """
        return self._items.contributions(columns, weights, items)

    def arrays(self) -> dict[str, Any]:
        """Return the model as named arrays."""
        return encode_model(self._arguments())

    @classmethod
    def from_arrays(cls, named: dict[str, Any]) -> ALSModel:
        """Return the model of arrays from `arrays`.

        Raises
        ------
        ArtifactCorrupt
            A name, shape or type is wrong.
        """
        try:
            return cls(**decode_model(named))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactCorrupt(f"model arrays don't fit together: {error}") from error

    def digest(self) -> str:
        """Return the BLAKE2b of names, types, shapes and bytes of `arrays`, in hex."""
        return array_digest(self.arrays())

    def save(self, file: Any) -> str:
        """Write the model as ``.npz`` to a `pathlib.Path` or a binary stream; return its digest."""
        with opened(file, "wb") as stream:
            return write_arrays(stream, self.arrays())

    @classmethod
    def load(cls, file: Any) -> ALSModel:
        """Read a model from a `pathlib.Path` or a binary stream; nothing in it is executed.

        Raises
        ------
        ArtifactCorrupt
            Not a model, or its digest is not the stored one.
        """
        with opened(file, "rb") as stream:
            return cls.from_arrays(read_arrays(stream, str(file))[1])
