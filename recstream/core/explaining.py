"""Step 8 of the flow, why: a score as a sum over the entries of a history.

The score is ``y_jᵀ A⁻¹ Σ_i w_i y_i`` with the row's system A: a sum with one term per entry (eq. 7
of Hu, Koren & Volinsky, ICDM 2008, with this project's weights).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from recstream.core.kernels.arrays import Float32s, Float64s, Int32s

__all__ = ["Contributions", "split_scores"]


@dataclass(frozen=True, slots=True)
class Contributions:
    """How much each entry of one history adds to the scores of some items.

    Attributes
    ----------
    items : (n,) int32
        The items shown.
    history : (h,) int32
        The items of the history, in its order.
    shares : (n, h) float64
        ``shares[a].sum()`` is the score of ``items[a]``, up to float32 rounding of that score.
    """

    items: Int32s
    history: Int32s
    shares: Float64s


def split_scores(
    near: Float32s, shown: Float32s, weights: Float64s, diagonal: Float64s
) -> Float64s:
    """Return how much each entry adds to each score, in float64.

    Parameters
    ----------
    near : (h, d) float32
        Item factors of the history, in principal axes.
    shown : (n, d) float32
        Item factors of what is explained.
    weights, diagonal : (h,), (d,) float64
        The entries' weights and the row's prior.

    Returns
    -------
    (n, h) float64

    Cost: one factorisation, ``min(h, d)² max(h, d) + n h d`` multiply-adds.
    """
    root = np.sqrt(weights)
    scaled = near * root[:, None] / np.sqrt(diagonal)
    target = shown / np.sqrt(diagonal)
    h, d = scaled.shape
    if h == 0:
        return np.zeros((len(shown), 0))
    if h <= d:
        system = scaled @ scaled.T
        system[np.diag_indices(h)] += 1.0
        solved = scipy.linalg.solve(system, scaled @ target.T, assume_a="pos")
    else:
        system = scaled.T @ scaled
        system[np.diag_indices(d)] += 1.0
        solved = scaled @ scipy.linalg.solve(system, target.T, assume_a="pos")
    return np.asarray(solved.T * root, np.float64)
