"""Step 5 of the flow: items that moved since a generation, folded in against its users of today.

A delta is made of what the log holds, but it is itself the record that workers and replays go by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recstream.core.history import row
from recstream.core.matrix import Row, stack
from recstream.core.recency import changed
from recstream.core.records import DeltaAnnounced
from recstream.stream.follower import Touch, UserRows
from recstream.stream.training import Trained, counts_of, popularity_weight

MAX_ITEMS = 1_000
"""Items in one delta; more wait for the next."""
PRIOR_TOLERANCE = 0.02
"""A prior that moved by less than this part of β is not worth a record."""


class Deltas:
    """Follows users and items since a generation was trained.

    Parameters
    ----------
    trained : Trained
        The generation, with the matrix and users it was trained on.
    """

    def __init__(self, trained: Trained) -> None:
        generation = trained.generation
        self.generation = generation.number
        self.delta = generation.delta
        self._model = trained.model
        self._half_life_ms = float(generation.hyperparameters["half_life_ms"])
        self._beta = popularity_weight(generation.hyperparameters)
        self._items = list(generation.items)
        self._rows = dict(generation.rows)
        self._popularity = trained.popularity
        self._uncounted: list[int] = []
        self._told_bias = generation.bias.copy()
        self._users = {user: at for at, user in enumerate(trained.user_ids)}
        self._columns = trained.matrix.tocsc()
        self._moved = np.zeros(len(self._users), np.bool_)
        self._by_item: dict[int, dict[int, float]] = {}
        self._row_of: dict[int, Row] = {}
        if trained.model is not None and trained.model.user_factors is not None:
            self._user_factors = trained.model.user_factors.copy()
            self._user_counts = counts_of(trained.matrix)
        self._open_users: dict[str, None] = {}
        self._open_items: dict[int, None] = {}

    @property
    def is_open(self) -> bool:
        """Whether anything happened that no delta has told yet."""
        return bool(self._open_users or self._open_items)

    def touch(self, users: Iterable[str], touches: Sequence[Touch]) -> None:
        """Take in what a group of records changed."""
        self._open_users.update(dict.fromkeys(users))
        for touch in touches:
            at = self._rows.get(touch.item)
            if at is None:
                at = self._rows[touch.item] = len(self._items)
                self._items.append(touch.item)
            self._open_items[at] = None
            if touch.is_positive:
                self._uncounted.append(at)

    def make(
        self, users: Mapping[str, UserRows], offsets: Mapping[int, int], *, now_ms: int
    ) -> DeltaAnnounced | None:
        """Return the next delta, None if nothing moved.

        Parameters
        ----------
        users : mapping of str to UserRows
            As of ``offsets``.
        offsets : mapping of int to int
        now_ms : int
            For the record alone.
        """
        if not self.is_open:
            return None
        self._move_users(users)
        self._popularity = self._popularity.observe(
            np.array(self._uncounted, np.int64), len(self._items)
        )
        self._uncounted = []
        chosen = list(self._open_items)[:MAX_ITEMS]
        bias = self._popularity.bias(self._beta)
        n_told = len(self._told_bias)
        # New items must come in the order of their rows, without a gap.
        n_known = max([n_told, *(at + 1 for at in chosen)])
        chosen_set = set(chosen) | set(range(n_told, n_known))
        room = MAX_ITEMS - len(chosen_set)
        if room > 0:
            moved = changed(self._told_bias, bias[:n_told], PRIOR_TOLERANCE * self._beta)
            by_size = np.argsort(-np.abs(bias[moved] - self._told_bias[moved]), kind="stable")
            chosen_set.update(moved[by_size][:room].tolist())
        rows = sorted(chosen_set)
        factors, counts = self._fold_in_items(rows)
        self._told_bias = np.concatenate([self._told_bias, np.zeros(n_known - n_told, np.float32)])
        told = bias[rows]
        self._told_bias[rows] = told
        for at in rows:
            self._open_items.pop(at, None)
        if self._model is not None:
            self._model = self._model.with_items(
                np.array(rows, np.int32), factors, counts=counts.astype(np.int64)
            )
        self.delta += 1
        return DeltaAnnounced(
            generation=self.generation,
            delta=self.delta,
            offsets={str(partition): offset for partition, offset in sorted(offsets.items())},
            items=tuple(self._items[at] for at in rows),
            factors=factors.tobytes(),
            bias=told.tobytes(),
            counts=counts.tobytes(),
            created_ts=now_ms,
        )

    def _move_users(self, users: Mapping[str, UserRows]) -> None:
        """Give users who acted their rows and factors of today."""
        names = [user for user in self._open_users if user in users]
        self._open_users.clear()
        fresh = [user for user in names if user not in self._users]
        for user in fresh:
            self._users[user] = len(self._users)
        at = np.array([self._users[user] for user in names], np.int64)
        rows = [row(users[user].history(user), self._rows, self._half_life_ms) for user in names]
        n_users = len(self._users)
        self._moved = np.concatenate([self._moved, np.zeros(len(fresh), np.bool_)])
        self._moved[at] = True
        for user, (columns, weights) in zip(at.tolist(), rows, strict=True):
            for column in self._row_of.get(user, ((), ()))[0]:
                self._by_item[int(column)].pop(user, None)
            for column, weight in zip(columns.tolist(), weights.tolist(), strict=True):
                if weight > 0.0:
                    self._by_item.setdefault(column, {})[user] = weight
            self._row_of[user] = (columns[weights > 0.0], weights[weights > 0.0])
        model = self._model
        if model is None or not names:
            return
        known = model.n_items
        matrix = stack([_only(each, known) for each in rows], known)
        grown = n_users - len(self._user_factors)
        if grown:
            empty = np.zeros((grown, model.n_factors), np.float32)
            self._user_factors = np.concatenate([self._user_factors, empty])
            self._user_counts = np.concatenate([self._user_counts, np.zeros(grown, np.int64)])
        self._user_factors[at] = model.fold_in(matrix)
        self._user_counts[at] = counts_of(matrix)

    def _fold_in_items(self, rows: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return factors and counts of items, from the rows of users as they are now."""
        columns = [self._column(at) for at in rows]
        counts = np.array([len(users) for users, _ in columns], np.int32)
        model = self._model
        if model is None:
            return np.empty((len(rows), 0), np.float32), counts
        factors = model.fold_in_items(
            stack(columns, len(self._users)),
            user_factors=self._user_factors,
            user_counts=self._user_counts,
        )
        return factors, counts

    def _column(self, item: int) -> Row:
        """Return an item's users and weights: those of the training who did not move, and the rest."""
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


def _only(each: Row, n_columns: int) -> Row:
    """Return a row without the columns a model does not have yet."""
    columns, weights = each
    known = columns < n_columns
    return columns[known], weights[known]
