"""Compiled neighbour scores: find the exact best items by base score plus neighbours."""

# ruff: noqa: C901, PLR0912, PLR0915  (an inner loop is one function: calls with vectors cost registers)

import math

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.jit import ZERO, compiled, helper, interpretable
from recstream.core.numeric.neighbour_tables import write_seed_weights
from recstream.core.numeric.simd import LINE, prefetch
from recstream.core.ranking.batch import (
    BaseScoring,
    HistoryEntries,
    NeighbourTable,
    RowLists,
    is_eligible,
    user_rows,
)
from recstream.core.search import EMPTY_KEY, exact_score, keep, key_of, row_of, score_of

Bools = NDArray[np.bool_]
_MIN_ROOM = 1 << 12
"""Least slots of the hash table: four times the neighbours of 16 entries (2 · 32 each)."""


@helper
def _slot_of(keys: Int32s, shift: int, row: int) -> int:
    """Return the slot of a row, or the free slot for it, in a table of ``2^(32 - shift)`` slots."""
    at = ((np.int64(row) * 2654435769) & 0xFFFFFFFF) >> shift
    # One branch: the product is 0 for an empty slot and for the row's own slot.
    while (np.int64(keys[at]) + 1) * (np.int64(keys[at]) - row) != 0:
        at = (at + 1) & (len(keys) - 1)
    return int(at)


@helper
def _n_seeds(seed_weights: Float32s) -> int:
    """Return the number of entries that are seeds."""
    count = 0
    for weight in seed_weights:
        count += weight > 0.0
    return count


@helper
def _gather(
    columns: Int32s,
    seed_weights: Float32s,
    table: NeighbourTable,
    keys: Int32s,
    shift: int,
    totals: Float64s,
    used: Int32s,
    n_used: int,
) -> int:
    """Add the scores of one table's neighbours; return the number of items with a score.

    Parameters
    ----------
    columns : (h,) int32
        Item rows of the history.
    seed_weights : (h,) float32
        0 for entries that are not seeds.
    keys, totals : (room,)
        The hash table: item rows, -1 if empty, and their scores; changed.
    shift : int
        ``room`` is ``2^(32 - shift)``.
    used : (room + 1,) int32
        Slots in use, in order; changed.
    """
    rows, weights, gain = table.rows, table.weights, table.gain
    width = rows.shape[1]
    # Neighbour rows lie apart in memory: copied first, their loads overlap.
    n_seeds = _n_seeds(seed_weights)
    near = np.empty((n_seeds, width), np.int32)
    similarity = np.empty((n_seeds, width), np.float32)
    seeds = np.empty(n_seeds)
    n_seeds = 0
    for e in range(len(columns)):
        if seed_weights[e] > 0.0 and columns[e] < len(rows):
            for place in range(width):
                near[n_seeds, place] = rows[columns[e], place]
                similarity[n_seeds, place] = weights[columns[e], place]
            seeds[n_seeds] = np.float64(seed_weights[e])
            n_seeds += 1
    for e in range(n_seeds):
        for place in range(width):
            row = near[e, place]
            if row < 0:
                break
            # Without a branch: whether an item is new can't be predicted.
            at = _slot_of(keys, shift, row)
            used[n_used] = at
            n_used += keys[at] < 0
            keys[at] = row
            totals[at] += gain * (seeds[e] * np.float64(similarity[e, place]))
    return n_used


@helper
def _prefetch_neighbours(columns: Int32s, seed_weights: Float32s, table: NeighbourTable) -> None:
    """Prefetch the neighbour rows that `_gather` reads."""
    width = table.rows.shape[1]
    for e in range(len(columns)):
        if seed_weights[e] > 0.0 and columns[e] < len(table.rows):
            first = np.int64(columns[e]) * width
            for place in range(0, width, LINE):
                prefetch(table.rows, first + place)
                prefetch(table.weights, first + place)
            prefetch(table.rows, first + width - 1)
            prefetch(table.weights, first + width - 1)


@helper
def _multiply(
    keys: Int32s,
    totals: Float64s,
    used: Int32s,
    n_used: int,
    multiplier: Float32s,
    cold_threshold: float,
    cold: Int32s,
) -> int:
    """Multiply the items' scores by their content multiplier; return the number of cold items.

    Parameters
    ----------
    keys, totals : (room,)
        The hash table; ``totals`` is changed.
    used : (room + 1,) int32
        Its slots in use, the first ``n_used``.
    multiplier : (m,) float32
        Empty if all are 1: then no item is cold.
    cold : (room + 1,) int32
        Written: slots of cold items.
    """
    n_cold = 0
    if len(multiplier):
        for at in range(n_used):
            place = used[at]
            own = np.float64(multiplier[keys[place]])
            totals[place] *= own
            cold[n_cold] = place
            n_cold += int(own >= cold_threshold)
    return n_cold


