"""Step 8 of the flow: users' factors + a steering document carried out → their lists, shaped.

Search, blending with neighbours and the rules for a batch of users of one arm; every user's bits are
those of the user alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.arranging import Shape, arrange
from recstream.core.history import History
from recstream.core.model import Generation
from recstream.core.neighbours import Neighbours
from recstream.core.ranking import top_n
from recstream.core.rerank import Items, Lists, Near, blend, merged_rows, sorted_rows, strengths_of
from recstream.core.steered import Steered
from recstream.core.steering import Arm, Blend

__all__ = ["POOL", "Shaped", "shape_lists", "tables_of"]

POOL = 3
"""Items that least relevance and diversity choose from, for each place of a list."""

_EVERY = np.empty(0, np.bool_)
_NONE: frozenset[int] = frozenset()


class Shaped(NamedTuple):
    """Lists of a batch: rows best first, -1 with -inf where one ends.

    ``is_near`` says to whose scores neighbours added, ``pinned`` which rows a rule put there.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    is_near: NDArray[np.bool_]
    pinned: list[frozenset[int]]


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
    arm = way.arm
    resting = _resting(histories, generation, arm)
    # A list never fills up with places that are not allowed: at most every item but the seen ones.
    length = min(n, generation.n_items)
    is_shaped = bool(arm.min_relevance or (arm.diversity and arm.diversity.strength))
    size = min((POOL if is_shaped else 1) * length + len(way.pins), generation.n_items)
    seen = sparse.csr_matrix(matrix.shape, dtype=np.float32) if known else matrix
    exclude = _with(seen, resting) if len(resting[1]) else seen
    base = Lists(*top_n(factors, way.index, size, exclude=exclude, mask=allowed, threads=threads))
    index = way.index
    items = Items(
        index.item_factors, index.bias, index.norm, _EVERY if allowed is None else allowed
    )
    blended = blend(
        base,
        _near(matrix, generation, arm),
        factors,
        items,
        left_out=(exclude.indptr.astype(np.int64), exclude.indices),
        pins=way.pin_rows,
        resting=resting,
    )
    lists = blended.lists
    pinned = [_NONE] * len(histories)
    has_room = len(resting[1]) > 0 and bool((lists.rows[:, -1] < 0).any())
    if is_shaped or way.pins or has_room:
        seen_at = seen.indptr.astype(np.int64), seen.indices
        shape = _shape(way, length)
        lists, holds = arrange(blended, shape, factors, items, seen=seen_at, resting=resting)
        if way.pins:
            pinned = [frozenset(way.pin_rows[each].tolist()) for each in holds]
    return Shaped(*lists, blended.is_near, pinned)


def tables_of(generation: Generation, arm: Arm) -> dict[str, tuple[Neighbours, float]]:
    """Return the neighbour tables that count in an arm's scores, each with its gain, by name."""
    blending = arm.blend or Blend()
    gains = {
        "content": (generation.content, blending.content * generation.gain("content")),
        "behaviour": (generation.behaviour, blending.behaviour * generation.gain("behaviour")),
    }
    return {name: (table, gain) for name, (table, gain) in gains.items() if gain > 0.0}


def _near(matrix: sparse.csr_matrix, generation: Generation, arm: Arm) -> Near:
    """Return how the entries of histories speak through the neighbour tables."""
    tables = tables_of(generation, arm)
    indptr, columns = matrix.indptr.astype(np.int64), matrix.indices
    speaking = strengths_of(indptr, matrix.data) if tables else matrix.data
    content, behaviour = (
        tables.get(name, (table, 0.0))
        for name, table in (("content", generation.content), ("behaviour", generation.behaviour))
    )
    return Near(
        indptr, columns, speaking,
        content[0].rows, content[0].weights, content[1], generation.content_worth,
        behaviour[0].rows, behaviour[0].weights, behaviour[1],
    )  # fmt: skip


def _resting(
    histories: Sequence[History], generation: Generation, arm: Arm
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the rows, ascending, that rotation lets rest for each user: (indptr, rows)."""
    indptr = np.zeros(len(histories) + 1, np.int64)
    if arm.rotation is None:
        return indptr, np.empty(0, np.int32)
    after, row_of = arm.rotation.after, generation.rows.get
    found: list[int] = []
    for at, history in enumerate(histories, start=1):
        found += [row_of(item, -1) for item, count in history.shown if count >= after]
        indptr[at] = len(found)
    return sorted_rows(indptr, np.array(found, np.int32))


def _with(
    seen: sparse.csr_matrix, resting: tuple[NDArray[np.int64], NDArray[np.int32]]
) -> sparse.csr_matrix:
    """Return what is left out of base lists: seen and resting items."""
    indptr, rows = merged_rows(seen.indptr.astype(np.int64), seen.indices, *resting)
    left_out = sparse.csr_matrix((np.ones(len(rows), np.bool_), rows, indptr), shape=seen.shape)
    left_out.has_sorted_indices = True
    return left_out


def _shape(way: Steered, length: int) -> Shape:
    """Return what an arm makes of a list."""
    arm = way.arm
    diversity = arm.diversity
    return Shape(
        length,
        way.pin_places,
        way.pin_rows,
        arm.min_relevance or 0.0,
        0.0 if diversity is None else diversity.strength,
        way.aspects,
        diversity is not None and "taste" in diversity.by,
    )
