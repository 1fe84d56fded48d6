"""Kernels of neighbour tables: update lists, and score from them.

See `recstream.core.neighbours.behaviour` for the meaning of each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s
from recstream.core.numeric.jit import compiled, helper, interpretable, interpretable_below

WIDTH = 32
"""Maximum number of neighbours of an item."""
RECENT = 16
"""Number of seeds, the history entries whose neighbours are scored, if no two are equally strong."""
MAX_SEEDS = 256
"""Maximum number of seeds with entries that are as strong as the last."""
_SEED_SHRINKAGE = 3.0


class SeedRule(NamedTuple):
    """The rule for the seeds of a history.

    Attributes
    ----------
    most : int
        Largest number of seeds; above `RECENT`, entries as strong as the last of those are seeds too.
    decay : float
        Factor of a seed's weight for each entry of larger weight.
    """

    most: int = MAX_SEEDS
    decay: float = 0.8

    @classmethod
    def of(cls, version: int) -> SeedRule:
        """Return the rule of a version, with the default decay."""
        return cls(RECENT if version < 2 else MAX_SEEDS)  # noqa: PLR2004


def count_tied(*columns: NDArray[Any]) -> Int32s:
    """Return how many rows before each one, without a gap, are equal to it in all columns.

    >>> count_tied(np.array([1, 1, 1, 2]), np.array([7, 7, 8, 8]))
    array([0, 1, 0, 0], dtype=int32)
    """
    places = np.arange(len(columns[0]))
    is_first = np.ones(len(places), np.bool_)
    is_first[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return (places - np.maximum.accumulate(np.where(is_first, places, 0))).astype(np.int32)


@helper
def _remove(rows: Int32s, weights: Float32s, item: int) -> None:
    """Remove an item from a list, if present."""
    for place in range(WIDTH):
        if rows[place] == item:
            for after in range(place, WIDTH - 1):
                rows[after] = rows[after + 1]
                weights[after] = weights[after + 1]
            rows[WIDTH - 1] = -1
            weights[WIDTH - 1] = 0.0
            return


@helper
def insert(rows: Int32s, weights: Float32s, item: int, weight: np.float32) -> None:
    """Insert an item that is not in a list, unless the list is full of larger weights."""
    place = WIDTH
    while place > 0 and (
        rows[place - 1] < 0
        or weights[place - 1] < weight
        or (weights[place - 1] == weight and rows[place - 1] > item)
    ):
        place -= 1
        if place + 1 < WIDTH:
            rows[place + 1] = rows[place]
            weights[place + 1] = weights[place]
    if place < WIDTH:
        rows[place] = item
        weights[place] = weight


@helper
def _has(rows: Int32s, item: int) -> bool:
    """Return whether an item is in a list."""
    for place in range(len(rows)):  # noqa: SIM110
        if rows[place] == item:
            return True
    return False


@interpretable
@compiled
def replace_lists(
    rows: Int32s, weights: Float32s, items: Int32s, near: Int32s, nearness: Float32s
) -> None:
    """Replace the lists of `items`, in order, and update the lists of their neighbours.

    Parameters
    ----------
    rows, weights : (m, WIDTH) int32, float32
        The table; changed in place.
    items : (n,) int32
    near, nearness : (n, k) int32, float32
        New neighbours of each item and their weights; -1 for none.
    """
    for n in range(len(items)):
        item = items[n]
        for place in range(WIDTH):
            old = rows[item, place]
            if old >= 0:
                _remove(rows[old], weights[old], item)
        rows[item, :] = -1
        weights[item, :] = 0.0
        for place in range(near.shape[1]):
            other, weight = near[n, place], nearness[n, place]
            if other >= 0 and other != item and weight > 0.0 and not _has(rows[item], other):
                insert(rows[item], weights[item], other, weight)
        for place in range(WIDTH):
            other = rows[item, place]
            if other >= 0:
                _remove(rows[other], weights[other], item)
                insert(rows[other], weights[other], item, weights[item, place])


@interpretable
@compiled
def write_seed_weights(weights: Float32s, rule: SeedRule, out: Float32s) -> None:
    """Write each entry's seed weight; 0 for entries that are no seeds.

    Seeds are the `RECENT` largest, ties by position, and with a larger ``rule.most`` entries as large as
    the last of them.
    """
    chosen = np.empty(rule.most, np.int64)
    parts = np.empty(rule.most)
    count, total = 0, 0.0
    for at in range(len(weights)):
        weight = weights[at]
        if weight > 0.0 and (count < RECENT or weight > weights[chosen[count - 1]]):
            place = min(count, RECENT - 1)
            while place > 0 and weights[chosen[place - 1]] < weight:
                chosen[place] = chosen[place - 1]
                place -= 1
            chosen[place] = at
            count = min(count + 1, RECENT)
    if count == RECENT and rule.most > RECENT:
        last = chosen[RECENT - 1]
        for at in range(last + 1, len(weights)):
            if weights[at] == weights[last] and count < rule.most:
                chosen[count] = at
                count += 1
    n_larger_at = 0
    for place in range(count):
        if weights[chosen[place]] < weights[chosen[n_larger_at]]:
            n_larger_at = place
        part = np.float64(weights[chosen[place]]) / np.float64(weights[chosen[0]])
        parts[place] = np.sqrt(part) * rule.decay**n_larger_at
        total += parts[place]
    for place in range(count):
        out[chosen[place]] = (1.0 + _SEED_SHRINKAGE) * parts[place] / (_SEED_SHRINKAGE + total)


@interpretable
@compiled
def append_contributions(
    columns: Int32s,
    v: Float32s,
    rows: Int32s,
    weights: Float32s,
    gain: float,
    keys: Int32s,
    values: Float64s,
    n_edges: int,
) -> int:
    """Append each entry's neighbours and their score contributions; return the new length.

    Parameters
    ----------
    columns, v : (h,) int32, float32
        Items of the history and their seed weights.
    rows, weights : (m, WIDTH) int32, float32
        The table.
    gain : float
        Factor of all contributions.
    keys, values : (≥ n_edges + h · WIDTH,) int32, float64
        Receive item rows and contributions.
    n_edges : int
        Length before.
    """
    for at in range(len(columns)):
        item = columns[at]
        if v[at] > 0.0 and item < len(rows):
            for place in range(WIDTH):
                if rows[item, place] < 0:
                    break
                keys[n_edges] = rows[item, place]
                values[n_edges] = gain * (np.float64(v[at]) * np.float64(weights[item, place]))
                n_edges += 1
    return n_edges


@interpretable
@compiled
def sum_by_row(keys: Int32s, values: Float64s, n_edges: int) -> int:
    """Sort by key (radix sort) and sum the values of equal keys, in place; return the number of keys."""
    if n_edges == 0:
        return 0
    largest = 0
    for at in range(n_edges):
        largest = max(largest, keys[at])
    from_keys, from_values = keys, values
    to_keys, to_values = np.empty(n_edges, np.int32), np.empty(n_edges, np.float64)
    starts = np.empty(256, np.int32)
    shift = 0
    while largest >> shift:
        starts[:] = 0
        for at in range(n_edges):
            starts[(from_keys[at] >> shift) & 255] += 1
        begin = 0
        for digit in range(256):
            count = starts[digit]
            starts[digit] = begin
            begin += count
        for at in range(n_edges):
            digit = (from_keys[at] >> shift) & 255
            to_keys[starts[digit]] = from_keys[at]
            to_values[starts[digit]] = from_values[at]
            starts[digit] += 1
        from_keys, to_keys = to_keys, from_keys
        from_values, to_values = to_values, from_values
        shift += 8
    last = 0
    keys[0], values[0] = from_keys[0], from_values[0]
    for at in range(1, n_edges):
        if from_keys[at] == keys[last]:
            values[last] += from_values[at]
        else:
            last += 1
            keys[last], values[last] = from_keys[at], from_values[at]
    return last + 1


def _write_in_numpy(
    columns: Int32s,
    v: Float32s,
    rows: Int32s,
    weights: Float32s,
    gain: float,
    items: Int32s,
    out: Float64s,
) -> None:
    """Compute `write_contributions` with numpy, bit for bit."""
    for at in np.flatnonzero((v > 0.0) & (columns < len(rows))):
        n, place = np.nonzero(items[:, None] == rows[columns[at]])
        out[n, at] = gain * (np.float64(v[at]) * weights[columns[at], place].astype(np.float64))


@interpretable_below(None, _write_in_numpy)
@compiled
def write_contributions(
    columns: Int32s,
    v: Float32s,
    rows: Int32s,
    weights: Float32s,
    gain: float,
    items: Int32s,
    out: Float64s,
) -> None:
    """Write the contribution of each entry to the score of each item.

    Parameters
    ----------
    columns, v, rows, weights, gain
        As in `append_contributions`.
    items : (n,) int32
    out : (n, h) float64
        Zeros before.
    """
    first_of, after = np.full(256, -1), np.empty(len(items), np.int64)
    for n in range(len(items)):
        after[n] = first_of[items[n] & 255]
        first_of[items[n] & 255] = n
    for at in range(len(columns)):
        if v[at] > 0.0 and columns[at] < len(rows):
            for place in range(WIDTH):
                near = rows[columns[at], place]
                n = first_of[near & 255]
                while n >= 0:
                    if items[n] == near:
                        weight = np.float64(weights[columns[at], place])
                        out[n, at] = gain * (np.float64(v[at]) * weight)
                    n = after[n]
