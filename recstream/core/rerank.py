"""Step 8 of the flow, compiled: base list + neighbours → exact top by the sum; then places by the rules.

Both kernels work on a batch, user by user: a user's bits do not depend on the others.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.kernels.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.kernels.jit import compiled
from recstream.core.ranking.scan import exact_score

__all__ = ["Additions", "Lists", "Shape", "arrange", "blend"]

Bools = NDArray[np.bool_]
_LEAST = np.float32(-np.inf)


class Lists(NamedTuple):
    """Rows and scores of a batch, best first; -1 with -inf where a list ends."""

    rows: Int32s
    scores: Float32s


class Additions(NamedTuple):
    """What is added to the scores of some items of each user: user u has ``indptr[u]:indptr[u + 1]``.

    ``rows`` ascend within a user.
    """

    indptr: Int64s
    rows: Int32s
    total: Float64s


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


def blend(
    base: Lists,
    added: Additions,
    users: Float32s,
    items: Float32s,
    bias: Float32s,
    seen: tuple[Int64s, Int32s],
    mask: Bools,
) -> Lists:
    """Return the best rows by base score plus additions, as many as the base lists have.

    Additions are at least 0, so what is best by the sum is in the base list or was added to.

    Parameters
    ----------
    base : Lists
        The exact best by ``user · item + bias``.
    seen : indptr, indices
        Items left out of each user's list, ascending.
    mask : (m,) or (0,) bool
        False leaves an item out; empty for none.
    """
    rows, scores = base.rows.copy(), base.scores.copy()
    _blend(*added, users, items, bias, *seen, mask, rows, scores)
    return Lists(rows, scores)


@compiled
def _find(rows: Int32s, first: int, end: int, row: int) -> int:
    """Return where a row is in ``rows[first:end]``, -1 if it is not."""
    while first < end:
        middle = (first + end) >> 1
        if rows[middle] < row:
            first = middle + 1
        elif rows[middle] > row:
            end = middle
        else:
            return middle
    return -1


@compiled
def _enter(rows: Int32s, scores: Float32s, row: int, score: np.float32) -> None:
    """Put a row in its place in a list, equal scores by row; the last one falls out."""
    at = len(rows) - 1
    if scores[at] > score or (scores[at] == score and 0 <= rows[at] < row):
        return
    while at > 0 and (
        rows[at - 1] < 0
        or scores[at - 1] < score
        or (scores[at - 1] == score and rows[at - 1] > row)
    ):
        rows[at], scores[at] = rows[at - 1], scores[at - 1]
        at -= 1
    rows[at], scores[at] = row, score


@compiled
def _blend(
    near_indptr: Int64s,
    near_rows: Int32s,
    near_total: Float64s,
    users: Float32s,
    items: Float32s,
    bias: Float32s,
    seen_indptr: Int64s,
    seen_indices: Int32s,
    mask: Bools,
    rows: Int32s,
    scores: Float32s,
) -> None:
    """Turn base lists into lists by the sum, in place."""
    length = rows.shape[1]
    base_rows = np.empty(length, np.int32)
    base_scores = np.empty(length, np.float32)
    for u in range(rows.shape[0]):
        first, end = near_indptr[u], near_indptr[u + 1]
        if first == end or length == 0:
            continue
        is_listed = np.zeros(end - first, np.bool_)
        base_rows[:], base_scores[:] = rows[u], scores[u]
        rows[u], scores[u] = -1, _LEAST
        for at in range(length):
            row = base_rows[at]
            if row < 0:
                break
            score = base_scores[at]
            place = _find(near_rows, first, end, row)
            if place >= 0:
                is_listed[place - first] = True
                score = np.float32(np.float64(score) + near_total[place])
            _enter(rows[u], scores[u], row, score)
        if base_rows[length - 1] < 0:
            continue  # every item that may be listed is in the base list
        # No other item has a better base score than the last one of the base list, nor one
        # beyond what its length allows.
        limit = np.float64(base_scores[length - 1])
        for at in range(first, end):
            row = near_rows[at]
            if (
                is_listed[at - first]
                or np.float32(limit + near_total[at]) < scores[u, length - 1]
                or (len(mask) > 0 and not mask[row])
                or _find(seen_indices, seen_indptr[u], seen_indptr[u + 1], row) >= 0
            ):
                continue
            score = exact_score(users[u], items[row], bias[row])
            _enter(rows[u], scores[u], row, np.float32(np.float64(score) + near_total[at]))


def arrange(
    pool: Lists,
    shape: Shape,
    added: Additions,
    users: Float32s,
    items: Float32s,
    bias: Float32s,
    *,
    seen: tuple[Int64s, Int32s],
    resting: tuple[Int64s, Int32s],
    mask: Bools,
) -> tuple[Lists, Bools]:
    """Return lists of ``shape.length`` out of pools, and how many places of each are pinned.

    In this order: pinned items take their places; items below the least relevance go; what is left
    is chosen by score and difference; resting items fill what stays empty.

    Parameters
    ----------
    pool : Lists
        By score, without resting items.
    seen, resting : indptr, indices
        Items never listed, and items listed only if there is room, both ascending.

    Returns
    -------
    lists : Lists
    pins : (b, k) bool
        Which of the pins hold for each user.
    """
    n_users = len(pool.rows)
    rows = np.full((n_users, shape.length), -1, np.int32)
    scores = np.full((n_users, shape.length), _LEAST, np.float32)
    pins = np.zeros((n_users, len(shape.pin_rows)), np.bool_)
    _arrange(
        pool.rows, pool.scores, shape.pin_places, shape.pin_rows, shape.min_relevance,
        shape.strength, shape.aspects, shape.by_taste, *added, users, items, bias, *seen,
        *resting, mask, rows, scores, pins,
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
    near_indptr: Int64s,
    near_rows: Int32s,
    near_total: Float64s,
    users: Float32s,
    items: Float32s,
    bias: Float32s,
    seen_indptr: Int64s,
    seen_indices: Int32s,
    resting_indptr: Int64s,
    resting_rows: Int32s,
    mask: Bools,
    rows: Int32s,
    scores: Float32s,
    pins: Bools,
) -> None:
    """Fill lists, user by user."""
    length = rows.shape[1]
    for u in range(rows.shape[0]):
        seen = seen_indices[seen_indptr[u] : seen_indptr[u + 1]]
        near = slice(near_indptr[u], near_indptr[u + 1])
        for pin in range(len(pin_rows)):
            pins[u, pin] = pins[u].sum() < length and _may_list(pin_rows[pin], mask, seen)
        pinned = pin_rows[pins[u]]
        n_free = length - len(pinned)
        kept, kept_scores, n_kept = _without(pool_rows[u], pool_scores[u], pinned)
        if min_relevance > 0.0:
            n_kept = _drop_poor(kept, kept_scores, n_kept, bias, min_relevance)
        n_chosen = min(n_free, n_kept)
        if strength > 0.0 and n_kept > 1:
            _diversify(kept, kept_scores, n_kept, n_chosen, strength, aspects, by_taste, items)
        filling = np.full(n_free - n_chosen, -1, np.int32)
        filling_scores = np.full(n_free - n_chosen, _LEAST, np.float32)
        if n_free > n_chosen:
            for at in range(resting_indptr[u], resting_indptr[u + 1]):
                row = resting_rows[at]
                if _may_list(row, mask, seen) and not _has(pinned, row):
                    score = _score(users[u], items, bias, row, near_rows[near], near_total[near])
                    _enter(filling, filling_scores, row, score)
        pinned_scores = np.empty(len(pinned), np.float32)
        for pin in range(len(pinned)):
            pinned_scores[pin] = _score(
                users[u], items, bias, pinned[pin], near_rows[near], near_total[near]
            )
        _place(
            kept[:n_chosen], kept_scores, filling, filling_scores, pinned, pinned_scores,
            pin_places[pins[u]], rows[u], scores[u],
        )  # fmt: skip


@compiled
def _may_list(row: int, mask: Bools, seen: Int32s) -> bool:
    """Return whether an item is neither left out nor seen."""
    return (len(mask) == 0 or mask[row]) and _find(seen, 0, len(seen), row) < 0


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
def _score(
    user: Float32s,
    items: Float32s,
    bias: Float32s,
    row: int,
    near_rows: Int32s,
    near_total: Float64s,
) -> np.float32:
    """Return a user's score of an item, additions included."""
    score = exact_score(user, items[row], bias[row])
    place = _find(near_rows, 0, len(near_rows), row)
    return score if place < 0 else np.float32(np.float64(score) + near_total[place])


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
def _diversify(  # noqa: C901  (calls with vectors cost registers)
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
        taste[:] = np.float32(0.0)
        for k in range(unit.shape[0]):
            mine = unit[k, newest]
            for at in range(n_rows):
                taste[at] += mine * unit[k, at]
        for at in range(n_rows):
            likeness = max(0.0, np.float64(taste[at]))
            for a in range(aspects.shape[0]):
                code = aspects[a, rows[at]]
                likeness += code != 0 and code == aspects[a, rows[newest]]
            alike[at] = max(alike[at], likeness / n_aspects)
    all_rows, all_scores = rows[:n_rows].copy(), scores[:n_rows].copy()
    for place in range(n_chosen):
        rows[place], scores[place] = all_rows[order[place]], all_scores[order[place]]


@compiled
def _unit(rows: Int32s, items: Float32s) -> Float32s:
    """Return items' factors (d, n) scaled to length 1, zeros kept."""
    n_factors = items.shape[1]
    unit = np.empty((n_factors, len(rows)), np.float32)
    for at in range(len(rows)):
        factors = items[rows[at]]
        square = 0.0
        for k in range(n_factors):
            square += np.float64(factors[k]) * np.float64(factors[k])
        scale = np.float32(1.0 / math.sqrt(square)) if square > 0.0 else np.float32(0.0)
        for k in range(n_factors):
            unit[k, at] = factors[k] * scale
    return unit
