"""Step 8 of the flow, compiled: base list + what neighbours add → the exact top by the sum.

A batch is worked on user by user: a user's bits do not depend on the others.
"""

# ruff: noqa: C901, PLR0912, PLR0915  (an inner loop is one function: calls with vectors cost registers)

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.kernels.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.kernels.jit import compiled
from recstream.core.kernels.nearness import RECENT, strengthen
from recstream.core.kernels.vector import prefetch
from recstream.core.ranking.score import exact_score

__all__ = [
    "LEAST",
    "Blended",
    "Items",
    "Lists",
    "Near",
    "blend",
    "enter",
    "may_list",
    "merged_rows",
    "sorted_rows",
    "strengths_of",
]

Bools = NDArray[np.bool_]
LEAST = np.float32(-np.inf)
_SHIFT = 20
_LINE = 16
"""Numbers of four bytes in a line of memory."""
_ROOM = 1 << (32 - _SHIFT)
"""Places of a hash table: twice what 16 entries of two tables of 32 neighbours can touch."""


class Lists(NamedTuple):
    """Rows and scores of a batch, best first; -1 with -inf where a list ends."""

    rows: Int32s
    scores: Float32s


class Near(NamedTuple):
    """The users' entries as they speak through two neighbour tables.

    User u has the places ``indptr[u]:indptr[u + 1]``. Tables are (m, WIDTH), -1 for none; a table with
    gain 0 is not looked at. What the first one adds to an item is multiplied by the item's ``worth``;
    an empty ``worth`` is 1 for all.
    """

    indptr: Int64s
    columns: Int32s
    strengths: Float32s
    rows: Int32s
    weights: Float32s
    gain: float
    worth: Float32s
    more_rows: Int32s
    more_weights: Float32s
    more_gain: float


class Items(NamedTuple):
    """What a score is made of beside the users.

    ``norm`` bounds it: no user's ``x · y_i`` is above ``|x| · norm[i]``. ``mask`` is empty where every
    item is allowed.
    """

    factors: Float32s
    bias: Float32s
    norm: Float32s
    mask: Bools


class Blended(NamedTuple):
    """Lists by the sum, and what neighbours add to the items asked about.

    ``to_pins`` is (b, k), ``to_resting`` (r,), ``is_near`` says of whom anything speaks.
    """

    lists: Lists
    to_pins: Float64s
    to_resting: Float64s
    is_near: Bools


def blend(
    base: Lists,
    near: Near,
    users: Float32s,
    items: Items,
    *,
    left_out: tuple[Int64s, Int32s],
    pins: Int32s,
    resting: tuple[Int64s, Int32s],
) -> Blended:
    """Return the best rows by base score plus what neighbours add, as many as base lists have.

    Neighbours add at least 0, so what is best by the sum is in the base list or was added to.
    Sums run by table, then entry, then place, in float64, as in `recstream.core.neighbours.gather`.

    Parameters
    ----------
    base : Lists
        The exact best by ``user · item + bias``.
    left_out, resting : indptr, indices
        Items of each user, ascending: those not in base lists, and those asked about.
    pins : (k,) int32
        Items asked about for everybody.
    """
    rows, scores = base.rows.copy(), base.scores.copy()
    to_pins = np.zeros((len(users), len(pins)))
    to_resting = np.zeros(len(resting[1]))
    is_near = np.zeros(len(users), np.bool_)
    if near.gain > 0.0 or near.more_gain > 0.0:
        _blend(
            *near, users, *items, *left_out, pins, *resting, rows, scores, to_pins, to_resting,
            is_near,
        )  # fmt: skip
    return Blended(Lists(rows, scores), to_pins, to_resting, is_near)


def strengths_of(indptr: Int64s, weights: Float32s) -> Float32s:
    """Return `recstream.core.neighbours.strengths` of many users' rows."""
    out = np.zeros(len(weights), np.float32)
    _strengthen(indptr, weights, out)
    return out


@compiled
def _strengthen(indptr: Int64s, weights: Float32s, out: Float32s) -> None:
    for u in range(len(indptr) - 1):
        strengthen(weights[indptr[u] : indptr[u + 1]], out[indptr[u] : indptr[u + 1]])


