"""Hold out items of each user that are similar to one another and unlike the rest of the history.

A part in order of time is like that: neighbouring visits are similar, and the newest are less similar to
the older ones. A random part is not. The measure is that of `docs/explanation/research/tuning.md`.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

CLOSENESS, DISSIMILARITY, POPULARITY = 8.0, 0.9, 0.1
"""Log-odds: of the rank by similarity to a seed item, of a standard deviation of the mean similarity to
the history, and of the log of an item's count. They give the held-out items of gowalla the similarity
and the popularity of its users' first and last visits, as far as the training part shows their order."""


def cluster_split(
    train: sparse.csr_matrix, part: float, generator: np.random.Generator
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Split a matrix of zeros and ones by user into one that is kept and one that is held out.

    A user keeps at least one entry.
    """
    items = train.T.tocsr()
    counts = np.diff(items.indptr)
    held = np.zeros(train.nnz, bool)
    for start, end in zip(train.indptr[:-1], train.indptr[1:], strict=True):
        own, n = train.indices[start:end], end - start
        n_held = min(int(np.ceil(part * n)), n - 1)
        if n_held < 1:
            continue
        odds = _log_odds(cosines_without_user(items[own], counts[own]), counts[own], generator)
        held[start + np.argsort(-(odds + generator.gumbel(size=n)))[:n_held]] = True
    kept, late = train.copy(), train.copy()
    kept.data, late.data = kept.data * ~held, late.data * held
    for each in (kept, late):
        each.eliminate_zeros()
    return kept, late


def cosines_without_user(
    items: sparse.csr_matrix, counts: NDArray[np.integer]
) -> NDArray[np.floating]:
    """Return the cosines (n, n) of the items of a user by the other users; 0 on the diagonal."""
    common = (items @ items.T).toarray() - 1.0
    others = np.sqrt(np.maximum(counts - 1, 1))
    np.fill_diagonal(common, 0.0)
    return np.asarray(common / others / others[:, None])


def _log_odds(
    cosines: NDArray[np.floating], counts: NDArray[np.integer], generator: np.random.Generator
) -> NDArray[np.floating]:
    """Return each item's log-odds of being held out with a random seed item."""
    n = len(cosines)
    seed = generator.integers(n)
    closeness = cosines[seed] + 1e-9 * generator.random(n)
    closeness[seed] = np.inf
    rank = np.empty(n)
    rank[np.argsort(-closeness)] = np.arange(n) / n
    mean = cosines.mean(axis=1)
    typical = (mean - mean.mean()) / (mean.std() + 1e-9)
    return np.asarray(-CLOSENESS * rank - DISSIMILARITY * typical - POPULARITY * np.log(counts))
