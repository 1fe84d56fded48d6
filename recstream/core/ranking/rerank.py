"""Rerank a batch of users of one arm: exact search, neighbour scores, rules."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.content import n_reserved
from recstream.core.generation import Generation
from recstream.core.history import History
from recstream.core.numeric.arrays import Int64s
from recstream.core.ranking.batch import BaseScoring, HistoryEntries, ListBuffers, RowLists
from recstream.core.ranking.compiled_arm import CompiledArm
from recstream.core.ranking.fatigue import cooling_rows, excluded_rows
from recstream.core.ranking.neighbour_scores import add_neighbour_scores
from recstream.core.ranking.rerank_kernel import rerank_batch
from recstream.core.search import EMPTY_KEY, SORTED, best_keys
from recstream.core.validation import CSRRows

POOL = 3
"""Size of the pool for minimum score and diversity, as a multiple of the list length."""

_ALL = np.empty(0, np.bool_)
_NONE: frozenset[int] = frozenset()
_NOT_ONE = frozenset([-1])


class Reranked(NamedTuple):
    """Lists of a batch.

    Attributes
    ----------
    rows, scores : (b, n)
        Item rows, best first; -1 and -inf after a list's end.
    is_near : (b,) bool
        Whether neighbours add to any score of the user.
    pinned : list of frozenset of int
        Rows that a rule pinned.
    cold_items : list of frozenset of int
        Rows in reserved slots.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    is_near: NDArray[np.bool_]
    pinned: list[frozenset[int]]
    cold_items: list[frozenset[int]]


def rerank(
    histories: Sequence[History],
    rows: CSRRows,
    factors: NDArray[np.float32],
    generation: Generation,
    compiled: CompiledArm,
    n: int,
    *,
    allowed: NDArray[np.bool_] | None,
    known: bool = False,
    threads: int = 1,
) -> Reranked:
    """Return the lists of a batch of users.

    Parameters
    ----------
    rows : CSRRows, (b, m)
        Their rows of the interaction matrix.
    factors : (b, d) float32
    allowed : (m,) bool or None
        False for items that no list may hold; None if all are allowed.
    known : bool
        Whether items of the history may be listed.
    """
    arm, index = compiled.arm, compiled.index
    length = min(n, generation.n_items)
    needs_pool = bool(compiled.list_rules.min_relevance or compiled.list_rules.strength)
    size = min((POOL if needs_pool else 1) * length + len(compiled.pins), generation.n_items)
    places = min(n_reserved(compiled.cold_share, n), length)
    n_users = len(histories)
    entries = HistoryEntries(rows.indptr, rows.indices, rows.weights, generation.scoring.seeds)
    seen = RowLists(entries.indptr, entries.columns)
    if known:
        seen = RowLists(np.zeros_like(entries.indptr), entries.columns[:0])
    if arm.fatigue is None:
        excluded, cooling = seen, RowLists(np.zeros_like(entries.indptr), entries.columns[:0])
    else:
        excluded, cooling = excluded_rows(
            seen, cooling_rows(histories, generation.rows, arm.fatigue.after)
        )
    mask = _ALL if allowed is None else allowed
    pool = best_keys(factors, index, size, excluded, mask, threads)
    lists = ListBuffers(
        rows=np.empty((n_users, length), np.int32),
        scores=np.empty((n_users, length), np.float32),
        pins=np.zeros((n_users, len(compiled.pins)), np.bool_),
        cold_items=np.full((n_users, places), -1, np.int32),
        is_near=np.zeros(n_users, np.bool_),
    )
    scoring = BaseScoring(factors, index.item_factors, index.bias, index.norm, mask)
    cold_items = np.full((n_users, 2 * places), EMPTY_KEY)
    rules, content, behaviour = compiled.list_rules, compiled.content, compiled.behaviour
    to_pins, to_cooling = np.zeros(lists.pins.shape), np.zeros(len(cooling.rows))
    if content.gain > 0.0 or behaviour.gain > 0.0:
        _sort_long(pool)
        add_neighbour_scores(
            entries, content, behaviour, rules.cold_threshold, scoring, excluded, rules.pin_rows,
            cooling, pool, cold_items, to_pins, to_cooling, lists.is_near,
        )  # fmt: skip
    _sort_long(pool)
    rerank_batch(
        scoring, seen, cooling, rules, content.multiplier, to_pins, to_cooling, pool, cold_items,
        lists,
    )  # fmt: skip
    pinned, fresh = [_NONE] * n_users, [_NONE] * n_users
    if compiled.pins:
        pinned = [frozenset(compiled.list_rules.pin_rows[each].tolist()) for each in lists.pins]
    if places:
        fresh = [frozenset(each) - _NOT_ONE for each in lists.cold_items.tolist()]
    return Reranked(lists.rows, lists.scores, lists.is_near, pinned, fresh)


def _sort_long(keys: Int64s) -> None:
    """Sort each user's keys, ascending, if they are so many that `keep` holds them as a heap."""
    if keys.shape[1] > SORTED:
        keys.sort(axis=1)
