"""Steps 5 and 8 of the flow: what being alike is worth to an item, by the shop and by the item's events.

Content neighbours add ``w_c σ g(n_i) Σ_j v_j C[j, i]`` to the score of an item with n_i entries.
``σ`` is learned with the generation: by how much factors and behaviour favour what is alike
(`content_scale`). ``g`` is large for an item without events, whose behaviour neighbours and own factors
are missing, and falls to 1 (`cold_start_multiplier`). Where being alike says little, that is not enough to be listed:
a part of every list's places is theirs in any case (`n_reserved`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from recstream.core.als import ALSModel
from recstream.core.content.features import trust
from recstream.core.neighbours import Neighbours, gather, seed_weights
from recstream.core.numeric.arrays import Float32s, Int64s

__all__ = [
    "COLD_START_BOOST",
    "COLD_START_SHARE",
    "ColdStart",
    "cold_start_multiplier",
    "content_scale",
    "n_reserved",
]

COLD_START_BOOST = 1.7
"""What content is worth beyond its usual worth to an item without events; see docs/explanation/research/cold-items.md."""
COLD_START_SHARE = 0.05
"""Part of a list's places that items without events have in any case; see docs/explanation/research/cold-items.md."""
MAX_USERS = 1_000
_LEAST, _MOST = 0.1, 3.0
_DOUBT = 1.0
_DIGITS = 3
_ROUNDING = 1e-9
"""0.29 · 100 is a little less than 29."""


def cold_start_multiplier(counts: Int64s, extra: float) -> Float32s:
    """Return what content is worth to items of so many entries, beside items of many.

    >>> cold_start_multiplier(np.array([0, 1, 9]), 2.0)
    array([3. , 2. , 1.2], dtype=float32)
    """
    return (1.0 + extra / (1.0 + np.asarray(counts, np.float64))).astype(np.float32)


class ColdStart(NamedTuple):
    """What a generation keeps for items without events.

    Attributes
    ----------
    share : float
        Of a list's places.
    threshold : float
        What content is worth to them: no other item has as much. Infinite if it is worth the same
        to all.
    """

    share: float
    threshold: float

    @classmethod
    def of(cls, hyperparameters: Mapping[str, Any]) -> ColdStart:
        """Return what hyper-parameters say."""
        extra = float(hyperparameters.get("newcomer_content", 0.0))
        most = float(cold_start_multiplier(np.zeros(1, np.int64), extra)[0])
        return cls(
            float(hyperparameters.get("newcomer_share", 0.0)), most if most > 1.0 else np.inf
        )


def n_reserved(share: float, n: int) -> int:
    """Return how many of n places are a share of them, rounded down.

    >>> n_reserved(0.05, 20), n_reserved(0.05, 19), n_reserved(0.29, 100)
    (1, 0, 29)
    """
    return min(n, int(share * n + _ROUNDING))


def content_scale(
    model: ALSModel,
    matrix: sparse.csr_matrix,
    content: Neighbours,
    behaviour: Neighbours,
    behaviour_weight: float,
    unit: float,
) -> float:
    """Return σ: the slope of what factors and behaviour give an item, over how alike it is.

    Least squares over users and the items near their histories that they lack, each user with a level
    of their own: ``Σ t (c - c̄_u) s / Σ t (c - c̄_u)²``. c is ``Σ_j v_j C[j, i]``, s the score without
    popularity in typical scores, t trusts items with many entries. It is drawn to 1 where there is
    little to look at, rounded, and from 0.1 to 3. At most `MAX_USERS` users are looked at, evenly
    chosen.

    Parameters
    ----------
    model : ALSModel
        With user factors.
    matrix : (n_users, n_items) csr
        What users have.
    content, behaviour : Neighbours
    behaviour_weight : float
        In typical scores.
    unit : float
        The typical score.
    """
    counts = model.item_counts
    if model.user_factors is None or not counts.any():
        return 1.0
    trusted = trust(counts)
    above = below = _DOUBT
    for user in range(0, matrix.shape[0], -(-matrix.shape[0] // MAX_USERS)):
        own = slice(matrix.indptr[user], matrix.indptr[user + 1])
        columns = matrix.indices[own].astype(np.int32)
        v = seed_weights(columns, matrix.data[own].astype(np.float32))
        rows, alike = gather(columns, v, [(content, 1.0)])
        fresh = ~np.isin(rows, columns) & (trusted[rows] > 0.0)
        rows, alike = rows[fresh], alike[fresh]
        if not len(rows):
            continue
        taste = model.user_factors[user].astype(np.float64)
        score = (model.item_factors[rows] * taste).sum(axis=1) / unit
        near = gather(columns, v, [(behaviour, behaviour_weight)])
        if len(near.rows):
            place = np.minimum(np.searchsorted(near.rows, rows), len(near.rows) - 1)
            score += np.where(near.rows[place] == rows, near.total[place], 0.0)
        weight = trusted[rows]
        beyond = alike - float((weight * alike).sum() / weight.sum())
        above += float((weight * beyond * score).sum())
        below += float((weight * beyond * beyond).sum())
    return round(min(max(above / below, _LEAST), _MOST), _DIGITS)