@helper
def _merge_base(
    base: Int64s,
    mine: Int64s,
    keys: Int32s,
    totals: Float64s,
    is_settled: Bools,
    shift: int,
    changed: Int64s,
) -> None:
    """Write the base list with neighbour scores added, in the order of `keep`.

    Parameters
    ----------
    base : (n,) int64
        Keys by base score, the worst first.
    mine : (n,) int64
        Written.
    keys, totals, is_settled : (room,)
        The hash table of `_gather`, and whether an item needs no further look; changed.
    changed : (n,) int64
        Overwritten.
    """
    mine[:] = EMPTY_KEY
    n_changed, free = 0, len(mine)
    for at in range(len(base) - 1, -1, -1):
        key = base[at]
        if key == EMPTY_KEY:
            break
        place = _slot_of(keys, shift, row_of(key))
        if keys[place] < 0:
            free -= 1
            mine[free] = key
        else:
            is_settled[place] = True
            total = np.float64(score_of(key)) + totals[place]
            changed[n_changed] = key_of(np.float32(total), row_of(key))
            n_changed += 1
    for at in range(n_changed):
        keep(mine, changed[at])


@helper
def _add_open(
    scoring: BaseScoring,
    u: int,
    limit: float,
    reach: float,
    keys: Int32s,
    totals: Float64s,
    is_settled: Bools,
    used: Int32s,
    bound: Float64s,
    open_places: Int32s,
    mine: Int64s,
) -> None:
    """Add the items with neighbour scores that a full base list did not hold.

    Parameters
    ----------
    limit : float
        Last score of the base list: no other item's base score is above it.
    reach : float
        Length of the user's factors, rounded up.
    keys, totals, is_settled : (room,)
        As of `_merge_base`.
    used : (k,) int32
        Slots in use.
    bound, open_places : (room,) float64, (room + 1,) int32
        Overwritten.
    mine : (n,) int64
        The list, in the order of `keep`; changed.
    """
    users, items, bias, norm, mask = scoring
    # 1e-6 covers rounding to float32.
    least = np.float64(score_of(mine[0]))
    enough = least - 1e-6 * abs(least)
    # Collected without a branch first, so that the loads of the factors overlap.
    most, n_open = enough, 0
    for place in used:
        row = keys[place]
        most_base = min(limit, reach * np.float64(norm[row]) + np.float64(bias[row]))
        bound[n_open] = most_base + totals[place]
        open_places[n_open] = place
        is_open = (bound[n_open] >= enough) & (not is_settled[place])
        most = max(most, bound[n_open] if is_open else enough)
        n_open += is_open
    for at in range(n_open):
        first = np.int64(keys[open_places[at]]) * items.shape[1]
        for k in range(0, items.shape[1], LINE):
            prefetch(items, first + k)
    # Items with high bounds first: they raise the minimum for the others.
    middle = 0.5 * (enough + most)
    for turn in range(2):
        for at in range(n_open):
            if (bound[at] < middle) != (turn == 1) or bound[at] < enough:
                continue
            place = open_places[at]
            row = keys[place]
            if len(mask) == 0 or mask[row]:
                score = np.float64(exact_score(users[u], items[row], bias[row]))
                keep(mine, key_of(np.float32(score + totals[place]), row))
                least = np.float64(score_of(mine[0]))
                enough = least - 1e-6 * abs(least)


