"""Step 8 of the flow, compiled: a list by score → a list by the rules: pins, relevance, difference, rest.

A batch is worked on user by user: a user's bits do not depend on the others.
"""

# ruff: noqa: C901, PLR0912  (an inner loop is one function: calls with vectors cost registers)
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.kernels.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.kernels.jit import compiled
from recstream.core.ranking.score import exact_score
from recstream.core.rerank import LEAST, Blended, Items, Lists, enter, may_list

__all__ = ["Shape", "arrange"]

Bools = NDArray[np.bool_]


class Shape(NamedTuple):
    """What `arrange` makes of a list.

    Attributes
    ----------
    length : int
    pin_places, pin_rows : (k,) int32
        Places from 0, ascending, and the items that belong there.
    min_relevance : float
    strength : float
        Of diversity; 0 for none.
    aspects : (a, m) int32
        Codes by which items are alike if equal and not 0.
    by_taste : bool
        Near factors make items alike too.
    """

    length: int
    pin_places: Int32s
    pin_rows: Int32s
    min_relevance: float
    strength: float
    aspects: Int32s
    by_taste: bool


def arrange(
    blended: Blended,
    shape: Shape,
    users: Float32s,
    items: Items,
    *,
    seen: tuple[Int64s, Int32s],
    resting: tuple[Int64s, Int32s],
) -> tuple[Lists, Bools]:
    """Return lists of ``shape.length`` out of longer ones, and which pins hold for each user (b, k).

    In this order: pinned items take their places; items below the least relevance go; what is left
    is chosen by score and difference; resting items fill what stays empty.

    Parameters
    ----------
    blended : Blended
        Lists by score, without resting items.
    seen, resting : indptr, indices
        Items never listed, and items listed only if there is room, both ascending.
    """
    pool = blended.lists
    n_users = len(pool.rows)
    rows = np.full((n_users, shape.length), -1, np.int32)
    scores = np.full((n_users, shape.length), LEAST, np.float32)
    pins = np.zeros((n_users, len(shape.pin_rows)), np.bool_)
    _arrange(
        *pool, shape.pin_places, shape.pin_rows, shape.min_relevance, shape.strength,
        shape.aspects, shape.by_taste, blended.to_pins, blended.to_resting, users, items.factors, items.bias,
        items.mask, *seen, *resting, rows, scores, pins,
    )  # fmt: skip
    return Lists(rows, scores), pins


@compiled
def _arrange(
    pool_rows: Int32s,
    pool_scores: Float32s,
    pin_places: Int32s,
    pin_rows: Int32s,
    min_relevance: float,
    strength: float,
    aspects: Int32s,
    by_taste: bool,
    to_pins: Float64s,
    to_resting: Float64s,
    users: Float32s,
    items: Float32s,
    bias: Float32s,
    mask: Bools,
    seen_indptr: Int64s,
    seen_indices: Int32s,
    resting_indptr: Int64s,
    resting: Int32s,
    rows: Int32s,
    scores: Float32s,
    pins: Bools,
) -> None:
    """Fill lists, user by user."""
    length = rows.shape[1]
    for u in range(rows.shape[0]):
        seen = seen_indices[seen_indptr[u] : seen_indptr[u + 1]]
        n_pinned = 0
        for pin in range(len(pin_rows)):
            pins[u, pin] = n_pinned < length and may_list(pin_rows[pin], mask, seen)
            n_pinned += pins[u, pin]
        pinned = pin_rows[pins[u]]
        n_free = length - n_pinned
        kept, kept_scores, n_kept = _without(pool_rows[u], pool_scores[u], pinned)
        if min_relevance > 0.0:
            n_kept = _drop_poor(kept, kept_scores, n_kept, bias, min_relevance)
        n_chosen = min(n_free, n_kept)
        if strength > 0.0 and n_kept > 1:
            _diversify(kept, kept_scores, n_kept, n_chosen, strength, aspects, by_taste, items)
        filling = np.full(n_free - n_chosen, -1, np.int32)
        filling_scores = np.full(n_free - n_chosen, LEAST, np.float32)
        if n_free > n_chosen:
            for at in range(resting_indptr[u], resting_indptr[u + 1]):
                row = resting[at]
                if may_list(row, mask, seen) and not _has(pinned, row):
                    score = np.float64(exact_score(users[u], items[row], bias[row]))
                    enter(filling, filling_scores, row, np.float32(score + to_resting[at]))
        pinned_scores = np.empty(n_pinned, np.float32)
        at = 0
        for pin in range(len(pin_rows)):
            if pins[u, pin]:
                row = pin_rows[pin]
                score = np.float64(exact_score(users[u], items[row], bias[row]))
                pinned_scores[at] = np.float32(score + to_pins[u, pin])
                at += 1
        _place(
            kept[:n_chosen], kept_scores, filling, filling_scores, pinned, pinned_scores,
            pin_places[pins[u]], rows[u], scores[u],
        )  # fmt: skip


@compiled
def _has(rows: Int32s, row: int) -> bool:
    """Return whether a row is among others."""
    for each in rows:  # noqa: SIM110 - compiled
        if each == row:
            return True
    return False


