"""Beside the flow, compiled: the place of each event's item when a stream is replayed, then the event counts.

`recstream.core.evaluation.prequential` says what is replayed and by which score.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.core.numeric.neighbour_tables import write_seed_weights
from recstream.core.popularity import (
    TINY,
    count_in_place,
    count_repeats,
    credit_in_place,
    repeat_probability,
)

__all__ = ["place", "replay_events"]


@compiled
def replay_events(
    items: Int32s,
    indptr: Int64s,
    indices: Int32s,
    weights: Float32s,
    counts: Int64s,
    ages: Int64s,
    scores: Float32s,
    near_rows: Int32s,
    near_weights: Float32s,
    options: Float64s,
    behaviour_weights: Float64s,
    repeat: bool,
    sums: Float64s,
    totals: Float64s,
    credit: Float64s,
    landmark: Float64s,
    half_lives: Float64s,
    hits: Float64s,
    chances: Float64s,
    known: NDArray[np.bool_],
    clock: int,
    ranks: Int32s,
) -> None:
    """For each event: rank its item for every option, credit what expected it, count it."""
    prior = np.zeros(len(known))
    dots = np.zeros(len(known))
    own_dots = np.zeros(len(known))
    near = np.zeros(len(known))
    allowed = np.zeros(len(known), np.bool_)
    worth = np.zeros(len(totals) + 1)
    n_known = known.sum()
    for e in range(len(items)):
        item = items[e]
        row = slice(indptr[e], indptr[e + 1])
        own, done, since = indices[row], counts[row], ages[row]
        came = _find(own, item)
        _weigh(totals, credit, n_known, worth)
        part = 1.0
        if known[item] and repeat and came >= 0:
            habit = repeat_probability(hits, chances, done[came], since[came])
            part = _expected(sums, worth, item)
            part /= part + habit
        if came >= 0 and not repeat:
            ranks[e] = -1
        elif known[item] and scores.shape[1] > 0:
            for i in range(scores.shape[1]):
                allowed[i] = known[i]
                dots[i] = scores[e, i]
                own_dots[i] = 0.0
                prior[i] = _expected(sums, worth, i)
            for a in range(len(own)):
                allowed[own[a]] = repeat
                own_dots[own[a]] = dots[own[a]]
                prior[own[a]] += repeat_probability(hits, chances, done[a], since[a])
            spread(own, weights[row], near_rows, near_weights, near)
            place(
                item, scores.shape[1], dots, own_dots, near, prior, allowed,
                options, behaviour_weights, ranks[e],
            )  # fmt: skip
            near[:] = 0.0
        if known[item]:
            credit_in_place(sums, totals, credit, clock, item, part)
        count_repeats(hits, chances, done, since, came)
        count_in_place(sums, totals, landmark, half_lives, clock, item)
        clock += 1
        n_known += not known[item]
        known[item] = True


@compiled
def _find(items: Int32s, item: int) -> int:
    """Return where an item is, -1 where it is not."""
    for place in range(len(items)):
        if items[place] == item:
            return place
    return -1


@compiled
def _weigh(totals: Float64s, credit: Float64s, n_known: int, worth: Float64s) -> None:
    """Write what one unit of each memory's sums adds to the prior, and the uniform share."""
    for k in range(len(totals)):
        worth[k] = credit[k] / max(totals[k], TINY)
    worth[-1] = credit[-1] / max(1, n_known)


@compiled
def _expected(sums: Float64s, worth: Float64s, item: int) -> float:
    """Return the prior of an item."""
    value = float(worth[-1])
    for k in range(sums.shape[1]):
        value += worth[k] * sums[item, k]
    return value


@compiled
def spread(
    own: Int32s, weights: Float32s, rows: Int32s, near_weights: Float32s, near: Float64s
) -> None:
    """Add what a history's entries give to the items near them."""
    strength = np.zeros(len(own), np.float32)
    write_seed_weights(weights, strength)
    for a in range(len(own)):
        if strength[a] > 0.0:
            for place in range(rows.shape[1]):
                if rows[own[a], place] < 0:
                    break
                near[rows[own[a], place]] += strength[a] * near_weights[own[a], place]


@compiled
def place(
    item: int,
    n_items: int,
    dots: Float64s,
    own_dots: Float64s,
    near: Float64s,
    prior: Float64s,
    allowed: NDArray[np.bool_],
    options: Float64s,
    behaviour_weights: Float64s,
    ranks: Int32s,
) -> None:
    """Write the item's place among allowed items, equal scores by row, for every option."""
    popular = math.log(prior[item])
    ahead_in_all = np.ones(len(options), np.int32)
    ranks[:] = 0
    for i in range(n_items):
        if allowed[i] and i != item:
            ahead = dots[i] - dots[item]
            own = own_dots[i] - own_dots[item]
            nearer = near[i] - near[item]
            more = math.log(prior[i]) - popular
            for b in range(len(options)):
                gap = ahead - (1.0 - options[b, 1]) * own + options[b, 0] * more
                if nearer == 0.0:
                    ahead_in_all[b] += gap > 0.0 or (gap == 0.0 and i < item)
                else:
                    for w in range(len(behaviour_weights)):
                        whole = gap + behaviour_weights[w] * nearer
                        ranks[b, w] += whole > 0.0 or (whole == 0.0 and i < item)
    for b in range(len(options)):
        for w in range(len(behaviour_weights)):
            ranks[b, w] += ahead_in_all[b]