@compiled
def sorted_rows(indptr: Int64s, rows: Int32s) -> tuple[Int64s, Int32s]:
    """Return each user's rows ascending and once each, those below 0 left out."""
    kept_indptr, kept = np.zeros_like(indptr), np.empty_like(rows)
    n_kept = 0
    for u in range(len(indptr) - 1):
        first = n_kept
        for at in range(indptr[u], indptr[u + 1]):
            place = n_kept
            while place > first and kept[place - 1] > rows[at]:
                place -= 1
            if rows[at] >= 0 and (place == first or kept[place - 1] != rows[at]):
                for after in range(n_kept, place, -1):
                    kept[after] = kept[after - 1]
                kept[place] = rows[at]
                n_kept += 1
        kept_indptr[u + 1] = n_kept
    return kept_indptr, kept[:n_kept].copy()


@compiled
def merged_rows(
    indptr: Int64s, rows: Int32s, more_indptr: Int64s, more: Int32s
) -> tuple[Int64s, Int32s]:
    """Return what either of two tables has for each user, ascending as they are."""
    both_indptr, both = np.zeros_like(indptr), np.empty(len(rows) + len(more), np.int32)
    n_both = 0
    for u in range(len(indptr) - 1):
        at, end = indptr[u], indptr[u + 1]
        other, other_end = more_indptr[u], more_indptr[u + 1]
        while at < end or other < other_end:
            takes = other == other_end or (at < end and rows[at] <= more[other])
            row = rows[at] if takes else more[other]
            at += at < end and rows[at] == row
            other += other < other_end and more[other] == row
            both[n_both] = row
            n_both += 1
        both_indptr[u + 1] = n_both
    return both_indptr, both[:n_both].copy()


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
def may_list(row: int, mask: Bools, seen: Int32s) -> bool:
    """Return whether an item is neither left out nor seen."""
    return (len(mask) == 0 or mask[row]) and _find(seen, 0, len(seen), row) < 0


@compiled
def _settle(rows: Int32s, scores: Float32s, at: int, row: int, score: np.float32) -> None:
    """Put a row in its place among the first ``at`` of a list; what was at that one is lost."""
    while at > 0 and (
        rows[at - 1] < 0
        or scores[at - 1] < score
        or (scores[at - 1] == score and rows[at - 1] > row)
    ):
        rows[at], scores[at] = rows[at - 1], scores[at - 1]
        at -= 1
    rows[at], scores[at] = row, score


@compiled
def enter(rows: Int32s, scores: Float32s, row: int, score: np.float32) -> None:
    """Put a row in its place in a list, equal scores by row; the last one falls out."""
    at = len(rows) - 1
    if not (scores[at] > score or (scores[at] == score and 0 <= rows[at] < row)):
        _settle(rows, scores, at, row, score)


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
    strengths: Float32s,
    rows: Int32s,
    weights: Float32s,
    gain: float,
    keys: Int32s,
    totals: Float64s,
    used: Int32s,
    n_used: int,
) -> int:
    """Add what entries give to their neighbours of one table; return how many have something."""
    width = rows.shape[1]
    # Lists lie apart in memory: copied first, without a branch, they are waited for together.
    near = np.empty((RECENT, width), np.int32)
    nearness = np.empty((RECENT, width), np.float32)
    speaking = np.empty(RECENT)
    n_speaking = 0
    for e in range(len(columns)):
        if strengths[e] > 0.0 and columns[e] < len(rows) and n_speaking < RECENT:
            near[n_speaking] = rows[columns[e]]
            nearness[n_speaking] = weights[columns[e]]
            speaking[n_speaking] = np.float64(strengths[e])
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
def _announce(columns: Int32s, strengths: Float32s, rows: Int32s, weights: Float32s) -> None:
    """Ask memory for the lists that `_gather` will read."""
    width = rows.shape[1]
    for e in range(len(columns)):
        if strengths[e] > 0.0 and columns[e] < len(rows):
            first = np.int64(columns[e]) * width
            for place in range(0, width, _LINE):
                prefetch(rows, first + place)
                prefetch(weights, first + place)
            prefetch(rows, first + width - 1)
            prefetch(weights, first + width - 1)


@compiled
def _scale(keys: Int32s, totals: Float64s, used: Int32s, n_used: int, worth: Float32s) -> None:
    """Multiply what items were given by what it is worth to each."""
    if len(worth):
        for at in range(n_used):
            totals[used[at]] *= np.float64(worth[keys[used[at]]])


