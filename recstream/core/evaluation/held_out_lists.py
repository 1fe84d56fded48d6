"""Lists of held-out entries by factors, behaviour neighbours and popularity, as they are served.

Content is not included: no hyper-parameter of a search changes it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from recstream.core.als import ALSModel, typical_score
from recstream.core.neighbours import Neighbours, fit_behaviour, seed_weights
from recstream.core.numeric.arrays import Float32s, Float64s, Int32s
from recstream.core.popularity import fit_popularity
from recstream.core.validation import as_csr_rows
from recstream.errors import InvalidInput

_CELLS = 1 << 22
"""Scores that are computed at once."""


def split_entries(
    interactions: Any, part: float, generator: np.random.Generator, at: Any = None
) -> tuple[sparse.csr_matrix, sparse.csr_matrix, Any]:
    """Split a matrix into a training and a test matrix; return them and the times of the training part.

    Parameters
    ----------
    interactions : scipy sparse, (n, m)
    part : float
        Part of each user's entries to hold out; a user keeps at least one entry.
    generator : numpy.random.Generator
        Chooses among entries of one time, or among all if no times are given.
    at : (nnz,) sortable, optional
        Times of the entries in CSR order; the newest are held out. Without them all are 0.
    """
    if not 0.0 < part < 1.0:
        raise InvalidInput(f"part must lie between 0 and 1, got {part}")
    rows = as_csr_rows(interactions, "interactions")
    counts = np.diff(rows.indptr)
    owners = np.repeat(np.arange(len(rows)), counts)
    if at is not None and not (
        interactions.format == "csr" and np.array_equal(interactions.indices, rows.indices)
    ):
        msg = (
            "at needs a CSR matrix with ascending columns and no repeated entries, got format "
            f"{interactions.format!r}; call tocsr(), sum_duplicates() and sort_indices(), then "
            "make at in that order"
        )
        raise InvalidInput(msg)
    times = np.zeros(len(owners), np.int64) if at is None else np.asarray(at)
    if times.shape != owners.shape:
        msg = f"at must have one time for each of {len(owners)} entries, got {times.shape}"
        raise InvalidInput(msg)
    newest_first = np.lexsort((generator.random(len(owners)), times, owners))[::-1]
    place = np.empty(len(owners), np.int64)
    ends = len(owners) - rows.indptr[1:]
    place[newest_first] = np.arange(len(owners)) - ends[owners[newest_first]]
    held = place < np.minimum(np.ceil(part * counts), counts - 1)[owners]
    shape = (len(rows), rows.n_columns)
    train, test = (
        sparse.csr_matrix((rows.weights[w], (owners[w], rows.indices[w])), shape=shape)
        for w in (~held, held)
    )
    return train, test, times[~held]


class HeldOutLists:
    """Some users' newest entries, held out, and lists made from the rest.

    Parameters
    ----------
    interactions : scipy sparse, (n, m)
        With sorted indices.
    at : (nnz,) sortable, optional
        Times of the entries in CSR order; the newest fifth of each user is held out, without times
        a random fifth.
    k : int
        Length of the lists.

    Attributes
    ----------
    matrix : (n, m) CSR
        The entries that are not held out.
    at : (nnz,)
        Their times.
    mean_user_count : float
        Mean number of their entries of users with any.
    """

    def __init__(
        self,
        interactions: Any,
        at: Any = None,
        *,
        k: int,
        generator: np.random.Generator,
        max_users: int,
        threads: int,
    ) -> None:
        self.matrix, wanted, self.at = split_entries(interactions, 0.2, generator, at)
        self._k, self._threads = k, threads
        counts = np.diff(self.matrix.indptr)
        self.mean_user_count = self.matrix.nnz / max(1, int(np.count_nonzero(counts)))
        asked = np.flatnonzero(np.diff(wanted.indptr))
        if not len(asked):
            msg = "interactions must have a user with two entries to hold one out, got none"
            raise InvalidInput(msg)
        if len(asked) > max_users:
            asked = np.sort(generator.choice(asked, max_users, replace=False))
        self._known, self._wanted = self.matrix[asked], wanted[asked]
        n_items, items = self.matrix.shape[1], self.matrix.indices
        owners = np.repeat(np.arange(len(counts)), counts)
        table = fit_behaviour(owners, items, self.at, n_items, threads=threads)
        self._near = _neighbour_scores(self._known, table)
        self._popular = fit_popularity(items, self.at, n_items).bias(1.0)

    def ndcg(self, model: ALSModel, weights: Sequence[Mapping[str, float]]) -> Float64s:
        """Return NDCG@k of each user's list for some weights of behaviour and popularity.

        Parameters
        ----------
        model : ALSModel
            Trained on `matrix`.
        weights : sequence of mapping
            ``behaviour_weight`` and ``popularity_weight``, in typical scores.

        Returns
        -------
        (n_weights, n_users) float64
        """
        unit = np.float32(typical_score(model, self.matrix))
        users = model.fold_in(self._known, threads=self._threads) / unit
        pairs = [(each["behaviour_weight"], each["popularity_weight"]) for each in weights]
        found = np.empty((len(pairs), len(users)))
        size = max(1, _CELLS // self.matrix.shape[1])
        for start in range(0, len(users), size):
            scores = users[start : start + size] @ model.item_factors.T
            for row, own in enumerate(scores, start=start):
                own[_row(self._known, row)[0]] = -np.inf
                at, near = _row(self._near, row)
                wanted = _row(self._wanted, row)[0]
                for column, (behaviour, popularity) in enumerate(pairs):
                    total = self._popular * np.float32(popularity)
                    total += own
                    total[at] += near * np.float32(behaviour)
                    found[column, row] = _ndcg(total, wanted, self._k)
        return found


def _neighbour_scores(known: sparse.csr_matrix, table: Neighbours) -> sparse.csr_matrix:
    """Return the scores of the neighbours of each row's entries."""
    filled = table.rows >= 0
    ends = np.append(0, np.cumsum(filled.sum(axis=1)))
    shape = (known.shape[1],) * 2
    behaviour = sparse.csr_matrix((table.weights[filled], table.rows[filled], ends), shape=shape)
    seeds = known.astype(np.float32)
    for start, end in zip(seeds.indptr[:-1], seeds.indptr[1:], strict=True):
        seeds.data[start:end] = seed_weights(seeds.indices[start:end], seeds.data[start:end])
    return (seeds @ behaviour).tocsr()


def _row(matrix: sparse.csr_matrix, row: int) -> tuple[Int32s, Float32s]:
    own = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return matrix.indices[own], matrix.data[own]


def _ndcg(scores: Float32s, wanted: Int32s, k: int) -> float:
    """Return NDCG@k of one list; equal scores are in the order of their rows."""
    gain = 0.0
    for item in wanted.tolist():
        score = scores[item]
        place = np.count_nonzero(scores > score)
        if place < k:
            place += np.count_nonzero(scores[:item] == score)
        if place < k:
            gain += _DISCOUNT[place]
    return gain / float(_DISCOUNT[: min(k, len(wanted))].sum())


_DISCOUNT = 1.0 / np.log2(np.arange(2.0, 1_002.0))