@compiled
def _without(rows: Int32s, scores: Float32s, unwanted: Int32s) -> tuple[Int32s, Float32s, int]:
    """Return a list without some rows, and its length; the arrays may be longer."""
    kept, kept_scores = np.empty_like(rows), np.empty_like(scores)
    n_kept = 0
    for at in range(len(rows)):
        if rows[at] < 0:
            break
        if not _has(unwanted, rows[at]):
            kept[n_kept], kept_scores[n_kept] = rows[at], scores[at]
            n_kept += 1
    return kept, kept_scores, n_kept


@compiled
def _place(
    kept: Int32s,
    kept_scores: Float32s,
    filling: Int32s,
    filling_scores: Float32s,
    pinned: Int32s,
    pinned_scores: Float32s,
    pin_places: Int32s,
    rows: Int32s,
    scores: Float32s,
) -> None:
    """Write a list: pins where they belong, or at the end of a shorter one; kept, then filling."""
    at = from_kept = from_filling = pin = 0
    while at < len(rows):
        fills = from_filling < len(filling) and filling[from_filling] >= 0
        is_over = from_kept == len(kept) and not fills
        if pin < len(pinned) and (pin_places[pin] <= at or is_over):
            rows[at], scores[at] = pinned[pin], pinned_scores[pin]
            pin += 1
        elif from_kept < len(kept):
            rows[at], scores[at] = kept[from_kept], kept_scores[from_kept]
            from_kept += 1
        elif fills:
            rows[at], scores[at] = filling[from_filling], filling_scores[from_filling]
            from_filling += 1
        else:
            return
        at += 1


@compiled
def _drop_poor(
    rows: Int32s, scores: Float32s, n_rows: int, bias: Float32s, min_relevance: float
) -> int:
    """Keep, in place, what has enough of the best personal score; return how many."""
    best = 0.0
    for at in range(n_rows):
        best = max(best, np.float64(scores[at]) - np.float64(bias[rows[at]]))
    if best <= 0.0:
        return n_rows
    n_kept = 0
    for at in range(n_rows):
        if np.float64(scores[at]) - np.float64(bias[rows[at]]) >= min_relevance * best:
            rows[n_kept], scores[n_kept] = rows[at], scores[at]
            n_kept += 1
    return n_kept


@compiled
def _diversify(
    rows: Int32s,
    scores: Float32s,
    n_rows: int,
    n_chosen: int,
    strength: float,
    aspects: Int32s,
    by_taste: bool,
    items: Float32s,
) -> None:
    """Bring the rows to choose to the front, in place: maximal marginal relevance.

    Carbonell & Goldstein (SIGIR 1998): each next item has the most of
    ``(1 - strength) · score - strength · likeness``, the score as a part of the range of the pool's,
    the likeness that to the chosen item it is most like.
    """
    n_aspects = aspects.shape[0] + by_taste
    span = np.float64(scores[0]) - np.float64(scores[n_rows - 1])
    relevance = np.zeros(n_rows)
    if span > 0.0:
        for at in range(n_rows):
            above = np.float64(scores[at]) - np.float64(scores[n_rows - 1])
            relevance[at] = (1.0 - strength) * (above / span)
    unit = _unit(rows[:n_rows], items) if by_taste else np.empty((0, n_rows), np.float32)
    codes = np.empty((aspects.shape[0], n_rows), np.int32)
    for a in range(aspects.shape[0]):
        for at in range(n_rows):
            codes[a, at] = aspects[a, rows[at]]
    alike = np.zeros(n_rows)
    is_chosen = np.zeros(n_rows, np.bool_)
    order = np.empty(n_chosen, np.int64)
    taste = np.empty(n_rows, np.float32)
    for place in range(n_chosen):
        newest, most = -1, -np.inf
        for at in range(n_rows):
            if not is_chosen[at] and relevance[at] - strength * alike[at] > most:
                newest, most = at, relevance[at] - strength * alike[at]
        is_chosen[newest] = True
        order[place] = newest
        if place + 1 == n_chosen:
            break
        taste[:] = np.float32(0.0)
        for k in range(unit.shape[0]):
            line, mine = unit[k], unit[k, newest]
            for at in range(n_rows):
                taste[at] += mine * line[at]
        for at in range(n_rows):
            likeness = max(0.0, np.float64(taste[at]))
            for a in range(codes.shape[0]):
                likeness += codes[a, at] != 0 and codes[a, at] == codes[a, newest]
            alike[at] = max(alike[at], likeness / n_aspects)
    all_rows, all_scores = rows[:n_rows].copy(), scores[:n_rows].copy()
    for place in range(n_chosen):
        rows[place], scores[place] = all_rows[order[place]], all_scores[order[place]]


@compiled
def _unit(rows: Int32s, items: Float32s) -> Float32s:
    """Return items' factors (d, n) scaled to length 1, zeros kept."""
    n_factors, n_rows = items.shape[1], len(rows)
    unit = np.empty((n_factors, n_rows), np.float32)
    for at in range(n_rows):
        factors = items[rows[at]]
        for k in range(n_factors):
            unit[k, at] = factors[k]
    # Items side by side: each sum keeps its order, and many run at once.
    square, scale = np.zeros(n_rows), np.zeros(n_rows, np.float32)
    for k in range(n_factors):
        line = unit[k]
        for at in range(n_rows):
            square[at] += np.float64(line[at]) * np.float64(line[at])
    for at in range(n_rows):
        if square[at] > 0.0:
            scale[at] = np.float32(1.0 / math.sqrt(square[at]))
    for k in range(n_factors):
        line = unit[k]
        for at in range(n_rows):
            line[at] *= scale[at]
    return unit
