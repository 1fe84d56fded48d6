"""Current rows and factors of users, against which items are folded in between trainings.

Users without new events keep their rows of the training matrix. Changed rows are kept by user and
by item, so that finding an item's users costs only as much as it has users.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recstream.core.als import ALSModel
from recstream.core.history import Row, matrix_row, stack
from recstream.trainer.changelog import UserRows
from recstream.trainer.training import Trained, counts_of


class LiveUsers:
    """Current users since a generation was trained.

    Parameters
    ----------
    trained : Trained
        The generation, with the matrix and users that it was trained on.

    Attributes
    ----------
    factors, counts : (n, d) float32 and (n,) int64
        User factors and counts, in order of arrival; only if the generation has factors.
    """

    def __init__(self, trained: Trained) -> None:
        self._half_life_ms = float(trained.generation.hyperparameters["half_life_ms"])
        self._users = {user: at for at, user in enumerate(trained.user_ids)}
        self._columns = trained.matrix.tocsc()
        self._moved = np.zeros(len(self._users), np.bool_)
        self._by_item: dict[int, dict[int, float]] = {}
        self._row_of: dict[int, Row] = {}
        if trained.model is not None and trained.model.user_factors is not None:
            self.factors = trained.model.user_factors.copy()
            self.counts = counts_of(trained.matrix)

    def update(
        self, users: Mapping[str, UserRows], rows_of: Mapping[str, int], model: ALSModel | None
    ) -> None:
        """Recompute the rows and factors of users with new events.

        Parameters
        ----------
        users : mapping of str to UserRows
            Their histories.
        rows_of : mapping of str to int
            Item id to row, including items that ``model`` does not have yet.
        model : ALSModel or None
            None: the generation has no factors.
        """
        fresh = [user for user in users if user not in self._users]
        for user in fresh:
            self._users[user] = len(self._users)
        at = np.array([self._users[user] for user in users], np.int64)
        rows = [
            matrix_row(each.history(user), rows_of, self._half_life_ms)
            for user, each in users.items()
        ]
        self._moved = np.concatenate([self._moved, np.zeros(len(fresh), np.bool_)])
        self._moved[at] = True
        for user, (columns, weights) in zip(at.tolist(), rows, strict=True):
            for column in self._row_of.get(user, ((), ()))[0]:
                self._by_item[int(column)].pop(user, None)
            for column, weight in zip(columns.tolist(), weights.tolist(), strict=True):
                if weight > 0.0:
                    self._by_item.setdefault(column, {})[user] = weight
            self._row_of[user] = (columns[weights > 0.0], weights[weights > 0.0])
        if model is None or not users:
            return
        known = model.n_items
        matrix = stack([_known_columns(each, known) for each in rows], known)
        grown = len(self._users) - len(self.factors)
        if grown:
            empty = np.zeros((grown, model.n_factors), np.float32)
            self.factors = np.concatenate([self.factors, empty])
            self.counts = np.concatenate([self.counts, np.zeros(grown, np.int64)])
        self.factors[at] = model.fold_in(matrix)
        self.counts[at] = counts_of(matrix)

    def fold_in_items(
        self,
        rows: NDArray[np.int32],
        model: ALSModel | None,
        prior: NDArray[np.float32] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return factors and user counts of items, from the current rows of users.

        Parameters
        ----------
        rows : (n,) int32
        model : ALSModel or None
            None: the generation has no factors, the result is (n, 0).
        prior : (n, d) float32, optional
            Factors predicted from content; items with few users are pulled towards them.
        """
        columns = [self._column(at) for at in rows.tolist()]
        counts = np.array([len(users) for users, _ in columns], np.int32)
        if model is None:
            return np.empty((len(rows), 0), np.float32), counts
        factors = model.fold_in_items(
            stack(columns, len(self._users)),
            user_factors=self.factors,
            user_counts=self.counts,
            prior=prior,
        )
        return factors, counts

    def _column(self, item: int) -> Row:
        """Return an item's users and weights: unchanged users of the training, and changed users."""
        users = np.empty(0, np.int32)
        weights = np.empty(0, np.float32)
        base = self._columns
        if item < base.shape[1]:
            part = slice(base.indptr[item], base.indptr[item + 1])
            users, weights = base.indices[part], base.data[part]
            kept = ~self._moved[users] & (weights > 0.0)
            users, weights = users[kept], weights[kept]
        moved = self._by_item.get(item)
        if moved:
            users = np.concatenate([users, np.fromiter(moved, np.int32, len(moved))])
            weights = np.concatenate([weights, np.fromiter(moved.values(), np.float32, len(moved))])
            order = np.argsort(users, kind="stable")
            users, weights = users[order], weights[order]
        return users.astype(np.int32), weights


def _known_columns(each: Row, n_columns: int) -> Row:
    """Return a row without the columns that the model does not have yet."""
    columns, weights = each
    known = columns < n_columns
    return columns[known], weights[known]
