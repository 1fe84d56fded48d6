"""Step 8 of the flow, compiled: base lists → lists by the sum and by the rules: pins, relevance, difference, rest.

A batch is worked on user by user: a user's bits do not depend on the others.
"""

# ruff: noqa: C901, PLR0912  (an inner loop is one function: calls with vectors cost registers)
from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.core.numeric.simd import (
    LANES,
    LINE,
    add,
    load,
    multiply,
    prefetch,
    splat,
    store,
    zero,
)
from recstream.core.ranking.batch import Entries, Lists, Near, RowLists, Scoring, Shape, of_user
from recstream.core.ranking.cold_start_slots import make_way
from recstream.core.ranking.exclusion import has, may_list
from recstream.core.ranking.neighbour_scores import blend
from recstream.core.search import EMPTY_KEY, SORTED, exact_score, keep, key_of, row_of, score_of

__all__ = ["make_lists"]

Bools = NDArray[np.bool_]
_BLOCK = 4 * LANES
"""Items whose likeness to another is worked out at once."""


@compiled
def make_lists(
    entries: Entries,
    near: Near,
    more: Near,
    scoring: Scoring,
    left: RowLists,
    seen: RowLists,
    resting: RowLists,
    shape: Shape,
    pool: Int64s,
    newcomers: Int64s,
    lists: Lists,
) -> None:
    """Fill lists out of longer ones.

    What neighbours add comes first (`recstream.core.ranking.neighbour_scores.blend`). Then pinned items take their
    places; items below the least relevance go; what is left is chosen by score and difference; the
    last of it make way for newcomers; resting items fill what stays empty.

    Parameters
    ----------
    left, seen, resting : RowLists
        Items that base lists leave out; of these, what is never listed, and what is listed only if
        there is room.
    pool : (b, q) int64
        Keys of base lists, the worst first; changed.
    newcomers : (b, f) int64
        `EMPTY_KEY`; changed. Twice as many as there are places for newcomers.
    lists : Lists
        Written.
    """
    users, items, bias, _, mask = scoring
    pin_rows, strength = shape.pin_rows, shape.strength
    rows, places = lists.rows, lists.newcomers
    to_pins = np.zeros((rows.shape[0], len(pin_rows)))
    to_resting = np.zeros(len(resting.rows))
    if near.gain > 0.0 or more.gain > 0.0:
        blend(
            entries, near, more, shape.newest, scoring, left, pin_rows, resting, pool, newcomers,
            to_pins, to_resting, lists.is_near,
        )  # fmt: skip
    length = rows.shape[1]
    kept, kept_scores = np.empty(pool.shape[1], np.int32), np.empty(pool.shape[1], np.float32)
    filling = np.empty(length, np.int64)
    pinned, pinned_at = np.empty(len(pin_rows), np.int32), np.empty(len(pin_rows), np.int32)
    pinned_scores = np.empty(len(pin_rows), np.float32)
    for u in range(rows.shape[0]):
        if strength > 0.0 and shape.by_taste and u + 1 < rows.shape[0]:
            _announce(pool[u + 1], items)
        out = of_user(seen, u)
        n_pinned = 0
        for pin in range(len(pin_rows)):
            row = pin_rows[pin]
            if n_pinned < length and may_list(row, mask, out):
                lists.pins[u, pin] = True
                score = np.float64(exact_score(users[u], items[row], bias[row]))
                pinned[n_pinned], pinned_at[n_pinned] = row, shape.pin_places[pin]
                pinned_scores[n_pinned] = np.float32(score + to_pins[u, pin])
                n_pinned += 1
        _fall(pool[u])
        n_kept = 0
        for at in range(pool.shape[1] - 1, -1, -1):
            key = pool[u, at]
            if key == EMPTY_KEY:
                break
            kept[n_kept], kept_scores[n_kept] = row_of(key), score_of(key)
            n_kept += not has(pinned, n_pinned, kept[n_kept])
        least = -np.inf
        if shape.min_relevance > 0.0:
            least = shape.min_relevance * _best_personal(kept, kept_scores, n_kept, bias)
            n_kept = _drop_poor(kept, kept_scores, n_kept, bias, least)
        n_chosen = min(length - n_pinned, n_kept)
        if strength > 0.0 and n_kept > 1:
            _diversify(kept, kept_scores, n_kept, n_chosen, shape, items)
        if places.shape[1] > 0:
            n_chosen = make_way(
                kept, kept_scores, n_chosen, length - n_pinned, pinned[:n_pinned], newcomers[u],
                near.worth, shape.newest, bias, least, places[u],
            )  # fmt: skip
        fills = filling[: length - n_pinned - n_chosen]
        if len(fills):
            fills[:] = EMPTY_KEY
            for at in range(resting.indptr[u], resting.indptr[u + 1]):
                row = resting.rows[at]
                if may_list(row, mask, out) and not has(pinned, n_pinned, row):
                    score = np.float64(exact_score(users[u], items[row], bias[row]))
                    keep(fills, key_of(np.float32(score + to_resting[at]), row))
            _fall(fills)
        _place(
            kept[:n_chosen], kept_scores, fills, pinned[:n_pinned], pinned_scores, pinned_at,
            rows[u], lists.scores[u],
        )  # fmt: skip