@compiled
def _blend(
    near_indptr: Int64s,
    columns: Int32s,
    strengths: Float32s,
    near_rows: Int32s,
    near_weights: Float32s,
    gain: float,
    worth: Float32s,
    more_rows: Int32s,
    more_weights: Float32s,
    more_gain: float,
    users: Float32s,
    items: Float32s,
    bias: Float32s,
    norm: Float32s,
    mask: Bools,
    left_out_indptr: Int64s,
    left_out: Int32s,
    pins: Int32s,
    resting_indptr: Int64s,
    resting: Int32s,
    rows: Int32s,
    scores: Float32s,
    to_pins: Float64s,
    to_resting: Float64s,
    is_near: Bools,
) -> None:
    """Turn base lists into lists by the sum, in place."""
    length = rows.shape[1]
    keys = np.full(_ROOM, -1, np.int32)
    totals = np.zeros(_ROOM)
    is_listed = np.zeros(_ROOM, np.bool_)
    used = np.empty(_ROOM + 1, np.int32)
    bound = np.empty(_ROOM)
    open_places = np.empty(_ROOM + 1, np.int32)
    base_rows, base_scores = np.empty(length, np.int32), np.empty(length, np.float32)
    for u in range(rows.shape[0]):
        own = slice(near_indptr[u], near_indptr[u + 1])
        n_used = 0
        if u + 1 < rows.shape[0]:
            following = slice(near_indptr[u + 1], near_indptr[u + 2])
            if gain > 0.0:
                _announce(columns[following], strengths[following], near_rows, near_weights)
            if more_gain > 0.0:
                _announce(columns[following], strengths[following], more_rows, more_weights)
        if gain > 0.0:
            n_used = _gather(
                columns[own], strengths[own], near_rows, near_weights, gain, keys, totals, used,
                n_used,
            )  # fmt: skip
            _scale(keys, totals, used, n_used, worth)
        if more_gain > 0.0:
            n_used = _gather(
                columns[own], strengths[own], more_rows, more_weights, more_gain, keys, totals,
                used, n_used,
            )  # fmt: skip
        if n_used == 0:
            continue
        is_near[u] = True
        for at in range(len(pins)):
            place = _place_of(keys, pins[at])
            to_pins[u, at] = totals[place] if keys[place] >= 0 else 0.0
        for at in range(resting_indptr[u], resting_indptr[u + 1]):
            place = _place_of(keys, resting[at])
            to_resting[at] = totals[place] if keys[place] >= 0 else 0.0
        base_rows[:], base_scores[:] = rows[u], scores[u]
        rows[u], scores[u] = -1, LEAST
        for at in range(length):
            row = base_rows[at]
            if row < 0:
                break
            score = base_scores[at]
            place = _place_of(keys, row)
            if keys[place] >= 0:
                is_listed[place] = True
                score = np.float32(np.float64(score) + totals[place])
            _settle(rows[u], scores[u], at, row, score)
        # A base list that is not full holds every item that may be listed. Of a full one, no other
        # item has a better base score than its last one, nor one beyond what its length allows.
        if base_rows[length - 1] >= 0:
            limit = np.float64(base_scores[length - 1])
            reach = 0.0
            for k in range(users.shape[1]):
                reach += np.float64(users[u, k]) * np.float64(users[u, k])
            reach = math.sqrt(reach) * (1.0 + 1e-9)
            seen = left_out[left_out_indptr[u] : left_out_indptr[u + 1]]
            least = np.float64(scores[u, length - 1])
            # One part in a million covers the roundings to float32. What was given settles most items.
            enough = least - 1e-6 * abs(least)
            n_open = 0
            for at in range(n_used):
                place = used[at]
                open_places[n_open] = place
                n_open += (limit + totals[place] >= enough) & (not is_listed[place])
            # Without a branch between them, the reads of many items are waited for together.
            most = enough
            for at in range(n_open):
                row = keys[open_places[at]]
                base = min(limit, reach * np.float64(norm[row]) + np.float64(bias[row]))
                bound[at] = base + totals[open_places[at]]
                most = max(most, bound[at])
                if bound[at] >= enough:
                    for k in range(0, items.shape[1], _LINE):
                        prefetch(items, np.int64(row) * items.shape[1] + k)
            # The promising ones first: they raise what the others must reach.
            middle = 0.5 * (enough + most)
            for turn in range(2):
                for at in range(n_open):
                    if (bound[at] < middle) != (turn == 1) or bound[at] < enough:
                        continue
                    place = open_places[at]
                    row = keys[place]
                    if may_list(row, mask, seen):
                        score = np.float64(exact_score(users[u], items[row], bias[row]))
                        enter(rows[u], scores[u], row, np.float32(score + totals[place]))
                        least = np.float64(scores[u, length - 1])
                        enough = least - 1e-6 * abs(least)
        for at in range(n_used):
            keys[used[at]] = -1
            totals[used[at]] = 0.0
            is_listed[used[at]] = False
