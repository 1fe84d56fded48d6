"""Search of the weights of behaviour and popularity on held-out events, for factors that are chosen."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import sparse

from recstream.core.als import ALS, typical_score
from recstream.core.evaluation.metrics import hits, ndcg_at
from recstream.core.evaluation.search import split_entries
from recstream.core.neighbours import fit_behaviour, seed_weights
from recstream.core.numeric.arrays import Float64s
from recstream.core.popularity import fit_popularity
from recstream.core.validation import as_csr_rows

GRID: Mapping[str, tuple[float, ...]] = {
    "behaviour_weight": (0.0, 3.0, 6.0, 15.0, 25.0),
    "popularity_weight": (0.0, 0.1, 0.4, 0.8),
}
MAX_USERS = 2_000
MAX_CELLS = 1 << 24
"""Scores of all users together: they are computed for every value of the grid."""
LEAST_ERRORS = 2.0
"""A value must be better than the one in force by so many standard errors."""
_CHUNK = 256


def tune_weights(
    interactions: Any,
    at: Any,
    als_arguments: Mapping[str, Any],
    defaults: Mapping[str, float],
    *,
    k: int = 20,
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Return the weights with the best NDCG@k of held-out entries, those of `GRID` one after another.

    Factors are trained once. A weight changes only for a clear gain (`LEAST_ERRORS`), paired by user.

    Parameters
    ----------
    interactions : scipy sparse, (n, m)
        The training part alone.
    at : (nnz,) int
        Times of the entries in CSR order; the newest fifth of each user is held out.
    als_arguments : mapping
        From `TuningResult.als_arguments`.
    defaults : mapping of str to float
        The weights in force: ``behaviour_weight`` and ``popularity_weight``, in typical scores.
    """
    rows = as_csr_rows(interactions, "interactions")
    generator = np.random.Generator(np.random.PCG64(seed))
    train, test = split_entries(interactions, 0.2, generator, at)
    train.sort_indices()
    owners = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    all_owners = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
    keys = all_owners.astype(np.int64) * rows.n_columns + rows.indices
    order = np.argsort(keys)
    mine = owners.astype(np.int64) * rows.n_columns + train.indices
    when = np.asarray(at)[order[np.searchsorted(keys, mine, sorter=order)]]
    asked = np.flatnonzero((np.diff(test.indptr) > 0) & (np.diff(train.indptr) > 0))
    most = max(1, min(MAX_USERS, MAX_CELLS // train.shape[1]))
    if len(asked) > most:
        asked = np.sort(generator.choice(asked, most, replace=False))
    model = ALS(**als_arguments, seed=seed, threads=threads).fit(train)
    unit = typical_score(model, train)
    table = fit_behaviour(owners, train.indices, when, train.shape[1], threads=threads or 1)
    filled = table.rows >= 0
    behaviour = sparse.csr_matrix(
        (table.weights[filled], table.rows[filled], np.append(0, np.cumsum(filled.sum(axis=1)))),
        shape=(train.shape[1], train.shape[1]),
    )
    known, wanted = train[asked], test[asked]
    seeds = known.copy()
    for row in range(len(asked)):
        own = slice(known.indptr[row], known.indptr[row + 1])
        seeds.data[own] = seed_weights(known.indices[own], known.data[own].astype(np.float32))
    near = (seeds @ behaviour).tocsr() * unit
    popular = fit_popularity(train.indices, when, train.shape[1]).bias(unit)
    users = model.fold_in(known, threads=threads or 1)

    def score(weights: Mapping[str, float]) -> Float64s:
        progress()
        ids = np.empty((len(asked), min(k, train.shape[1])), np.int32)
        for start in range(0, len(asked), _CHUNK):
            part = slice(start, start + _CHUNK)
            scores = users[part] @ model.item_factors.T + weights["popularity_weight"] * popular
            scores += weights["behaviour_weight"] * near[part].toarray()
            scores[known[part].nonzero()] = -np.inf
            ids[part] = np.argsort(-scores, axis=1, kind="stable")[:, : ids.shape[1]]
        return ndcg_at(hits(ids, wanted), np.diff(wanted.indptr), k)

    chosen = dict(defaults)
    best = score(chosen)
    for name, values in GRID.items():
        for value in values:
            found = score({**chosen, name: value})
            more = found - best
            error = float(more.std()) / math.sqrt(max(1, len(more)))
            if more.mean() > LEAST_ERRORS * error:
                chosen, best = {**chosen, name: value}, found
    return chosen
