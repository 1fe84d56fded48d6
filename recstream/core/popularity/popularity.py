"""Steps 4–8 of the flow: what is popular now, as a bias that item deltas carry.

Popularity is a *mixture over memories*. Memory k counts events with half-life h_k; its share
``p_k(i)`` is item i's part of all it remembers. How much each memory says about the next event is
learned from the stream itself, by online EM: before an event is counted, each memory is credited
with the probability it gave to the item that came. So no half-life is chosen by hand, and nothing
is fitted to events that were not over yet. With ``w`` for the credit::

    prior_i = Σ_k w_k p_k(i) + w_0 / m          bias_i = β log(max(prior_i, newcomer))
    score_ui = x_u · y_i + bias_i

β, the worth of a unit of log-popularity in units of ``x·y``, is chosen by prequential validation
(`recstream.core.evaluation.prequential`, `recstream.core.evaluation.search`). The clock is the number of events counted,
not the time of day: a quiet night does not age anything.

**Forward decay.** A memory stores ``S_k(i) = Σ 2^(c/h_k)`` over the item's events at clock c and
the same sum over all items. Shares are ratios of the two, so an item no event touches needs no
update, whatever the time that passes; sums are scaled down together, by a power of two, before
they grow out of range.

What a trainer needs, all of it pure:

1. ``state = Popularity.empty(n_items)``, or ``fit_popularity(items, at_ms)`` from the entries of the
   histories, in the order of time: a function of the histories alone.
2. ``state = state.observe(items)`` for each batch of events, in the order of the log; rows past the
   end are new items.
3. ``bias = state.bias(beta)`` for a generation or a delta; publish the values that moved by more
   than a tolerance: `changed_rows`.
4. `fading_weights` gives matrix rows and fold-in rows the same fading weights, by the
   user's own events.
5. Where seen items may return, `recstream.core.popularity.repeats` learns how often they do, by how often and how long ago
   the user did the same, and adds that to the bias of the history's items.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from recstream.core.numeric.arrays import Float32s, Float64s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.errors import InvalidInput

__all__ = [
    "HALF_LIVES",
    "Popularity",
    "changed_rows",
    "fit_popularity",
]

HALF_LIVES = (1.0, 8.0, 64.0, 512.0, 4096.0, 32768.0, math.inf)
"""Half-lives of the memories, in events; infinity never forgets."""

# Sums are scaled down when their forward factor passes this power of two.
_RANGE = 600.0
SLOWEST = 5e-4
"""Credits move by at least this part per event, so that they follow a stream that changes."""
FIRST = 50.0
"""Events that the credits one starts with are worth."""
TINY = 1e-300
"""Stands in for a total of nothing."""


@dataclass(frozen=True)
class Popularity:
    """What each memory holds; a value: `observe` returns a new one.

    Attributes
    ----------
    sums : (m, K) float64
        Forward-decayed event counts of items.
    totals : (K,) float64
        Their sums over all items.
    credit : (K + 1,) float64
        w: what each memory, and the uniform share, has been worth. Adds up to 1.
    clock : float
        Events counted.
    landmark : (K,) float64
        Clock at which one event weighs 1 in a memory.
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
        """Return a state that has seen nothing, every memory worth the same."""
        lives = np.asarray(half_lives, np.float64)
        if lives.ndim != 1 or not len(lives) or not (lives > 0).all():
            msg = f"half_lives must be numbers above 0, got {half_lives}"
            raise InvalidInput(msg)
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
        """Rows known."""
        return int(self.sums.shape[0])

    def observe(self, items: object, n_items: int | None = None) -> Popularity:
        """Return the state after these events, in this order.

        Parameters
        ----------
        items : (n,) int
            The events' item rows.
        n_items : int, optional
            Rows known afterwards, at least those named.
        """
        rows = np.ascontiguousarray(items, np.int64)
        if rows.ndim != 1 or rows.min(initial=0) < 0:
            msg = f"items must be a vector of rows of at least 0, got {rows!r}"
            raise InvalidInput(msg)
        size = max(self.n_items, int(rows.max(initial=-1)) + 1, n_items or 0)
        sums = np.zeros((size, len(self.half_lives)))
        sums[: self.n_items] = self.sums
        totals, credit, landmark = self.totals.copy(), self.credit.copy(), self.landmark.copy()
        clock = observe_in_place(sums, totals, credit, landmark, self.half_lives, self.clock, rows)
        return replace(
            self, sums=sums, totals=totals, credit=credit, clock=clock, landmark=landmark
        )

    def prior(self, rows: Int64s | None = None, n_items: int | None = None) -> Float64s:
        """Return ``Σ_k w_k p_k(i) + w_0 / m``, which adds up to 1 once anything was seen.

        Parameters
        ----------
        rows : (n,) int, optional
            Of these items only, which may lie past the known ones; all by default.
        n_items : int, optional
            m, the known ones by default.
        """
        each = self.credit[:-1] / np.maximum(self.totals, TINY)
        rest = self.credit[-1] / max(1, self.n_items if n_items is None else n_items)
        if rows is None:
            return np.asarray(self.sums @ each + rest, np.float64)
        out = np.full(len(rows), rest)
        known = rows < self.n_items
        out[known] += self.sums[rows[known]] @ each
        return out

    def newcomer(self, n_items: int | None = None) -> float:
        """Return the part of the next event that an item without events may expect.

        Good–Turing: items never touched get as large a part of what comes as items touched once had
        of what came. The known ones share it, and none gets more than an average item.

        Parameters
        ----------
        n_items : int, optional
            m, the known ones by default.
        """
        total = float(self.totals[-1])
        if total <= 0.0 or math.isfinite(self.half_lives[-1]):
            return 0.0
        counts = self.sums[:, -1]
        once, untouched = int((counts == 1.0).sum()), int((counts == 0.0).sum())
        m = max(1, self.n_items if n_items is None else n_items)
        return min(once / total / max(untouched, 1), 1.0 / m)

    def bias(self, beta: float, rows: Int64s | None = None, n_items: int | None = None) -> Float32s:
        """Return ``β log(max(prior_i, newcomer) · m)``: 0 for an item as popular as the average.

        No item is worth less than one that nobody has touched yet. The constant m changes no order
        and keeps the values small. With the m of the beginning for
        ``n_items``, new items leave those of the others alone.
        """
        if not (math.isfinite(beta) and beta >= 0):
            msg = f"beta must be a finite number of at least 0, got {beta!r}"
            raise InvalidInput(msg)
        m = max(1, self.n_items if n_items is None else n_items)
        worth = np.maximum(self.prior(rows, m), self.newcomer(m))
        return np.asarray(beta * np.log(worth * m), np.float32)


