"""Current rows and factors of users, against which items are folded in between trainings.

Users without new events keep their rows of the training matrix and their factors, which are never
copied. Changed and new users are kept separately, by user and by item. So a delta costs only as much as
it has users and items.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from recstream.core.als import ALSModel
from recstream.core.history import Row, matrix_rows, stack
from recstream.core.numeric.arrays import GrowableArray, Int32s, Int64s, csr_of
from recstream.trainer.histories import HistoryColumns
from recstream.trainer.training import Trained, counts_of


class LiveUsers:
    """Current users since a generation was trained.

    A user has a number: the row of the training matrix, or the next one for a new user.
    """

    def __init__(self, trained: Trained) -> None:
        self._half_life_ms = float(trained.generation.hyperparameters["half_life_ms"])
        n_users = len(trained.users)
        numbers = np.full(int(trained.users.max(initial=-1)) + 1, -1, np.int32)
        numbers[trained.users] = np.arange(n_users)
        self._numbers = GrowableArray(numbers)
        self._columns = trained.matrix.tocsc()
        # Place of a changed or new user among `_factors`; -1 for the others.
        self._places = GrowableArray(np.full(n_users, -1, np.int32))
        self._by_item: dict[int, dict[int, float]] = {}
        self._row_of: dict[int, Row] = {}
        self._n_changed = 0
        model = trained.model
        if model is not None and model.user_factors is not None and model.user_counts is not None:
            self._trained = model.user_factors, model.user_counts
            self._factors = GrowableArray(np.empty((0, model.n_factors), np.float32))
            self._counts = GrowableArray(np.empty(0, np.int64))

    def numbers(self, users: Int32s) -> Int32s:
        """Return the numbers of users given by their rows in the histories; new users get one."""
        self._numbers.grow(int(users.max(initial=-1)) + 1, -1)
        found = self._numbers.rows[users]
        fresh = found < 0
        n_users = len(self._places.rows)
        found[fresh] = n_users + np.arange(np.count_nonzero(fresh))
        self._numbers.rows[users] = found
        self._places.grow(n_users + int(np.count_nonzero(fresh)), -1)
        return found

    def update(
        self, histories: HistoryColumns, users: Int32s, columns: Int32s, model: ALSModel | None
    ) -> None:
        """Recompute the rows and factors of users with new events.

        Parameters
        ----------
        users : (n,) int32
            Distinct rows of the histories.
        columns : (m,) int32
            Item row of each entry of these users, including items that ``model`` does not have yet;
            -1 for items without a row.
        model : ALSModel or None
            None: the generation has no factors.
        """
        entries = histories.entries_of(users)
        indptr, items, weights = matrix_rows(
            entries.indptr,
            columns,
            entries.weights,
            entries.at_ms,
            histories.runs["clock_ms"][users],
            self._half_life_ms,
        )
        rows = [(items[a:b], weights[a:b]) for a, b in itertools.pairwise(indptr.tolist())]
        numbers = self.numbers(users)
        places = self._places.rows[numbers]
        fresh = places < 0
        places[fresh] = self._n_changed + np.arange(np.count_nonzero(fresh))
        self._places.rows[numbers] = places
        self._n_changed += int(np.count_nonzero(fresh))
        for user, (at, values) in zip(numbers.tolist(), rows, strict=True):
            for column in self._row_of.get(user, ((), ()))[0]:
                self._by_item[int(column)].pop(user, None)
            for column, weight in zip(at.tolist(), values.tolist(), strict=True):
                if weight > 0.0:
                    self._by_item.setdefault(column, {})[user] = weight
            self._row_of[user] = (at[values > 0.0], values[values > 0.0])
        if model is None or not len(users):
            return
        known = model.n_items
        matrix = stack([_known_columns(each, known) for each in rows], known)
        self._factors.grow(self._n_changed)
        self._counts.grow(self._n_changed)
        self._factors.rows[places] = model.fold_in(matrix)
        self._counts.rows[places] = counts_of(matrix)

    def current(self, numbers: Int64s) -> tuple[NDArray[np.float32], Int64s]:
        """Return the factors (n, d) and counts (n,) of users by their numbers."""
        factors, counts = self._trained
        places = self._places.rows[numbers]
        changed = places >= 0
        safe = np.where(numbers < len(factors), numbers, 0)
        if not len(factors):
            return self._factors.rows[places], self._counts.rows[places]
        found, n = factors[safe], counts[safe]
        found[changed] = self._factors.rows[places[changed]]
        n[changed] = self._counts.rows[places[changed]]
        return found, n

    def fold_in_items(
        self, rows: NDArray[np.int32], model: ALSModel | None, prior: NDArray[np.float32] | None
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
        matrix = stack(columns, len(self._places.rows))
        touched, at = np.unique(matrix.indices, return_inverse=True)
        matrix = csr_of(matrix.indptr, at.astype(np.int32), matrix.data, len(touched))
        user_factors, user_counts = self.current(touched)
        factors = model.fold_in_items(
            matrix, user_factors=user_factors, user_counts=user_counts, prior=prior
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
            kept = (self._places.rows[users] < 0) & (weights > 0.0)
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
