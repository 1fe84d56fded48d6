"""Weighted ridge regression from sparse features to item factors.

Solved by conjugate gradients for all factors at once. Sums are float64 in a fixed order, without BLAS:
the map has the same bits whatever the BLAS and the number of threads.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.core.numeric.pool import SERIAL, Pool
from recstream.core.validation import as_csr_rows
from recstream.errors import InvalidInput

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Candidates for λ, in mean weights of an item."""
HELD_OUT = 8
"""One item in so many is held out to choose λ."""
MAX_STEPS = 24
TOLERANCE = 1e-3
"""Conjugate gradients stop when the residual is below this part of the right-hand side."""
CHOOSING = 20_000
"""At most so many items choose λ."""
_ROWS = 2_048


class Ridge(NamedTuple):
    """A solved map.

    Attributes
    ----------
    weights : (n_features, d) float32
        W.
    penalty : (d,) float64
        λ of each factor.
    explained : float
        R² on the held-out items at the chosen λ.
    """

    weights: Float32s
    penalty: Float64s
    explained: float


def ridge(
    features: sparse.csr_matrix,
    targets: Float32s,
    weights: Float64s,
    *,
    penalties: Sequence[float] = PENALTIES,
    pool: Pool = SERIAL,
) -> Ridge:
    """Return W that minimises ``Σ_i c_i |W f_i - y_i|² + λ c̄ |W|²``, λ chosen on held-out items.

    Parameters
    ----------
    features : (n, n_features) csr, float32
    targets : (n, d) float32
    weights : (n,) float64
        c, the weight of each item; items of weight 0 are skipped.
    penalties : sequence of float
        Candidates for λ; each factor gets its own.

    Raises
    ------
    InvalidInput
        An index of ``features`` lies outside of it, a value is negative or not finite, or shapes differ.
    """
    n = features.shape[0]
    features = as_csr_rows(features, "features").matrix()
    if targets.ndim != 2 or len(targets) != n or weights.shape != (n,):  # noqa: PLR2004 - a matrix
        raise InvalidInput(
            f"targets and weights must be of the {n} rows of features, got {targets.shape} and "
            f"{weights.shape}"
        )
    kept = np.flatnonzero((weights > 0.0) & (np.diff(features.indptr) > 0))
    d = targets.shape[1]
    if not len(kept):
        return Ridge(np.zeros((features.shape[1], d), np.float32), np.full(d, max(penalties)), 0.0)
    features, y = features[kept], targets[kept].astype(np.float64)
    c = weights[kept] / weights[kept].mean()
    chosen, explained = np.full(d, max(penalties)), 0.0
    if len(kept) >= HELD_OUT:
        chosen, explained = _choose(features, y, c, sorted(penalties, reverse=True), pool)
    solved = _solve(features, y, c, chosen, None, pool)
    return Ridge(solved.astype(np.float32), chosen, explained)


def _choose(
    features: sparse.csr_matrix, y: Float64s, c: Float64s, penalties: Sequence[float], pool: Pool
) -> tuple[Float64s, float]:
    """Return the λ with the least error on held-out items for each factor, and the R²."""
    every = -(-len(y) // CHOOSING)
    places = np.arange(0, len(y), every)
    # Items come sorted by id within what is new, so taking one in eight is as good as chance.
    is_out = np.arange(len(places)) % HELD_OUT == HELD_OUT - 1
    fit, out = places[~is_out], places[is_out]
    start = None
    errors = np.empty((len(penalties), y.shape[1]))
    for at, penalty in enumerate(penalties):
        start = _solve(
            features[fit], y[fit], c[fit], np.full(y.shape[1], penalty), start, pool, MAX_STEPS // 2
        )
        missed = multiply(features[out], start, pool) - y[out]
        errors[at] = np.einsum("ij,ij,i->j", missed, missed, c[out])
    best = errors.argmin(axis=0)
    total = float(np.einsum("ij,ij,i->", y[out], y[out], c[out]))
    left = float(errors[best, np.arange(y.shape[1])].sum())
    return np.asarray(penalties)[best], 1.0 - left / total if total > 0.0 else 0.0


def _solve(
    features: sparse.csr_matrix,
    y: Float64s,
    c: Float64s,
    penalty: Float64s,
    start: Float64s | None,
    pool: Pool,
    steps: int = MAX_STEPS,
) -> Float64s:
    """Solve ``(FᵀCF + λI) W = FᵀC y`` by conjugate gradients, preconditioned by the diagonal."""
    rows, columns = _csr(features), _csr(features.T.tocsr())
    squares = columns._replace(values=columns.values**2)
    diagonal = _product(squares, c[:, None], pool) + penalty
    right = _product(columns, y * c[:, None], pool)
    w = np.zeros_like(right) if start is None else start.copy()

    def applied(x: Float64s) -> Float64s:
        return np.asarray(
            _product(columns, _product(rows, x, pool) * c[:, None], pool) + penalty * x
        )

    residual = right if start is None else right - applied(w)
    goal = TOLERANCE**2 * np.einsum("ij,ij->j", right, right)
    z = residual / diagonal
    direction = z.copy()
    product = np.einsum("ij,ij->j", residual, z)
    for _ in range(steps):
        if (np.einsum("ij,ij->j", residual, residual) <= goal).all():
            break
        moved = applied(direction)
        step = product / np.maximum(np.einsum("ij,ij->j", direction, moved), 1e-300)
        w += step * direction
        residual = residual - step * moved
        z = residual / diagonal
        previous, product = product, np.einsum("ij,ij->j", residual, z)
        direction = z + product / np.maximum(previous, 1e-300) * direction
    return w


def multiply(matrix: sparse.csr_matrix, dense: Float64s, pool: Pool = SERIAL) -> Float64s:
    """Return ``matrix @ dense`` in float64, each row summed in the order of its columns."""
    return _product(_csr(matrix), dense, pool)


class _Csr(NamedTuple):
    """A CSR matrix in the kernel's types."""

    indptr: Int64s
    indices: Int32s
    values: Float64s


def _csr(matrix: sparse.csr_matrix) -> _Csr:
    return _Csr(
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data.astype(np.float64),
    )


def _product(matrix: _Csr, dense: Float64s, pool: Pool) -> Float64s:
    out = np.zeros((len(matrix.indptr) - 1, dense.shape[1]))
    dense = np.ascontiguousarray(dense, np.float64)
    pool.run(
        lambda first: _multiply(*matrix, dense, first, first + _ROWS, out),
        range(0, len(out), _ROWS),
    )
    return out


@compiled
def _multiply(
    indptr: Int64s,
    indices: Int32s,
    values: Float64s,
    dense: Float64s,
    first: int,
    last: int,
    out: Float64s,
) -> None:
    """Fill some rows of a product."""
    d = dense.shape[1]
    for row in range(first, min(last, len(out))):
        for a in range(indptr[row], indptr[row + 1]):
            column = indices[a]
            value = values[a]
            for k in range(d):
                out[row, k] += value * dense[column, k]
