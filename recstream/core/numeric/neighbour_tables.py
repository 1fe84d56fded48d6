"""Steps 4–8 of the flow, compiled: lists of neighbours change, add to scores, and come from histories.

`recstream.core.neighbours.behaviour` says what each means.
"""

from __future__ import annotations

import numpy as np

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled

WIDTH = 32
"""Neighbours an item has at most."""
RECENT = 16
"""Entries of a history that neighbours are taken of."""
WINDOW = 256
"""Newest entries of a history that `fit_behaviour` looks at."""
REACH = 32
"""Entries before and after another that count as near it in `fit_behaviour`."""
_HALF_REACH = 5.0
_BACKWARD = 0.75
_DOUBT = 3.0
_NEXT = 0.8
_KNOWN = 3.0
# A pair of entries next to each other, in whole numbers, so that sums do not depend on their order.
_UNIT = 1 << 20
NEARNESS = np.round(_UNIT * 2.0 ** (-np.arange(REACH) / _HALF_REACH)).astype(np.int64)
"""What two entries of a history count, by how many lie between them."""


@compiled
def _remove(rows: Int32s, weights: Float32s, item: int) -> None:
    """Take an item out of a list, if it is there."""
    for place in range(WIDTH):
        if rows[place] == item:
            for after in range(place, WIDTH - 1):
                rows[after] = rows[after + 1]
                weights[after] = weights[after + 1]
            rows[WIDTH - 1] = -1
            weights[WIDTH - 1] = 0.0
            return


@compiled
def _insert(rows: Int32s, weights: Float32s, item: int, weight: np.float32) -> None:
    """Put an item that is not there into a list, unless the list is full of nearer ones."""
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


@compiled
def _has(rows: Int32s, item: int) -> bool:
    """Say whether an item is in a list."""
    for place in range(len(rows)):  # noqa: SIM110
        if rows[place] == item:
            return True
    return False


@compiled
def put_all(
    rows: Int32s, weights: Float32s, items: Int32s, near: Int32s, nearness: Float32s
) -> None:
    """Replace lists, in order, and keep the neighbours' lists in step."""
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
                _insert(rows[item], weights[item], other, weight)
        for place in range(WIDTH):
            other = rows[item, place]
            if other >= 0:
                _remove(rows[other], weights[other], item)
                _insert(rows[other], weights[other], item, weights[item, place])


@compiled
def strengthen(weights: Float32s, out: Float32s) -> None:
    """Write the seed_weights; of equal weights the first entries speak."""
    chosen = np.empty(RECENT, np.int64)
    speaking = np.empty(RECENT)
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
    stronger = 0
    for place in range(count):
        if weights[chosen[place]] < weights[chosen[stronger]]:
            stronger = place
        part = np.float64(weights[chosen[place]]) / np.float64(weights[chosen[0]])
        speaking[place] = np.sqrt(part) * _NEXT**stronger
        total += speaking[place]
    for place in range(count):
        out[chosen[place]] = (1.0 + _KNOWN) * speaking[place] / (_KNOWN + total)


@compiled
def collect(
    columns: Int32s,
    v: Float32s,
    rows: Int32s,
    weights: Float32s,
    gain: float,
    keys: Int32s,
    values: Float64s,
    n_edges: int,
) -> int:
    """Write the entries' neighbours and what they receive; return the place after the last."""
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


@compiled
def sum_by_row(keys: Int32s, values: Float64s, n_edges: int) -> int:
    """Sort by key and add up what has the same key, in place; return the number of keys."""
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


@compiled
def take_apart(
    columns: Int32s,
    v: Float32s,
    rows: Int32s,
    weights: Float32s,
    gain: float,
    items: Int32s,
    out: Float64s,
) -> None:
    """Write what each entry adds to each item."""
    for at in range(len(columns)):
        if v[at] > 0.0 and columns[at] < len(rows):
            for n in range(len(items)):
                for place in range(WIDTH):
                    if rows[columns[at], place] == items[n]:
                        weight = np.float64(weights[columns[at], place])
                        out[n, at] = gain * (np.float64(v[at]) * weight)


@compiled
def fill_behaviour(
    indptr: Int64s,
    places: Int64s,
    items: Int32s,
    user_of: Int64s,
    bounds: Int64s,
    counts: Int64s,
    nearness: Int64s,
    first: int,
    last: int,
    rows: Int32s,
    weights: Float32s,
) -> None:
    """Write the lists of some items."""
    sums = np.zeros(len(counts), np.int64)
    touched = np.empty(len(counts), np.int32)
    for item in range(first, last):
        n_touched = 0
        for at in range(indptr[item], indptr[item + 1]):
            place = places[at]
            user = user_of[place]
            begin = max(bounds[user], bounds[user + 1] - WINDOW, place - REACH)
            end = min(bounds[user + 1], place + REACH + 1)
            for other in range(begin, end):
                if other != place:
                    near = items[other]
                    if sums[near] == 0:
                        touched[n_touched] = near
                        n_touched += 1
                    if other > place:
                        sums[near] += nearness[other - place - 1]
                    else:
                        sums[near] += np.int64(_BACKWARD * nearness[place - other - 1])
        for at in range(n_touched):
            near = touched[at]
            size = (counts[item] + _DOUBT) * (counts[near] + _DOUBT)
            share = np.float64(sums[near]) / (_UNIT * np.sqrt(size))
            _insert(rows[item], weights[item], near, np.float32(share))
            sums[near] = 0