def fit_popularity(
    items: object,
    at_ms: object,
    n_items: int,
    credit: Float64s | None = None,
    half_lives: tuple[float, ...] = HALF_LIVES,
) -> Popularity:
    """Return the state of a table of (item, event time) entries, whatever their order.

    Equal times are ordered by item row, so the state is a function of the set of entries.

    Parameters
    ----------
    items, at_ms : (n,) int
    n_items : int
    credit : (K + 1,) float64, optional
        Credits to begin with, such as those of the generation before.
    half_lives : tuple of float
    """
    rows, times = np.asarray(items, np.int64), np.asarray(at_ms)
    if rows.shape != times.shape:
        msg = f"items and at_ms must be of one length, got {rows.shape} and {times.shape}"
        raise InvalidInput(msg)
    state = Popularity.empty(n_items, half_lives)
    if credit is not None:
        state = replace(state, credit=np.asarray(credit, np.float64).copy())
    return state.observe(rows[np.lexsort((rows, times))])


def changed_rows(old: Float32s, new: Float32s, tolerance: float) -> Int64s:
    """Return the rows whose bias moved by more than a tolerance, new rows among them.

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
    """Credit the memories with each event, then count it; return the clock after the last."""
    for e in range(len(rows)):
        credit_in_place(sums, totals, credit, clock, rows[e], 1.0)
        count_in_place(sums, totals, landmark, half_lives, clock, rows[e])
        clock += 1.0
    return clock


@compiled
def count_in_place(
    sums: Float64s,
    totals: Float64s,
    landmark: Float64s,
    half_lives: Float64s,
    clock: float,
    item: int,
) -> None:
    """Count one event in every memory."""
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


@compiled
def credit_in_place(
    sums: Float64s,
    totals: Float64s,
    credit: Float64s,
    clock: float,
    item: int,
    part: float,
) -> None:
    """Move the credit towards the memories that expected the item (one step of online EM).

    ``part`` of the event, from 0 to 1, is what popularity has to explain; the rest is habit. An
    item never seen before says nothing about memory.
    """
    n_memories = len(totals)
    if sums[item, n_memories - 1] == 0.0:
        return
    total = credit[n_memories] / len(sums)
    for k in range(n_memories):
        total += credit[k] * sums[item, k] / totals[k]
    step = part * max(SLOWEST, (FIRST + clock) ** -0.7)
    for k in range(n_memories):
        credit[k] += step * (credit[k] * sums[item, k] / totals[k] / total - credit[k])
    credit[n_memories] += step * (credit[n_memories] / len(sums) / total - credit[n_memories])
