"""Popularity that follows the stream, as a bias of items.

Popularity is a mixture of exponentially decaying counts, the *memories*. Memory k counts events with
half-life h_k; ``p_k(i)`` is item i's part of its total. The mixture weights ``w`` are learned by online EM:
before an event is counted, each memory is credited with the probability it gave to the event's item. So no
half-life is chosen by hand, and no weight is fitted to events before they happened::

    prior_i = Σ_k w_k p_k(i) + w_0 / m          bias_i = β log(max(prior_i, cold_item_prior))
    score_ui = x_u · y_i + bias_i

β, the weight of log-popularity in units of ``x·y``, is chosen by prequential validation
(`scripts/bench/prequential_replay`). The clock is the number of
events counted, not the time of day: a quiet night ages nothing.

**Forward decay.** A memory stores ``S_k(i) = Σ 2^(c/h_k)`` over the item's events at clock c, and the same
sum over all items. Probabilities are ratios of the two, so an item without new events needs no update. Sums
are scaled down together, by a power of two, before they overflow.

Use in the trainer, all of it pure:

1. ``state = Popularity.empty(n_items)``, or ``fit_popularity(items, at_ms)`` from the entries of the
   histories, in the order of time: a function of the histories alone.
2. ``state = state.observe(items)`` for each batch of events, in the order of the log; rows past the
   end are new items.
3. ``bias = state.bias(beta)`` for a generation or a delta; publish the values that moved by more than a
   tolerance: `changed_rows`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from recstream.core.numeric.arrays import Float32s, Float64s, GrowableArray, Int64s
from recstream.core.numeric.jit import compiled, helper
from recstream.core.popularity.order import POPULARITY_VERSION, in_order
from recstream.errors import InvalidInput

HALF_LIVES = (1.0, 8.0, 64.0, 512.0, 4096.0, 32768.0, math.inf)
"""Half-lives of the memories, in events; infinity never decays."""

# Sums are scaled down when their forward factor passes this power of two.
_RANGE = 600.0
MIN_STEP = 5e-4
"""Minimum EM step per event, so that mixture weights follow a changing stream."""
INITIAL_EVENTS = 50.0
"""Weight of the initial mixture weights, in events."""
POPULARITY_WEIGHT = 0.2
"""Default weight of popularity, in typical scores."""
TINY = 1e-300
"""Replaces a total of zero in divisions."""


@dataclass(frozen=True)
class Popularity:
    """State of the memories; immutable: `observe` returns a new one.

    Attributes
    ----------
    sums : (m, K) float64
        Forward-decayed event counts of items.
    totals : (K,) float64
        Their sums over all items.
    credit : (K + 1,) float64
        w: mixture weights of the memories and of the uniform distribution. They sum to 1.
    clock : float
        Events counted.
    landmark : (K,) float64
        Clock at which one event has weight 1 in a memory.
    half_lives : (K,) float64
    """

    sums: Float64s
    totals: Float64s
    credit: Float64s
    clock: float
    landmark: Float64s
    half_lives: Float64s

    @classmethod
    def empty(cls, n_items: int, half_lives: tuple[float, ...] = HALF_LIVES) -> Popularity:
        """Return a state without events and with equal mixture weights."""
        lives = np.asarray(half_lives, np.float64)
        if lives.ndim != 1 or not len(lives) or not (lives > 0).all():
            raise InvalidInput(f"half_lives must be numbers above 0, got {half_lives}")
        n_memories = len(lives)
        return cls(
            np.zeros((n_items, n_memories)),
            np.zeros(n_memories),
            np.full(n_memories + 1, 1.0 / (n_memories + 1)),
            0.0,
            np.zeros(n_memories),
            lives,
        )

    @property
    def n_items(self) -> int:
        """Number of item rows."""
        return int(self.sums.shape[0])

    def observe(self, items: object, n_items: int | None = None) -> Popularity:
        """Return the state after these events, in this order.

        Parameters
        ----------
        items : (n,) int
            The events' item rows.
        n_items : int, optional
            Number of rows afterwards, if larger than those in ``items``.
        """
        rows, size = self.checked(items, n_items)
        sums = np.zeros((size, len(self.half_lives)))
        sums[: self.n_items] = self.sums
        totals, credit, landmark = self.totals.copy(), self.credit.copy(), self.landmark.copy()
        clock = self.clock
        if len(rows):  # a first generation without events needs no kernel
            clock = observe_in_place(sums, totals, credit, landmark, self.half_lives, clock, rows)
        return replace(
            self, sums=sums, totals=totals, credit=credit, clock=clock, landmark=landmark
        )

    def live(self) -> LivePopularity:
        """Return a copy that counts events in place."""
        return LivePopularity(self)

    def checked(self, items: object, n_items: int | None) -> tuple[Int64s, int]:
        """Return the rows of events, and the number of items after them; see `observe`."""
        rows = np.ascontiguousarray(items, np.int64)
        if rows.ndim != 1 or rows.min(initial=0) < 0:
            raise InvalidInput(f"items must be a vector of rows of at least 0, got {rows!r}")
        return rows, max(self.n_items, int(rows.max(initial=-1)) + 1, n_items or 0)

    def prior(self, rows: Int64s | None = None, n_items: int | None = None) -> Float64s:
        """Return ``Σ_k w_k p_k(i) + w_0 / m``, which sums to 1 after the first event.

        Parameters
        ----------
        rows : (n,) int, optional
            Only these items, which may lie past the known ones; default: all.
        n_items : int, optional
            m; default: the known ones.
        """
        each = self.credit[:-1] / np.maximum(self.totals, TINY)
        rest = self.credit[-1] / max(1, self.n_items if n_items is None else n_items)
        if rows is None:
            return np.asarray(self.sums @ each + rest, np.float64)
        out = np.full(len(rows), rest)
        known = rows < self.n_items
        out[known] += self.sums[rows[known]] @ each
        return out

    def cold_item_prior(self, n_items: int | None = None) -> float:
        """Return the probability that the next event is of one given item without events.

        Good–Turing: items without events together get the probability that items with one event had so
        far. They share it equally, and none gets more than an average item.

        Parameters
        ----------
        n_items : int, optional
            m; default: the known ones.
        """
        total = float(self.totals[-1])
        if total <= 0.0 or math.isfinite(self.half_lives[-1]):
            return 0.0
        counts = self.sums[:, -1]
        once, untouched = int((counts == 1.0).sum()), int((counts == 0.0).sum())
        m = max(1, self.n_items if n_items is None else n_items)
        return min(once / total / max(untouched, 1), 1.0 / m)

    def bias(self, beta: float, rows: Int64s | None = None, n_items: int | None = None) -> Float32s:
        """Return ``β log(max(prior_i, cold_item_prior) · m)``: 0 for an item of average popularity.

        No item has a lower bias than a cold one. The constant m changes no order and keeps values small.
        With a fixed m as ``n_items``, new items do not change the bias of the others.
        """
        if not (math.isfinite(beta) and beta >= 0):
            raise InvalidInput(f"beta must be a finite number of at least 0, got {beta!r}")
        m = max(1, self.n_items if n_items is None else n_items)
        prior = np.maximum(self.prior(rows, m), self.cold_item_prior(m))
        return np.asarray(beta * np.log(prior * m), np.float32)


class LivePopularity:
    """A state that counts events in place: the cost follows the events, not the items.

    Parameters
    ----------
    state : Popularity
        Its sums are copied once.

    Attributes
    ----------
    state : Popularity
        As of the newest event; valid until the next `observe`.
    """

    def __init__(self, state: Popularity) -> None:
        self._sums = GrowableArray(state.sums)
        self.state = replace(
            state,
            sums=self._sums.rows,
            totals=state.totals.copy(),
            credit=state.credit.copy(),
            landmark=state.landmark.copy(),
        )

    def observe(self, items: object, n_items: int | None = None) -> None:
        """Count events; see `Popularity.observe`."""
        rows, size = self.state.checked(items, n_items)
        self._sums.grow(size)
        now = self.state
        clock = observe_in_place(
            self._sums.rows, now.totals, now.credit, now.landmark, now.half_lives, now.clock, rows
        )
        self.state = replace(now, sums=self._sums.rows, clock=clock)


def fit_popularity(
    items: object,
    at_ms: object,
    n_items: int,
    credit: Float64s | None = None,
    half_lives: tuple[float, ...] = HALF_LIVES,
    *,
    earlier: Int64s | None = None,
    version: int = POPULARITY_VERSION,
) -> Popularity:
    """Return the state after (item, event time) entries, in any order.

    The order is that of `in_order`, so the state is a function of the set of entries.

    Parameters
    ----------
    items, at_ms : (n,) int
    credit : (K + 1,) float64, optional
        Initial mixture weights, such as those of the parent generation.
    earlier : (n_items,) int, optional
        Number of events of each item so long before that only memories without a half-life know them.
    """
    rows, times = np.asarray(items), np.asarray(at_ms)
    if rows.shape != times.shape:
        msg = f"items and at_ms must be of one length, got {rows.shape} and {times.shape}"
        raise InvalidInput(msg)
    state = Popularity.empty(n_items, half_lives)
    if credit is not None:
        state = replace(state, credit=np.asarray(credit, np.float64).copy())
    if earlier is not None:
        lasting = np.isinf(state.half_lives)
        state.sums[:, lasting] = np.asarray(earlier, np.float64)[:, None]
        state.totals[lasting] = state.sums[:, lasting].sum(axis=0)
        state = replace(state, clock=float(np.sum(earlier)))
    return state.observe(in_order(rows, times, version))


def changed_rows(old: Float32s, new: Float32s, tolerance: float) -> Int64s:
    """Return the rows whose bias changed by more than a tolerance, and new rows.

    >>> changed_rows(np.array([0.0, 1.0], np.float32), np.array([0.0, 1.5, 2.0], np.float32), 0.1)
    array([1, 2])
    """
    moved = np.ones(len(new), np.bool_)
    moved[: len(old)] = np.abs(new[: len(old)] - old) > tolerance
    return np.flatnonzero(moved)


@compiled
def observe_in_place(
    sums: Float64s,
    totals: Float64s,
    credit: Float64s,
    landmark: Float64s,
    half_lives: Float64s,
    clock: float,
    rows: Int64s,
) -> float:
    """Update mixture weights with each event, then count it; return the clock after the last.

    Parameters
    ----------
    sums, totals : float64
        Counts of each item in each memory, and of each memory; changed.
    credit : float64
        Weights of the mixture; changed.
    landmark, half_lives : float64
        Event number at which a count is 1, and half-life in events, of each memory.
    clock : float
        Number of events so far.
    rows : int64
        Items of the new events.
    """
    for e in range(len(rows)):
        credit_in_place(sums, totals, credit, clock, rows[e], 1.0)
        count_in_place(sums, totals, landmark, half_lives, clock, rows[e])
        clock += 1.0
    return clock


@helper
def count_in_place(
    sums: Float64s,
    totals: Float64s,
    landmark: Float64s,
    half_lives: Float64s,
    clock: float,
    item: int,
) -> None:
    """Count one event in every memory.

    Parameters
    ----------
    sums, totals, landmark, half_lives, clock
        As in `observe_in_place`.
    """
    for k in range(len(half_lives)):
        power = (clock - landmark[k]) / half_lives[k]
        if power > _RANGE:
            # A whole power of two: exact for every sum in normal range.
            whole = math.floor(power)
            shrink = 2.0**-whole
            for i in range(sums.shape[0]):
                sums[i, k] *= shrink
            totals[k] *= shrink
            landmark[k] += whole * half_lives[k]
            power = (clock - landmark[k]) / half_lives[k]
        grown = 2.0**power
        sums[item, k] += grown
        totals[k] += grown


@helper
def credit_in_place(
    sums: Float64s, totals: Float64s, credit: Float64s, clock: float, item: int, part: float
) -> None:
    """Move the mixture weights towards the memories that predicted the item: one online EM step.

    The first event of an item changes nothing.

    Parameters
    ----------
    sums, totals, credit, clock
        As in `observe_in_place`.
    part : float
        Part of the event, from 0 to 1, that is attributed to popularity; the rest belongs to repeats.
    """
    n_memories = len(totals)
    if sums[item, n_memories - 1] == 0.0:
        return
    total = credit[n_memories] / len(sums)
    for k in range(n_memories):
        total += credit[k] * sums[item, k] / totals[k]
    step = part * max(MIN_STEP, (INITIAL_EVENTS + clock) ** -0.7)
    for k in range(n_memories):
        credit[k] += step * (credit[k] * sums[item, k] / totals[k] / total - credit[k])
    credit[n_memories] += step * (credit[n_memories] / len(sums) / total - credit[n_memories])
