"""Step 8 of the flow, compiled: base lists + what neighbours add → the exact best by the sum.

A batch is worked on user by user: a user's bits do not depend on the others.
"""

# ruff: noqa: C901, PLR0912, PLR0915  (an inner loop is one function: calls with vectors cost registers)

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.core.numeric.neighbour_tables import RECENT, write_seed_weights
from recstream.core.numeric.simd import LINE, prefetch
from recstream.core.ranking.batch import Entries, Near, RowLists, Scoring, of_user
from recstream.core.ranking.exclusion import may_list
from recstream.core.search import EMPTY_KEY, SORTED, exact_score, keep, key_of, row_of, score_of

__all__ = ["blend"]

Bools = NDArray[np.bool_]
_SHIFT = 20
_ROOM = 1 << (32 - _SHIFT)
"""Places of a hash table: four times what 16 entries of two tables of 32 neighbours can touch."""


@compiled
def _place_of(keys: Int32s, row: int) -> int:
    """Return where a row is in a hash table, or where it would be."""
    at = ((np.int64(row) * 2654435769) & 0xFFFFFFFF) >> _SHIFT
    # One branch, nearly always the same way: a product is 0 for an empty place and for the row's own.
    while (np.int64(keys[at]) + 1) * (np.int64(keys[at]) - row) != 0:
        at = (at + 1) & (_ROOM - 1)
    return int(at)


@compiled
def _gather(
    columns: Int32s,
    seed_weights: Float32s,
    table: Near,
    keys: Int32s,
    totals: Float64s,
    used: Int32s,
    n_used: int,
) -> int:
    """Add what entries give to their neighbours of one table; return how many have something."""
    rows, weights, gain = table.rows, table.weights, table.gain
    width = rows.shape[1]
    # Lists lie apart in memory: copied first, without a branch, they are waited for together.
    near = np.empty((RECENT, width), np.int32)
    nearness = np.empty((RECENT, width), np.float32)
    speaking = np.empty(RECENT)
    n_speaking = 0
    for e in range(len(columns)):
        if seed_weights[e] > 0.0 and columns[e] < len(rows) and n_speaking < RECENT:
            near[n_speaking] = rows[columns[e]]
            nearness[n_speaking] = weights[columns[e]]
            speaking[n_speaking] = np.float64(seed_weights[e])
            n_speaking += 1
    for e in range(n_speaking):
        for place in range(width):
            row = near[e, place]
            if row < 0:
                break
            # Whether an item was met before can't be foretold: no branch asks it.
            at = _place_of(keys, row)
            used[n_used] = at
            n_used += keys[at] < 0
            keys[at] = row
            totals[at] += gain * (speaking[e] * np.float64(nearness[e, place]))
    return n_used


@compiled
def _announce(columns: Int32s, seed_weights: Float32s, table: Near) -> None:
    """Ask memory for the lists that `_gather` will read."""
    width = table.rows.shape[1]
    for e in range(len(columns)):
        if seed_weights[e] > 0.0 and columns[e] < len(table.rows):
            first = np.int64(columns[e]) * width
            for place in range(0, width, LINE):
                prefetch(table.rows, first + place)
                prefetch(table.weights, first + place)
            prefetch(table.rows, first + width - 1)
            prefetch(table.weights, first + width - 1)


@compiled
def _scale(
    keys: Int32s,
    totals: Float64s,
    used: Int32s,
    n_used: int,
    worth: Float32s,
    newest: float,
    fresh: Int32s,
) -> int:
    """Multiply what items were given by what it is worth to each; return how many are newcomers."""
    n_fresh = 0
    if len(worth):
        for at in range(n_used):
            place = used[at]
            own = np.float64(worth[keys[place]])
            totals[place] *= own
            fresh[n_fresh] = place
            n_fresh += int(own >= newest)
    return n_fresh


