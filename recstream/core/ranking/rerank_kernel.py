"""Compiled reranking: pins, minimum score, diversity, reserved slots, cooling items.

Users are processed one by one, so a list's bits do not depend on the batch.
"""

# ruff: noqa: C901, PLR0912  (an inner loop is one function: calls with vectors cost registers)
import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.jit import ZERO, compiled, helper, interpretable
from recstream.core.numeric.simd import LINE, prefetch
from recstream.core.ranking.batch import (
    BaseScoring,
    ListBuffers,
    ListRules,
    RowLists,
    contains,
    is_eligible,
    user_rows,
)
from recstream.core.ranking.diversity import diversify
from recstream.core.search import EMPTY_KEY, SORTED, exact_score, keep, key_of, row_of, score_of

Bools = NDArray[np.bool_]


@interpretable
@compiled
def rerank_batch(
    scoring: BaseScoring,
    seen: RowLists,
    cooling: RowLists,
    rules: ListRules,
    multiplier: Float32s,
    to_pins: Float64s,
    to_cooling: Float64s,
    pool: Int64s,
    cold_items: Int64s,
    lists: ListBuffers,
) -> None:
    """Write the final list of each user.

    1. Take out pinned items; drop items below the minimum score.
    2. Choose by score, or by score and diversity (MMR).
    3. Reserve slots for cold items.
    4. Fill what stays empty with cooling items.
    5. Put pinned items at their positions.

    Parameters
    ----------
    seen : RowLists
        Items that are never listed.
    cooling : RowLists
        Items that are listed only if there is room.
    multiplier : (m,) float32
        Content multiplier of each item; empty if all are 1.
    to_pins, to_cooling : (b, k) and (r,) float64
        Neighbour scores of pinned and cooling items.
    pool : (b, q) int64
        Keys of the best items by base score plus neighbour scores, ascending.
    cold_items : (b, f) int64
        Keys of the best eligible cold items, the worst first. f is twice the number of reserved
        slots.
    lists : ListBuffers
        Written.
    """
    users, items, bias, _, mask = scoring
    pin_rows, strength = rules.pin_rows, rules.strength
    rows, slots = lists.rows, lists.cold_items
    length = rows.shape[1]
    kept, kept_scores = np.empty(pool.shape[1], np.int32), np.empty(pool.shape[1], np.float32)
    filling = np.empty(length, np.int64)
    pinned, pinned_at = np.empty(len(pin_rows), np.int32), np.empty(len(pin_rows), np.int32)
    pinned_scores = np.empty(len(pin_rows), np.float32)
    for u in range(rows.shape[0]):
        if strength > 0.0 and rules.by_taste and u + 1 < rows.shape[0]:
            _prefetch_factors(pool[u + 1], items)
        out = user_rows(seen, u)
        n_pinned = ZERO
        for pin in range(len(pin_rows)):
            row = pin_rows[pin]
            if n_pinned < length and is_eligible(row, mask, out):
                lists.pins[u, pin] = True
                score = np.float64(exact_score(users[u], items[row], bias[row]))
                pinned[n_pinned], pinned_at[n_pinned] = row, rules.pin_places[pin]
                pinned_scores[n_pinned] = np.float32(score + to_pins[u, pin])
                n_pinned += 1
        n_kept = ZERO
        for at in range(pool.shape[1] - 1, -1, -1):
            key = pool[u, at]
            if key == EMPTY_KEY:
                break
            kept[n_kept], kept_scores[n_kept] = row_of(key), score_of(key)
            n_kept += not contains(pinned, n_pinned, kept[n_kept])
        least = -np.inf
        if rules.min_relevance > 0.0:
            least = rules.min_relevance * _best_personal(kept, kept_scores, n_kept, bias)
            n_kept = _drop_below(kept, kept_scores, n_kept, bias, least)
        n_chosen = min(length - n_pinned, n_kept)
        if strength > 0.0 and n_kept > 1:
            diversify(kept, kept_scores, n_kept, n_chosen, rules, items)
        if slots.shape[1] > 0:
            n_chosen = reserve_cold_start_slots(
                kept, kept_scores, n_chosen, length - n_pinned, pinned[:n_pinned], cold_items[u],
                multiplier, rules.cold_threshold, bias, least, slots[u],
            )  # fmt: skip
        fills = filling[: length - n_pinned - n_chosen]
        if len(fills):
            for at in range(len(fills)):
                fills[at] = EMPTY_KEY
            for at in range(cooling.indptr[u], cooling.indptr[u + 1]):
                row = cooling.rows[at]
                if is_eligible(row, mask, out) and not contains(pinned, n_pinned, row):
                    score = np.float64(exact_score(users[u], items[row], bias[row]))
                    keep(fills, key_of(np.float32(score + to_cooling[at]), row))
            _sort_keys(fills)
        _write_list(
            kept[:n_chosen], kept_scores, fills, pinned[:n_pinned], pinned_scores, pinned_at,
            rows[u], lists.scores[u],
        )  # fmt: skip


