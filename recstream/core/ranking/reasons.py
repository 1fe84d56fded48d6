"""Reasons of a list's items: the terms of a score by history entry and source, and the largest of them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.generation import Generation
from recstream.core.history import Row
from recstream.core.numeric.arrays import Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled, interpretable
from recstream.core.numeric.neighbour_tables import (
    SeedRule,
    write_contributions,
    write_seed_weights,
)
from recstream.core.ranking.batch import NeighbourTable
from recstream.core.ranking.compiled_arm import neighbour_tables
from recstream.core.ranking.rank import DEFAULT_ARM
from recstream.core.steering import Arm, Blend

MAX_REASONS = 3
"""Most history entries among the reasons of an item."""
MIN_SHARE = 0.01
"""Least share of a reason in all positive contributions."""
_BECAUSE, _CONTENT, _POPULAR, _PINNED, _BOOSTED, _NEWCOMER = range(6)
_KIND_BITS = 3


class ScoreTerms(NamedTuple):
    """The terms of the scores of n items for a history of h entries.

    Attributes
    ----------
    columns : (h,) int32
        Item rows of the entries.
    factors, behaviour, content : (n, h) float64
        Contribution of each entry, by source.
    popularity : (n,) float64
        Contribution of the items' priors.
    """

    columns: NDArray[np.int32]
    factors: NDArray[np.float64]
    behaviour: NDArray[np.float64]
    content: NDArray[np.float64]
    popularity: NDArray[np.float64]


def score_terms(
    seen: Row,
    generation: Generation,
    arm: Arm | None,
    rows: NDArray[np.int32],
    tables: tuple[NeighbourTable, NeighbourTable] | None = None,
) -> ScoreTerms:
    """Return the terms of the scores of some items, without boosts.

    Parameters
    ----------
    rows : (n,) int32
        The items.
    tables : tuple, optional
        The arm's `neighbour_tables`, where they are known.
    """
    columns, weights = seen
    arm = arm or DEFAULT_ARM
    blend = arm.blend or Blend()
    behaviour, content = neighbour_terms(
        columns,
        weights,
        generation.scoring.seeds,
        *(tables or neighbour_tables(generation, arm)),
        rows,
    )
    if generation.model is None or blend.factors <= 0.0 or not len(columns):
        factors = np.zeros(behaviour.shape)
    else:
        factors = blend.factors * generation.model.contributions(columns, weights, rows)
    prior = blend.popularity * generation.bias[rows].astype(np.float64)
    return ScoreTerms(columns, factors, behaviour, content, prior)


@interpretable
@compiled
def neighbour_terms(
    columns: Int32s,
    weights: NDArray[np.float32],
    rule: SeedRule,
    near: NeighbourTable,
    more: NeighbourTable,
    rows: Int32s,
) -> tuple[Float64s, Float64s]:
    """Return behaviour and content of `ScoreTerms`, (n, h) each.

    Parameters
    ----------
    columns, weights : (h,) int32, float32
        The user's row.
    near, more : NeighbourTable
        Content and behaviour neighbours; a table with gain 0 adds nothing.
    rows : (n,) int32
    """
    seeds = np.zeros(len(columns), np.float32)
    write_seed_weights(weights, rule, seeds)
    content, behaviour = np.zeros((len(rows), len(seeds))), np.zeros((len(rows), len(seeds)))
    if near.gain > 0.0:
        write_contributions(columns, seeds, near.rows, near.weights, near.gain, rows, content)
        if len(near.multiplier):
            for at in range(len(rows)):
                for entry in range(len(seeds)):
                    content[at, entry] *= np.float64(near.multiplier[rows[at]])
    if more.gain > 0.0:
        write_contributions(columns, seeds, more.rows, more.weights, more.gain, rows, behaviour)
    return behaviour, content


@interpretable
@compiled
def _largest_entries(
    terms: tuple[Float64s, Float64s, Float64s, Float64s], row: int, best: Int64s, parts: Float64s
) -> tuple[float, int]:
    """Write an item's largest terms of entries, descending; ties by place.

    Places h and above are content. Returns the sum of all positive terms, and how many were written.
    """
    factors, behaviour, content = terms[0][row], terms[1][row], terms[2][row]
    h, last = len(factors), len(best) - 1
    total = max(terms[3][row], 0.0)
    n_best = 0
    parts[:] = 0.0
    for at in range(2 * h):
        value = content[at - h] if at >= h else factors[at] + behaviour[at]
        total += value if value > 0.0 else 0.0  # noqa: FURB136 - without a branch
        if value > parts[last]:
            place = last
            while place > 0 and value > parts[place - 1]:
                best[place], parts[place] = best[place - 1], parts[place - 1]
                place -= 1
            best[place], parts[place] = at, value
            n_best = min(n_best + 1, len(best))
    return total, n_best


@interpretable
@compiled
def _put(
    codes: NDArray[np.uint16], shares: NDArray[np.uint16], at: int, code: int, share: float
) -> int:
    """Write a reason; return the place of the next one."""
    codes[at] = code
    shares[at] = np.uint16(1000.0 * share + 0.5)
    return at + 1


@interpretable
@compiled
def select_reasons(  # noqa: C901 - one loop over the reasons of an item, in their order
    terms: tuple[Float64s, Float64s, Float64s, Float64s],
    boosts: Float64s,
    pins: Int32s,
    cold: NDArray[np.bool_],
) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint16], Int32s]:
    """Return the reasons of n items, as `recstream.core.records.ListColumns` keeps them.

    The order for an item: a pin, the largest entries, boosts, popularity, a reserved slot; without
    any of them popularity alone.

    Parameters
    ----------
    terms : (n, h), (n, h), (n, h) and (n,) float64
        Factors, behaviour, content and popularity of `ScoreTerms`.
    boosts : (n, k) float64
        Addition of each of k rules, 0 for none.
    pins : (n,) int32
        Place of the rule that pins an item, -1 for none; boosts are the places 0 to k - 1.
    cold : (n,) bool
        Items in reserved slots.

    Returns
    -------
    counts : (n,) uint8
        Reasons of each item.
    codes, shares : (r,) uint16
        Of each reason: kind and reference, thousandths of all positive contributions.
    used : (e,) int32
        Entries that reasons refer to, in the order of the first reference.
    """
    n, h = terms[0].shape
    popularity, k = terms[3], boosts.shape[1]
    counts = np.zeros(n, np.uint8)
    codes = np.empty(n * (MAX_REASONS + k + 3), np.uint16)
    shares = np.empty(len(codes), np.uint16)
    used, place_of = np.empty(h, np.int32), np.full(h, -1, np.int32)
    best, parts = np.empty(MAX_REASONS, np.int64), np.empty(MAX_REASONS)
    end = n_used = 0
    for row in range(n):
        first = end
        total, n_best = _largest_entries(terms, row, best, parts)
        for rule in range(k):
            total += max(boosts[row, rule], 0.0)
        whole = total if total > 0.0 else 1.0
        if pins[row] >= 0:
            end = _put(codes, shares, end, pins[row] << _KIND_BITS | _PINNED, 0.0)
        for place in range(n_best):
            if parts[place] / whole < MIN_SHARE:
                break
            entry = best[place] % h
            if place_of[entry] < 0:
                place_of[entry] = n_used
                used[n_used] = entry
                n_used += 1
            kind = _CONTENT if best[place] >= h else _BECAUSE
            code = place_of[entry] << _KIND_BITS | kind
            end = _put(codes, shares, end, code, parts[place] / whole)
        for rule in range(k):
            if boosts[row, rule] / whole >= MIN_SHARE:
                code = rule << _KIND_BITS | _BOOSTED
                end = _put(codes, shares, end, code, boosts[row, rule] / whole)
        if popularity[row] / whole >= MIN_SHARE:
            end = _put(codes, shares, end, _POPULAR, popularity[row] / whole)
        if cold[row]:
            end = _put(codes, shares, end, _NEWCOMER, 0.0)
        if end == first:
            end = _put(codes, shares, end, _POPULAR, 1.0)
        counts[row] = end - first
    return counts, codes[:end], shares[:end], used[:n_used]
