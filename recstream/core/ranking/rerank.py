"""Step 8 of the flow: users' factors + a steering document carried out → their lists, shaped.

Search, blending with neighbours and the rules for a batch of users of one arm; every user's bits are
those of the user alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.content import n_reserved
from recstream.core.generation import Generation
from recstream.core.history import History
from recstream.core.neighbours import Neighbours
from recstream.core.ranking.batch import Entries, Lists, RowLists, Scoring
from recstream.core.ranking.compiled_arm import Steered, gain_of
from recstream.core.ranking.exclusion import left_out
from recstream.core.ranking.rerank_kernel import make_lists
from recstream.core.search import EMPTY_KEY, best_keys
from recstream.core.steering import Arm

__all__ = ["POOL", "Shaped", "shape_lists", "tables_of"]

POOL = 3
"""Items that least relevance and diversity choose from, for each place of a list."""

_EVERY = np.empty(0, np.bool_)
_NONE: frozenset[int] = frozenset()
_NOT_ONE = frozenset([-1])


class Shaped(NamedTuple):
    """Lists of a batch: rows best first, -1 with -inf where one ends.

    ``is_near`` says to whose scores neighbours added, ``pinned`` which rows a rule put there,
    ``newcomers`` which rows others made way for.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    is_near: NDArray[np.bool_]
    pinned: list[frozenset[int]]
    newcomers: list[frozenset[int]]


def shape_lists(
    histories: Sequence[History],
    matrix: sparse.csr_matrix,
    factors: NDArray[np.float32],
    generation: Generation,
    way: Steered,
    n: int,
    *,
    allowed: NDArray[np.bool_] | None,
    known: bool = False,
    threads: int = 1,
) -> Shaped:
    """Return the lists of users whose rows are ``matrix`` and whose factors are ``factors``.

    Parameters
    ----------
    way : Steered
        The users' arm.
    allowed : (m,) bool or None
        False for what no list may hold.
    known : bool
        Items of the history may be listed too.
    """
    arm, index = way.arm, way.index
    # A list never fills up with places that are not allowed: at most every item but the seen ones.
    length = min(n, generation.n_items)
    is_shaped = bool(way.shape.min_relevance or way.shape.strength)
    size = min((POOL if is_shaped else 1) * length + len(way.pins), generation.n_items)
    places = min(n_reserved(way.newcomer_share, n), length)
    n_users = len(histories)
    entries = Entries(matrix.indptr.astype(np.int64), matrix.indices, matrix.data)
    seen = RowLists(entries.indptr, entries.columns)
    if known:
        seen = RowLists(np.zeros_like(entries.indptr), entries.columns[:0])
    if arm.fatigue is None:
        left, resting = seen, RowLists(np.zeros_like(entries.indptr), entries.columns[:0])
    else:
        left, resting = left_out(seen, _shown(histories, generation.rows, arm.fatigue.after))
    mask = _EVERY if allowed is None else allowed
    pool = best_keys(factors, index, size, left, mask, threads)
    lists = Lists(
        rows=np.empty((n_users, length), np.int32),
        scores=np.empty((n_users, length), np.float32),
        pins=np.zeros((n_users, len(way.pins)), np.bool_),
        newcomers=np.full((n_users, places), -1, np.int32),
        is_near=np.zeros(n_users, np.bool_),
    )
    scoring = Scoring(factors, index.item_factors, index.bias, index.norm, mask)
    newcomers = np.full((n_users, 2 * places), EMPTY_KEY)
    make_lists(
        entries, way.near, way.more, scoring, left, seen, resting, way.shape, pool, newcomers, lists
    )
    pinned, fresh = [_NONE] * n_users, [_NONE] * n_users
    if way.pins:
        pinned = [frozenset(way.shape.pin_rows[each].tolist()) for each in lists.pins]
    if places:
        fresh = [frozenset(each) - _NOT_ONE for each in lists.newcomers.tolist()]
    return Shaped(lists.rows, lists.scores, lists.is_near, pinned, fresh)


def tables_of(generation: Generation, arm: Arm) -> dict[str, tuple[Neighbours, float]]:
    """Return the neighbour tables that count in an arm's scores, each with its gain, by name."""
    tables = {"content": generation.content, "behaviour": generation.behaviour}
    gains = {name: gain_of(generation, arm, name) for name in tables}
    return {name: (table, gains[name]) for name, table in tables.items() if gains[name] > 0.0}


def _shown(histories: Sequence[History], row_of: Mapping[str, int], after: int) -> RowLists:
    """Return the rows of what was shown so often, of each user, in any order, -1 for unknown ones."""
    indptr = np.zeros(len(histories) + 1, np.int64)
    found: list[str] = []
    for at, history in enumerate(histories, start=1):
        found += [item for item, count in history.impressions if count >= after]
        indptr[at] = len(found)
    rows = list(map(row_of.get, found))
    if None in rows:
        rows = [-1 if row is None else row for row in rows]
    return RowLists(indptr, np.array(rows, np.int32))
