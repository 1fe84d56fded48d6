"""Compiled diversity: maximal marginal relevance (MMR) over categories, brands and factors."""

# ruff: noqa: C901, PLR0912  (an inner loop is one function: calls with vectors cost registers)
import math
from typing import Any

import numpy as np

from recstream.core.numeric.arrays import Float32s, Int32s
from recstream.core.numeric.jit import helper
from recstream.core.numeric.simd import LANES, add, load, multiply, splat, store, zero
from recstream.core.ranking.batch import ListRules

_BLOCK = 4 * LANES
"""Items whose similarity to another item is computed at once."""


@helper
def diversify(
    rows: Int32s, scores: Float32s, n_rows: int, n_chosen: int, rules: ListRules, items: Float32s
) -> None:
    """Move the chosen rows to the front, in place: maximal marginal relevance (MMR).

    Carbonell & Goldstein (SIGIR 1998). Each next item maximises
    ``(1 - strength) · relevance - strength · similarity``. Relevance is the score scaled to the
    pool's range; similarity is the largest one to an item chosen already.

    Parameters
    ----------
    rows, scores : (k,)
        The pool, best first; changed.
    n_rows, n_chosen : int
        Size of the pool, and how many to choose.
    items : (m, d) float32
    """
    aspects, by_taste, strength = rules.aspects, rules.by_taste, rules.strength
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
        _unit_columns(rows, n_rows, items, stride, unit)
    codes = np.empty((aspects.shape[0], n_rows), np.int32)
    for a in range(aspects.shape[0]):
        for at in range(n_rows):
            codes[a, at] = aspects[a, rows[at]]
    item_similarity, similarity = np.zeros(n_rows), np.zeros(n_rows)
    # Integers of the same order: their maximum is found by vector instructions.
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
        # An item is chosen once.
        relevance[newest] = -np.inf
        if place + 1 == n_chosen:
            break
        if by_taste:
            _dot_with_all(newest, unit, stride, taste)
        for at in range(n_rows):
            item_similarity[at] = max(0.0, np.float64(taste[at]))
        for a in range(codes.shape[0]):
            mine, line = codes[a, newest], codes[a]
            if mine != 0:
                for at in range(n_rows):
                    item_similarity[at] += np.float64(line[at] == mine)
        for at in range(n_rows):
            similarity[at] = max(similarity[at], item_similarity[at] / n_aspects)
            value[at] = _ordered(relevance[at] - strength * similarity[at])
    all_rows, all_scores = rows[:n_rows].copy(), scores[:n_rows].copy()
    for place in range(n_chosen):
        rows[place], scores[place] = all_rows[order[place]], all_scores[order[place]]


@helper
def _ordered(value: float) -> int:
    """Return an integer that compares as the value does; -0 and 0 are equal."""
    bits: Any = np.float64(value + 0.0)
    whole = bits.view(np.int64)
    return int(whole ^ ((whole >> 63) & 0x7FFFFFFFFFFFFFFF))


@helper
def _unit_columns(rows: Int32s, n_rows: int, items: Float32s, stride: int, unit: Float32s) -> None:
    """Write the items' factors as columns (d, stride), scaled to length 1; zeros stay."""
    n_factors = items.shape[1]
    for at in range(n_rows):
        factors = items[rows[at]]
        for k in range(n_factors):
            unit[k * stride + at] = factors[k]
    # Each sum keeps its order; the loop over items is vectorised.
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


@helper
def _dot_with_all(newest: int, unit: Float32s, stride: int, taste: Float32s) -> None:
    """Write the dot products of one item with all items, summed in the order of the factors."""
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