@interpretable
@compiled
def add_neighbour_scores(
    entries: HistoryEntries,
    content: NeighbourTable,
    behaviour: NeighbourTable,
    cold_threshold: float,
    scoring: BaseScoring,
    excluded: RowLists,
    pins: Int32s,
    cooling: RowLists,
    lists: Int64s,
    cold_items: Int64s,
    to_pins: Float64s,
    to_cooling: Float64s,
    is_near: Bools,
) -> None:
    """Turn base lists into lists by base score plus neighbour scores, in place.

    Neighbour scores are at least 0, so each of the best items is in the base list or has a
    neighbour score. Sums run in float64 by table, then entry, then neighbour.

    Parameters
    ----------
    content, behaviour : NeighbourTable
        Content neighbours, with a multiplier of each item, and behaviour neighbours. A table with
        gain 0 is skipped.
    cold_threshold : float
        Items with a score of the first table and a multiplier of at least this are cold.
    excluded : RowLists
        Items that the base lists leave out.
    lists : (b, n) int64
        Keys of the best items by base score, ascending: the worst first; changed, in the order of
        `keep`.
    cold_items : (b, f) int64
        Written: keys of the best eligible cold items by the sum, the worst first. `EMPTY_KEY` on
        input.
    to_pins, to_cooling : (b, k) and (r,) float64
        Written: neighbour scores of pinned and cooling items.
    is_near : (b,) bool
        Written: whether neighbours add to any item of the user.
    """
    users, items, bias, norm, mask = scoring
    length = lists.shape[1]
    seed_weights = np.zeros(len(entries.weights), np.float32)
    n_most = 0
    for u in range(lists.shape[0]):
        own = slice(entries.indptr[u], entries.indptr[u + 1])
        write_seed_weights(entries.weights[own], entries.seeds, seed_weights[own])
        n_most = max(n_most, _n_seeds(seed_weights[own]))
    room, shift = _MIN_ROOM, 20
    while room < 4 * n_most * (content.rows.shape[1] + behaviour.rows.shape[1]):
        room, shift = 2 * room, shift - 1
    keys = np.full(room, -1, np.int32)
    totals = np.zeros(room)
    is_settled = np.zeros(room, np.bool_)
    used = np.empty(room + 1, np.int32)
    bound = np.empty(room)
    open_places = np.empty(room + 1, np.int32)
    cold = np.empty(room + 1, np.int32)
    base, changed = np.empty(length, np.int64), np.empty(length, np.int64)
    for u in range(lists.shape[0]):
        own = slice(entries.indptr[u], entries.indptr[u + 1])
        n_used = n_cold = ZERO
        if u + 1 < lists.shape[0]:
            following = slice(entries.indptr[u + 1], entries.indptr[u + 2])
            if content.gain > 0.0:
                _prefetch_neighbours(entries.columns[following], seed_weights[following], content)
            if behaviour.gain > 0.0:
                _prefetch_neighbours(entries.columns[following], seed_weights[following], behaviour)
        columns = entries.columns[own]
        if content.gain > 0.0:
            n_used = _gather(columns, seed_weights[own], content, keys, shift, totals, used, n_used)
            n_cold = _multiply(keys, totals, used, n_used, content.multiplier, cold_threshold, cold)
        if behaviour.gain > 0.0:
            n_used = _gather(
                columns, seed_weights[own], behaviour, keys, shift, totals, used, n_used
            )
        if n_used == 0:
            continue
        is_near[u] = True
        for at in range(len(pins)):
            place = _slot_of(keys, shift, pins[at])
            to_pins[u, at] = totals[place] if keys[place] >= 0 else 0.0
        for at in range(cooling.indptr[u], cooling.indptr[u + 1]):
            place = _slot_of(keys, shift, cooling.rows[at])
            to_cooling[at] = totals[place] if keys[place] >= 0 else 0.0
        mine = lists[u]
        for at in range(length):  # numba would compile the text of an error for different lengths
            base[at] = mine[at]
        _merge_base(base, mine, keys, totals, is_settled, shift, changed)
        out = user_rows(excluded, u)
        reach = 0.0
        for k in range(users.shape[1]):
            reach += np.float64(users[u, k]) * np.float64(users[u, k])
        reach = math.sqrt(reach) * (1.0 + 1e-9)
        if base[0] != EMPTY_KEY:
            limit = np.float64(score_of(base[0]))
            for row in out:
                place = _slot_of(keys, shift, row)
                is_settled[place] = keys[place] >= 0
            _add_open(
                scoring, u, limit, reach, keys, totals, is_settled, used[:n_used], bound,
                open_places, mine,
            )  # fmt: skip
        if cold_items.shape[1] > 0:
            best = cold_items[u]
            for at in range(n_cold):
                place = cold[at]
                row = keys[place]
                least = np.float64(score_of(best[0]))
                most_base = reach * np.float64(norm[row]) + np.float64(bias[row])
                if most_base + totals[place] >= least - 1e-6 * abs(least) and is_eligible(
                    row, mask, out
                ):
                    score = np.float64(exact_score(users[u], items[row], bias[row]))
                    keep(best, key_of(np.float32(score + totals[place]), row))
        for at in range(n_used):
            keys[used[at]] = -1
            totals[used[at]] = 0.0
            is_settled[used[at]] = False
