"""Scale of content-similarity scores, per catalogue and per item, and slots for cold items.

Content neighbours add ``w_c σ g(n_i) Σ_j v_j C[j, i]`` to the score of an item i with n_i entries.
``σ`` is the content scale of the catalogue (`content_scale`), learned by least squares with each
generation. ``g`` is the cold-start multiplier of the item (`cold_start_multiplier`): large without
events, since behaviour neighbours and own factors are missing then, and falling to 1. Where content
predicts little, cold items still get a share of every list's slots (`n_reserved`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from recstream.core.als import ALSModel
from recstream.core.content.content_model import trust
from recstream.core.neighbours import Neighbours, SeedRule, gather, seed_weights
from recstream.core.numeric.arrays import Float32s, Int64s
from recstream.core.validation import as_csr_rows
from recstream.errors import InvalidInput

COLD_START_BOOST = 1.7
"""Multiplier of content scores for an item without events, less 1; see docs/explanation/research/cold-items.md."""
COLD_START_SHARE = 0.05
"""Part of a list's slots reserved for items without events; see docs/explanation/research/cold-items.md."""
SCALE_USERS = 1_000
_MIN, _MAX = 0.1, 3.0
_PRIOR = 1.0
_DIGITS = 3
_ROUNDING = 1e-9
"""0.29 · 100 is a little less than 29."""


def cold_start_multiplier(counts: Int64s, extra: float) -> Float32s:
    """Return the multiplier of content scores of items with so many entries: ``1 + extra / (1 + n)``.

    >>> cold_start_multiplier(np.array([0, 1, 9]), 2.0)
    array([3. , 2. , 1.2], dtype=float32)
    """
    return (1.0 + extra / (1.0 + np.asarray(counts, np.float64))).astype(np.float32)


class ColdStart(NamedTuple):
    """Cold-start settings of a generation.

    Attributes
    ----------
    share : float
        Share of a list's slots that is reserved for cold items.
    threshold : float
        Cold-start multiplier of a cold item; all others have a lower one. Infinite if the multiplier
        is 1 for all: then no item is cold.
    """

    share: float
    threshold: float

    @classmethod
    def of(cls, hyperparameters: Mapping[str, Any]) -> ColdStart:
        """Return the settings in a generation's hyper-parameters."""
        extra = float(hyperparameters.get("newcomer_content", 0.0))
        most = float(cold_start_multiplier(np.zeros(1, np.int64), extra)[0])
        return cls(
            float(hyperparameters.get("newcomer_share", 0.0)), most if most > 1.0 else np.inf
        )


def n_reserved(share: float, n: int) -> int:
    """Return how many of n slots are reserved: a share of them, rounded down.

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
    seeds: SeedRule = SeedRule(),  # noqa: B008
) -> float:
    """Return σ: the slope of the collaborative score over the content score.

    Least squares over users u and the content neighbours i of their histories that they lack, with an
    intercept for each user: ``Σ t (c - c̄_u) s / Σ t (c - c̄_u)²``. c is ``Σ_j v_j C[j, i]``; s the score
    of factors and behaviour neighbours in typical scores; t the `trust` in the item's entries. σ is
    shrunk towards 1, rounded, and clipped to 0.1 … 3. At most `SCALE_USERS` users, evenly chosen.

    Parameters
    ----------
    model : ALSModel
        With user factors.
    matrix : (n_users, n_items) csr
        Histories.
    behaviour_weight : float
        In typical scores.
    unit : float
        The typical score, the mean over the items of histories.
    """
    counts = model.item_counts
    checked = as_csr_rows(matrix, "matrix", n_columns=len(counts))
    if model.user_factors is not None and len(model.user_factors) != len(checked):
        raise InvalidInput(
            f"matrix must have {len(model.user_factors)} rows, one a user, got {len(checked)}"
        )
    matrix = checked.matrix()
    if model.user_factors is None or not counts.any():
        return 1.0
    trusted = trust(counts)
    above = below = _PRIOR
    for user in range(0, matrix.shape[0], -(-matrix.shape[0] // SCALE_USERS)):
        own = slice(matrix.indptr[user], matrix.indptr[user + 1])
        columns = matrix.indices[own].astype(np.int32)
        v = seed_weights(columns, matrix.data[own].astype(np.float32), seeds)
        rows, similarity = gather(columns, v, [(content, 1.0)])
        fresh = ~np.isin(rows, columns) & (trusted[rows] > 0.0)
        rows, similarity = rows[fresh], similarity[fresh]
        if not len(rows):
            continue
        taste = model.user_factors[user].astype(np.float64)
        score = (model.item_factors[rows] * taste).sum(axis=1) / unit
        near = gather(columns, v, [(behaviour, behaviour_weight)])
        if len(near.rows):
            place = np.minimum(np.searchsorted(near.rows, rows), len(near.rows) - 1)
            score += np.where(near.rows[place] == rows, near.total[place], 0.0)
        weight = trusted[rows]
        beyond = similarity - float((weight * similarity).sum() / weight.sum())
        above += float((weight * beyond * score).sum())
        below += float((weight * beyond * beyond).sum())
    return round(min(max(above / below, _MIN), _MAX), _DIGITS)