@helper
def reserve_cold_start_slots(
    rows: Int32s,
    scores: Float32s,
    n_rows: int,
    room: int,
    pinned: Int32s,
    cold_items: Int64s,
    multiplier: Float32s,
    cold_threshold: float,
    bias: Float32s,
    minimum: float,
    slots: Int32s,
) -> int:
    """Reserve slots at the end of a list for cold items; return the new number of rows.

    Cold items that are ranked already count towards the p reserved slots. If there is no room, the
    last items that are not cold are dropped.

    Parameters
    ----------
    rows, scores : (k,)
        The list in order, its first ``n_rows``; changed. It has room for ``room``.
    pinned : (l,) int32
        Pinned rows of the same list.
    cold_items : (f,) int64
        Keys of eligible cold items, the worst first; some may be ranked already.
    multiplier : (m,) float32
        Content multiplier of each item.
    cold_threshold : float
        Items whose multiplier is at least this are cold.
    bias : (m,) float32
    minimum : float
        Cold items whose score without bias is below this are not listed.
    slots : (p,) int32
        Written: the rows that got a slot.
    """
    n_missing = len(slots)
    for at in range(n_rows):
        n_missing -= multiplier[rows[at]] >= cold_threshold
    for at in range(len(pinned)):
        n_missing -= multiplier[pinned[at]] >= cold_threshold
    n_placed = 0
    for at in range(len(cold_items) - 1, -1, -1):
        row, score = row_of(cold_items[at]), score_of(cold_items[at])
        if n_placed >= n_missing or row < 0:
            break
        is_below = np.float64(score) - np.float64(bias[row]) < minimum
        if is_below or contains(rows, n_rows, row) or contains(pinned, len(pinned), row):
            continue
        if n_rows == room:
            gone = n_rows - 1
            while gone >= 0 and multiplier[rows[gone]] >= cold_threshold:
                gone -= 1
            if gone < 0:
                break
            for after in range(gone, n_rows - 1):
                rows[after], scores[after] = rows[after + 1], scores[after + 1]
            n_rows -= 1
        rows[n_rows], scores[n_rows] = row, score
        n_rows += 1
        slots[n_placed] = row
        n_placed += 1
    return n_rows


@helper
def _prefetch_factors(pool: Int64s, items: Float32s) -> None:
    """Prefetch the factors of a pool's items."""
    for at in range(len(pool)):
        if pool[at] != EMPTY_KEY:
            first = np.int64(row_of(pool[at])) * items.shape[1]
            for k in range(0, items.shape[1], LINE):
                prefetch(items, first + k)


@helper
def _sort_keys(keys: Int64s) -> None:
    """Sort keys, the worst first. `keep` holds long lists as a heap."""
    if len(keys) > SORTED:
        for end in range(1, len(keys)):
            key, at = keys[end], end
            while at > 0 and keys[at - 1] > key:
                keys[at] = keys[at - 1]
                at -= 1
            keys[at] = key


@helper
def _write_list(
    kept: Int32s,
    kept_scores: Float32s,
    filling: Int64s,
    pinned: Int32s,
    pinned_scores: Float32s,
    pinned_at: Int32s,
    rows: Int32s,
    scores: Float32s,
) -> None:
    """Write a list: pins at their positions or at its end; chosen items, then filling items.

    Parameters
    ----------
    kept, kept_scores : (k,)
        Chosen items in order.
    filling : (f,) int64
        Keys of cooling items, the worst first.
    pinned, pinned_scores, pinned_at : (p,)
        Pinned items and their positions.
    rows, scores : (n,)
        Written.
    """
    from_kept = pin = 0
    n_filling = len(filling)
    for at in range(len(rows)):
        fills = n_filling > 0 and filling[n_filling - 1] != EMPTY_KEY
        is_over = from_kept == len(kept) and not fills
        if pin < len(pinned) and (pinned_at[pin] <= at or is_over):
            rows[at], scores[at] = pinned[pin], pinned_scores[pin]
            pin += 1
        elif from_kept < len(kept):
            rows[at], scores[at] = kept[from_kept], kept_scores[from_kept]
            from_kept += 1
        elif fills:
            n_filling -= 1
            rows[at], scores[at] = row_of(filling[n_filling]), score_of(filling[n_filling])
        else:
            rows[at], scores[at] = -1, -np.inf


@helper
def _best_personal(rows: Int32s, scores: Float32s, n_rows: int, bias: Float32s) -> float:
    """Return the best score without bias, or -inf if none is above 0."""
    best = 0.0
    for at in range(n_rows):
        best = max(best, np.float64(scores[at]) - np.float64(bias[rows[at]]))
    return best if best > 0.0 else -np.inf


@helper
def _drop_below(rows: Int32s, scores: Float32s, n_rows: int, bias: Float32s, least: float) -> int:
    """Keep, in place, rows whose score without bias is at least ``least``; return how many."""
    n_kept = 0
    for at in range(n_rows):
        if np.float64(scores[at]) - np.float64(bias[rows[at]]) >= least:
            rows[n_kept], scores[n_kept] = rows[at], scores[at]
            n_kept += 1
    return n_kept