@compiled
def _announce(pool: Int64s, items: Float32s) -> None:
    """Ask memory for the factors of a list's items."""
    for at in range(len(pool)):
        if pool[at] != EMPTY_KEY:
            first = np.int64(row_of(pool[at])) * items.shape[1]
            for k in range(0, items.shape[1], LINE):
                prefetch(items, first + k)


@compiled
def _fall(keys: Int64s) -> None:
    """Sort what `keep` kept, the worst first, where the list is so long that it was a heap."""
    if len(keys) > SORTED:
        keys.sort()


@compiled
def _place(
    kept: Int32s,
    kept_scores: Float32s,
    filling: Int64s,
    pinned: Int32s,
    pinned_scores: Float32s,
    pinned_at: Int32s,
    rows: Int32s,
    scores: Float32s,
) -> None:
    """Write a list: pins where they belong, or at the end of a shorter one; kept, then filling."""
    from_kept = pin = 0
    n_filling = len(filling)
    for at in range(len(rows)):
        fills = n_filling > 0 and filling[n_filling - 1] != EMPTY_KEY
        is_over = from_kept == len(kept) and not fills
        if pin < len(pinned) and (pinned_at[pin] <= at or is_over):
            rows[at], scores[at] = pinned[pin], pinned_scores[pin]
            pin += 1
        elif from_kept < len(kept):
            rows[at], scores[at] = kept[from_kept], kept_scores[from_kept]
            from_kept += 1
        elif fills:
            n_filling -= 1
            rows[at], scores[at] = row_of(filling[n_filling]), score_of(filling[n_filling])
        else:
            rows[at], scores[at] = -1, -np.inf


@compiled
def _best_personal(rows: Int32s, scores: Float32s, n_rows: int, bias: Float32s) -> float:
    """Return the best personal score; -inf where nothing is personal."""
    best = 0.0
    for at in range(n_rows):
        best = max(best, np.float64(scores[at]) - np.float64(bias[rows[at]]))
    return best if best > 0.0 else -np.inf


@compiled
def _drop_poor(rows: Int32s, scores: Float32s, n_rows: int, bias: Float32s, least: float) -> int:
    """Keep, in place, what has enough of a personal score; return how many."""
    n_kept = 0
    for at in range(n_rows):
        if np.float64(scores[at]) - np.float64(bias[rows[at]]) >= least:
            rows[n_kept], scores[n_kept] = rows[at], scores[at]
            n_kept += 1
    return n_kept


