"""Compiled replay of a stream: the rank of each event's item before the event is counted.

The score is documented in `prequential_replay.evaluate`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled, helper
from recstream.core.numeric.neighbour_tables import SeedRule, write_seed_weights
from recstream.core.popularity import TINY, count_in_place, credit_in_place

from .repeats import count_repeats, repeat_probability

__all__ = ["replay_events", "target_rank"]


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
    rule: SeedRule,
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
    """Rank each event's item for every option, update the popularity weights, count the event.

    Parameters
    ----------
    items : (e,) int32
        The events' items.
    indptr, indices, weights, counts, ages : CSR arrays
        Each event's user row before the event (`EntryRows`).
    scores : (e, m) float32
        ``x · y`` of all known items; (e, 0) to count without ranking.
    near_rows, near_weights : (m, w)
        Behaviour neighbours.
    options : (o, 2) float64
        Pairs of β and ρ.
    behaviour_weights : (w,) float64
    repeat : bool
        Whether seen items may be recommended.
    sums, totals, credit, landmark, half_lives : float64 arrays
        State of the popularity memories; changed.
    hits, chances : (bins,) float64
        State of the repeat table; changed.
    known : (m,) bool
        Items that occurred before; changed.
    clock : int
        Events before these.
    ranks : (e, o, w) int32
        Written; -1 for events that are not evaluated.
    """
    prior = np.zeros(len(known))
    dots = np.zeros(len(known))
    new_dots = np.zeros(len(known))
    returning = np.zeros(len(known))
    near = np.zeros(len(known))
    allowed = np.zeros(len(known), np.bool_)
    unit_share = np.zeros(len(totals) + 1)
    n_known = known.sum()
    for e in range(len(items)):
        item = items[e]
        row = slice(indptr[e], indptr[e + 1])
        own, done, since = indices[row], counts[row], ages[row]
        position = _find(own, item)
        _unit_shares(totals, credit, n_known, unit_share)
        part = 1.0
        if known[item] and repeat and position >= 0:
            habit = repeat_probability(hits, chances, done[position], since[position])
            part = _expected(sums, unit_share, item)
            part /= part + habit
        if position >= 0 and not repeat:
            ranks[e] = -1
        elif known[item] and scores.shape[1] > 0:
            for i in range(scores.shape[1]):
                allowed[i] = known[i]
                dots[i] = new_dots[i] = scores[e, i]
                returning[i] = 0.0
                prior[i] = _expected(sums, unit_share, i)
            for a in range(len(own)):
                allowed[own[a]] = repeat
                habit = repeat_probability(hits, chances, done[a], since[a])
                new_dots[own[a]] = 0.0
                returning[own[a]] = math.log(habit * n_known)
                prior[own[a]] += habit
            add_neighbours(own, weights[row], near_rows, near_weights, rule, near)
            target_rank(
                item, scores.shape[1], dots, new_dots, returning, near, prior, allowed,
                options, behaviour_weights, ranks[e],
            )  # fmt: skip
            near[:] = 0.0
        if known[item]:
            credit_in_place(sums, totals, credit, clock, item, part)
        count_repeats(hits, chances, done, since, position)
        count_in_place(sums, totals, landmark, half_lives, clock, item)
        clock += 1
        n_known += not known[item]
        known[item] = True


@helper
def _find(items: Int32s, item: int) -> int:
    """Return the position of an item, or -1."""
    for place in range(len(items)):
        if items[place] == item:
            return place
    return -1


@helper
def _unit_shares(totals: Float64s, credit: Float64s, n_known: int, unit_share: Float64s) -> None:
    """Write the share of one unit of each memory's sums in the prior, and the uniform share."""
    for k in range(len(totals)):
        unit_share[k] = credit[k] / max(totals[k], TINY)
    unit_share[-1] = credit[-1] / max(1, n_known)


@helper
def _expected(sums: Float64s, unit_share: Float64s, item: int) -> float:
    """Return the prior of an item."""
    value = float(unit_share[-1])
    for k in range(sums.shape[1]):
        value += unit_share[k] * sums[item, k]
    return value


@helper
def add_neighbours(
    own: Int32s,
    weights: Float32s,
    rows: Int32s,
    near_weights: Float32s,
    rule: SeedRule,
    near: Float64s,
) -> None:
    """Add the neighbour scores of a history's entries."""
    seeds = np.zeros(len(own), np.float32)
    write_seed_weights(weights, rule, seeds)
    for a in range(len(own)):
        if seeds[a] > 0.0:
            for place in range(rows.shape[1]):
                if rows[own[a], place] < 0:
                    break
                near[rows[own[a], place]] += seeds[a] * near_weights[own[a], place]


@compiled
def target_rank(
    item: int,
    n_items: int,
    dots: Float64s,
    new_dots: Float64s,
    returning: Float64s,
    near: Float64s,
    prior: Float64s,
    allowed: NDArray[np.bool_],
    options: Float64s,
    behaviour_weights: Float64s,
    ranks: Int32s,
) -> None:
    """Write the item's rank among allowed items for every option; equal scores are ordered by row.

    Parameters
    ----------
    dots : (m,) float64
        ``x · y``.
    new_dots : (m,) float64
        The same with 0 for seen items, for options with ρ above 0.
    returning : (m,) float64
        ``log(h n)`` of seen items, 0 for others.
    near, prior : (m,) float64
        Neighbour scores and popularity priors.
    allowed : (m,) bool
    options : (o, 2) float64
    behaviour_weights : (w,) float64
    ranks : (o, w) int32
        Written.
    """
    popular = math.log(prior[item])
    ahead_in_all = np.ones(len(options), np.int32)
    ranks[:] = 0
    for i in range(n_items):
        if allowed[i] and i != item:
            ahead = dots[i] - dots[item]
            ahead_if_new = new_dots[i] - new_dots[item]
            again = returning[i] - returning[item]
            nearer = near[i] - near[item]
            more = math.log(prior[i]) - popular
            for b in range(len(options)):
                own = ahead_if_new if options[b, 1] > 0.0 else ahead
                gap = own + options[b, 0] * more + options[b, 1] * again
                if nearer == 0.0:
                    ahead_in_all[b] += gap > 0.0 or (gap == 0.0 and i < item)
                else:
                    for w in range(len(behaviour_weights)):
                        whole = gap + behaviour_weights[w] * nearer
                        ranks[b, w] += whole > 0.0 or (whole == 0.0 and i < item)
    for b in range(len(options)):
        for w in range(len(behaviour_weights)):
            ranks[b, w] += ahead_in_all[b]