@compiled
def blend(
    entries: Entries,
    near: Near,
    more: Near,
    newest: float,
    scoring: Scoring,
    left: RowLists,
    pins: Int32s,
    resting: RowLists,
    lists: Int64s,
    newcomers: Int64s,
    to_pins: Float64s,
    to_resting: Float64s,
    is_near: Bools,
) -> None:
    """Turn base lists into lists by base score plus what neighbours add, as long, in place.

    Neighbours add at least 0, so what is best by the sum is in the base list or was added to.
    Sums run by table, then entry, then place, in float64, as in `recstream.core.neighbours.behaviour.gather`.

    Parameters
    ----------
    near, more
        Two tables that entries speak through, the first with what each item's share is worth; one
        with gain 0 is not looked at.
    newest : float
        An item that the first table adds to and whose worth is not below this is a newcomer.
    left : RowLists
        Items of each user that base lists leave out.
    pins, resting
        Items asked about for everybody, and of each user.
    lists : (b, n) int64
        Keys of the exact best by base score, the worst first.
    newcomers : (b, f) int64
        Written: keys of the best newcomers that may be listed, by the sum, the worst first; listed or
        not. `EMPTY_KEY` before, and where there are fewer.
    to_pins, to_resting, is_near : (b, k), (r,) and (b,)
        Written: what neighbours add to the items asked about, and to whose items they add at all.
    """
    users, items, bias, norm, mask = scoring
    length = lists.shape[1]
    seed_weights = np.zeros(len(entries.weights), np.float32)
    for u in range(lists.shape[0]):
        own = slice(entries.indptr[u], entries.indptr[u + 1])
        write_seed_weights(entries.weights[own], seed_weights[own])
    keys = np.full(_ROOM, -1, np.int32)
    totals = np.zeros(_ROOM)
    is_settled = np.zeros(_ROOM, np.bool_)
    used = np.empty(_ROOM + 1, np.int32)
    bound = np.empty(_ROOM)
    open_places = np.empty(_ROOM + 1, np.int32)
    fresh = np.empty(_ROOM + 1, np.int32)
    base, changed = np.empty(length, np.int64), np.empty(length, np.int64)
    for u in range(lists.shape[0]):
        own = slice(entries.indptr[u], entries.indptr[u + 1])
        n_used = n_fresh = 0
        if u + 1 < lists.shape[0]:
            following = slice(entries.indptr[u + 1], entries.indptr[u + 2])
            if near.gain > 0.0:
                _announce(entries.columns[following], seed_weights[following], near)
            if more.gain > 0.0:
                _announce(entries.columns[following], seed_weights[following], more)
        columns = entries.columns[own]
        if near.gain > 0.0:
            n_used = _gather(columns, seed_weights[own], near, keys, totals, used, n_used)
            n_fresh = _scale(keys, totals, used, n_used, near.worth, newest, fresh)
        if more.gain > 0.0:
            n_used = _gather(columns, seed_weights[own], more, keys, totals, used, n_used)
        if n_used == 0:
            continue
        is_near[u] = True
        for at in range(len(pins)):
            place = _place_of(keys, pins[at])
            to_pins[u, at] = totals[place] if keys[place] >= 0 else 0.0
        for at in range(resting.indptr[u], resting.indptr[u + 1]):
            place = _place_of(keys, resting.rows[at])
            to_resting[at] = totals[place] if keys[place] >= 0 else 0.0
        mine = lists[u]
        base[:] = mine
        if length > SORTED:
            base.sort()
        mine[:] = EMPTY_KEY
        n_changed, free = 0, length
        for at in range(length - 1, -1, -1):
            key = base[at]
            if key == EMPTY_KEY:
                break
            place = _place_of(keys, row_of(key))
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
        out = of_user(left, u)
        reach = 0.0
        for k in range(users.shape[1]):
            reach += np.float64(users[u, k]) * np.float64(users[u, k])
        reach = math.sqrt(reach) * (1.0 + 1e-9)
        # A base list that is not full holds every item that may be listed. Of a full one, no other
        # item has a better base score than its last one, nor one beyond what its length allows.
        if base[0] != EMPTY_KEY:
            limit = np.float64(score_of(base[0]))
            for row in out:
                place = _place_of(keys, row)
                is_settled[place] = keys[place] >= 0
            # One part in a million covers the roundings to float32.
            least = np.float64(score_of(mine[0]))
            enough = least - 1e-6 * abs(least)
            # Without a branch between them, the reads of many items are waited for together.
            most, n_open = enough, 0
            for at in range(n_used):
                place = used[at]
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
            # The promising ones first: they raise what the others must reach.
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
        if newcomers.shape[1] > 0:
            best = newcomers[u]
            for at in range(n_fresh):
                place = fresh[at]
                row = keys[place]
                least = np.float64(score_of(best[0]))
                most_base = reach * np.float64(norm[row]) + np.float64(bias[row])
                if most_base + totals[place] >= least - 1e-6 * abs(least) and may_list(
                    row, mask, out
                ):
                    score = np.float64(exact_score(users[u], items[row], bias[row]))
                    keep(best, key_of(np.float32(score + totals[place]), row))
        for at in range(n_used):
            keys[used[at]] = -1
            totals[used[at]] = 0.0
            is_settled[used[at]] = False