@compiled
def _diversify(
    rows: Int32s,
    scores: Float32s,
    n_rows: int,
    n_chosen: int,
    shape: Shape,
    items: Float32s,
) -> None:
    """Bring the rows to choose to the front, in place: maximal marginal relevance.

    Carbonell & Goldstein (SIGIR 1998): each next item has the most of
    ``(1 - strength) · score - strength · likeness``, the score as a part of the range of the pool's,
    the likeness that to the chosen item it is most like.
    """
    aspects, by_taste, strength = shape.aspects, shape.by_taste, shape.strength
    n_aspects = aspects.shape[0] + by_taste
    span = np.float64(scores[0]) - np.float64(scores[n_rows - 1])
    relevance = np.zeros(n_rows)
    if span > 0.0:
        for at in range(n_rows):
            above = np.float64(scores[at]) - np.float64(scores[n_rows - 1])
            relevance[at] = (1.0 - strength) * (above / span)
    stride = (n_rows + _BLOCK - 1) // _BLOCK * _BLOCK
    unit = np.zeros(items.shape[1] * stride if by_taste else 0, np.float32)
    taste = np.zeros(stride, np.float32)
    if by_taste:
        _unit(rows, n_rows, items, stride, unit)
    codes = np.empty((aspects.shape[0], n_rows), np.int32)
    for a in range(aspects.shape[0]):
        for at in range(n_rows):
            codes[a, at] = aspects[a, rows[at]]
    likeness, alike = np.zeros(n_rows), np.zeros(n_rows)
    # Values as whole numbers of the same order, whose largest is found in a few steps.
    value = np.empty(n_rows, np.int64)
    for at in range(n_rows):
        value[at] = _ordered(relevance[at])
    order = np.empty(n_chosen, np.int64)
    for place in range(n_chosen):
        most = value[0]
        for at in range(n_rows):
            most = max(most, value[at])
        newest = 0
        while value[newest] != most:
            newest += 1
        order[place] = newest
        # What is chosen is worth nothing from then on.
        relevance[newest] = -np.inf
        if place + 1 == n_chosen:
            break
        if by_taste:
            _near_to(newest, unit, stride, taste)
        for at in range(n_rows):
            likeness[at] = max(0.0, np.float64(taste[at]))
        for a in range(codes.shape[0]):
            mine, line = codes[a, newest], codes[a]
            if mine != 0:
                for at in range(n_rows):
                    likeness[at] += np.float64(line[at] == mine)
        for at in range(n_rows):
            alike[at] = max(alike[at], likeness[at] / n_aspects)
            value[at] = _ordered(relevance[at] - strength * alike[at])
    all_rows, all_scores = rows[:n_rows].copy(), scores[:n_rows].copy()
    for place in range(n_chosen):
        rows[place], scores[place] = all_rows[order[place]], all_scores[order[place]]


@compiled
def _ordered(value: float) -> int:
    """Return a whole number that compares with others as the values do; both zeros are one."""
    bits: Any = np.float64(value + 0.0)
    whole = bits.view(np.int64)
    return int(whole ^ ((whole >> 63) & 0x7FFFFFFFFFFFFFFF))


@compiled
def _unit(rows: Int32s, n_rows: int, items: Float32s, stride: int, unit: Float32s) -> None:
    """Write items' factors side by side, (d, stride), scaled to length 1, zeros kept."""
    n_factors = items.shape[1]
    for at in range(n_rows):
        factors = items[rows[at]]
        for k in range(n_factors):
            unit[k * stride + at] = factors[k]
    # Items side by side: each sum keeps its order, and many run at once.
    square, scale = np.zeros(n_rows), np.zeros(n_rows, np.float32)
    for k in range(n_factors):
        line = unit[k * stride : k * stride + n_rows]
        for at in range(n_rows):
            square[at] += np.float64(line[at]) * np.float64(line[at])
    for at in range(n_rows):
        if square[at] > 0.0:
            scale[at] = np.float32(1.0 / math.sqrt(square[at]))
    for k in range(n_factors):
        line = unit[k * stride : k * stride + n_rows]
        for at in range(n_rows):
            line[at] *= scale[at]


@compiled
def _near_to(newest: int, unit: Float32s, stride: int, taste: Float32s) -> None:
    """Write the products of one item's factors with everybody's, each summed in the factors' order."""
    for block in range(0, stride, _BLOCK):
        a, b, c, d = zero(), zero(), zero(), zero()
        for first in range(0, len(unit), stride):
            mine, at = splat(unit[first + newest]), first + block
            a = add(a, multiply(mine, load(unit, at)))
            b = add(b, multiply(mine, load(unit, at + LANES)))
            c = add(c, multiply(mine, load(unit, at + 2 * LANES)))
            d = add(d, multiply(mine, load(unit, at + 3 * LANES)))
        store(taste, block, a)
        store(taste, block + LANES, b)
        store(taste, block + 2 * LANES, c)
        store(taste, block + 3 * LANES, d)
