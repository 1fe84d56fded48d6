"""Steps 7 and 8 of the flow: histories + a generation → lists, with reasons and ranks before.

A list is a pure function of (history, generation and its delta, list length, half-life, steering):
its bits do not depend on the batch it is made in. Only ``was`` looks at the list before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.events import EVENT_TYPES
from recstream.core.generation import Generation
from recstream.core.history import History, Row, matrix_row, stack
from recstream.core.neighbours import neighbour_contributions, seed_weights
from recstream.core.numeric.arrays import Float64s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.core.ranking.compiled_arm import Steered, steered
from recstream.core.ranking.rerank import shape_lists, tables_of
from recstream.core.records import Reason, RecommendedItem, Source
from recstream.core.steering import Arm, Blend, Steering

MAX_REASONS = 3
MIN_SHARE = 0.01
SCORE_DIGITS = 6
SHARE_DIGITS = 3

_PLAIN = Arm(name="", share=1.0, blend=Blend(), min_relevance=0.0)


class Ranked(NamedTuple):
    """One user's list before it is described.

    ``rows`` are item rows of the generation, best first; ``seen`` is the user's row of the matrix.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    seen: Row
    is_personal: bool
    is_near: bool = False
    """Neighbours of the history's items added to scores."""
    steered: Steered | None = None
    pinned: frozenset[int] = frozenset()
    """Rows that a rule put where they are."""
    newcomers: frozenset[int] = frozenset()
    """Rows of items nobody has touched that others made way for."""

    @property
    def source(self) -> Source:
        """Return what the list rests on."""
        if self.is_personal:
            return "fold-in"
        return "content" if self.is_near else "popular"

    @property
    def arm(self) -> str:
        """Name of the arm that shaped the list; empty if nobody is divided."""
        return "" if self.steered is None else self.steered.arm.name


def rank(
    histories: Sequence[History],
    generation: Generation,
    n: int,
    half_life_ms: float,
    *,
    mask: NDArray[np.bool_] | None = None,
    steering: Steering | None = None,
    known: bool = False,
    threads: int = 1,
) -> list[Ranked]:
    """Return each user's n best items that are not in the history, shaped by the steering document.

    The base list is the exact best by ``x·y + bias`` (boosts are part of the bias); what neighbours
    of the history's items add makes it the exact best by the sum. Of that, rules shape the list:
    see `recstream.core.ranking.rerank`. A list is empty only if no item may be listed.

    Parameters
    ----------
    half_life_ms : float
        Where the user's arm has none.
    mask : (m,) bool, optional
        False leaves an item out, beside what is withdrawn and what rules leave out.
    known : bool
        Items of the history may be listed too.
    """
    by_arm: dict[str, tuple[Arm, list[int]]] = {}
    for at, history in enumerate(histories):
        arm = _PLAIN if steering is None else steering.arm_of(history.user)
        by_arm.setdefault(arm.name, (arm, []))[1].append(at)
    ranked: list[Ranked | None] = [None] * len(histories)
    for arm, places in by_arm.values():
        chosen = [histories[at] for at in places]
        lists = _rank(
            chosen, generation, n, arm.half_life_ms or half_life_ms, arm, mask, known, threads
        )
        for at, each in zip(places, lists, strict=True):
            ranked[at] = each
    return [each for each in ranked if each is not None]


def _rank(
    histories: Sequence[History],
    generation: Generation,
    n: int,
    half_life_ms: float,
    arm: Arm,
    mask: NDArray[np.bool_] | None,
    known: bool,
    threads: int,
) -> list[Ranked]:
    """Return the lists of users of one arm."""
    seen_rows = [matrix_row(history, generation.rows, half_life_ms) for history in histories]
    if not generation.n_items:
        nothing = np.empty(0, np.int32)
        return [
            Ranked(nothing, np.empty(0, np.float32), seen, is_personal=False) for seen in seen_rows
        ]
    way = steered(generation, arm)
    allowed = way.mask
    if mask is not None:
        allowed = mask if allowed is None else allowed & mask
    matrix = stack(seen_rows, generation.n_items)
    factors, personal = _fold_in(matrix, generation, arm, threads)
    shaped = shape_lists(
        histories,
        matrix,
        factors,
        generation,
        way,
        n,
        allowed=allowed,
        known=known,
        threads=threads,
    )
    counts = (shaped.rows >= 0).sum(axis=1).tolist()
    is_near = shaped.is_near.tolist()
    return [
        Ranked(
            shaped.rows[at, :count],
            shaped.scores[at, :count],
            seen,
            bool(personal[at]),
            is_near[at],
            way,
            shaped.pinned[at],
            shaped.newcomers[at],
        )
        for at, (seen, count) in enumerate(zip(seen_rows, counts, strict=True))
    ]


def _fold_in(
    matrix: sparse.csr_matrix, generation: Generation, arm: Arm, threads: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the users' factors as they count in scores, and whether they say anything."""
    gain = 1.0 if arm.blend is None else arm.blend.factors
    if generation.model is None or gain == 0.0:
        n_factors = generation.index.n_factors
        nothing = np.zeros((matrix.shape[0], n_factors), np.float32)
        return nothing, np.zeros(matrix.shape[0], np.bool_)
    factors = generation.model.fold_in(matrix, threads=threads)
    if gain != 1.0:
        factors *= np.float32(gain)
    return factors, np.asarray(factors.any(axis=1))


def item_ids(ranked: Ranked, generation: Generation) -> tuple[str, ...]:
    """Return the item ids of a list in order."""
    items = generation.items
    return tuple([items[at] for at in ranked.rows.tolist()])


def describe(
    ranked: Ranked,
    history: History,
    generation: Generation,
    before: Sequence[str] = (),
) -> tuple[RecommendedItem, ...]:
    """Return a list as it is published: scores, reasons, and each item's rank in the list before."""
    was: Mapping[str, int] = {item: at for at, item in enumerate(before, start=1)}
    ids = item_ids(ranked, generation)
    reasons = _reasons(ranked, history, generation)
    return tuple(
        RecommendedItem(
            item=item,
            rank=at,
            score=round(score, SCORE_DIGITS),
            was=was.get(item, 0),
            why=why,
        )
        for at, (item, score, why) in enumerate(
            zip(ids, ranked.scores.tolist(), reasons, strict=True), start=1
        )
    )


class Parts(NamedTuple):
    """What each entry of a history adds to the scores of n items, by source, (n, h) each.

    ``columns`` are the entries' item rows; ``popularity`` (n,) is what the items' priors add.
    """

    columns: NDArray[np.int32]
    factors: NDArray[np.float64]
    behaviour: NDArray[np.float64]
    content: NDArray[np.float64]
    popularity: NDArray[np.float64]


def parts_of(seen: Row, generation: Generation, arm: Arm | None, rows: NDArray[np.int32]) -> Parts:
    """Return what the scores of some items are made of, boosts left out."""
    columns, weights = seen
    arm = arm or _PLAIN
    blending = arm.blend or Blend()
    by_table = {name: np.zeros((len(rows), len(columns))) for name in ("content", "behaviour")}
    factors = np.zeros((len(rows), len(columns)))
    if len(columns):
        tables = tables_of(generation, arm)
        speaking = seed_weights(columns, weights) if tables else weights
        for name, (table, gain) in tables.items():
            by_table[name] = neighbour_contributions(columns, speaking, table, gain, rows)
        if len(worth := generation.content_worth):
            by_table["content"] *= worth[rows].astype(np.float64)[:, None]
        if generation.model is not None and blending.factors > 0.0:
            shares = generation.model.contributions(columns, weights, rows)
            factors = blending.factors * shares
    prior = blending.popularity * generation.bias[rows].astype(np.float64)
    return Parts(columns, factors, by_table["behaviour"], by_table["content"], prior)


def _reasons(ranked: Ranked, history: History, generation: Generation) -> list[tuple[Reason, ...]]:
    """Return the largest shares of each item's score.

    A share is one part among all that raise the score: by an entry's factors and behaviour, by its
    content, by the item's prior, by a rule.
    """
    way = ranked.steered
    arm = None if way is None else way.arm
    if not (ranked.is_personal or ranked.is_near):
        h0 = ranked.seen[0][:0]
        told = parts_of((h0, ranked.seen[1][:0]), generation, arm, ranked.rows)
    else:
        told = parts_of(ranked.seen, generation, arm, ranked.rows)
    raising = np.maximum(np.concatenate([told.factors + told.behaviour, told.content], axis=1), 0.0)
    prior = np.maximum(told.popularity, 0.0)
    boosts = [
        [(name, by) for name, by in way.boosts_of(at) if by > 0.0] if way and way.boosts else []
        for at in ranked.rows.tolist()
    ]
    total = raising.sum(axis=1) + prior + [sum(by for _, by in each) for each in boosts]
    columns, items = told.columns.tolist(), generation.items
    n_entries = len(columns)
    largest = largest_indices(raising, min(MAX_REASONS, raising.shape[1]))
    parts_found = np.take_along_axis(raising, largest, axis=1).tolist()
    events: dict[str, str] = {}
    described = []
    for row_of_item, total_of_item, popular, added, places, found in zip(
        ranked.rows.tolist(), total.tolist(), prior.tolist(), boosts, largest.tolist(), parts_found,
        strict=True,
    ):  # fmt: skip
        whole = total_of_item or 1.0
        why = []
        if way is not None and row_of_item in ranked.pinned:
            why.append(Reason(kind="pinned", rule=way.pin_name(row_of_item)))
        for place, part in zip(places, found, strict=True):
            share = part / whole
            if share < MIN_SHARE:
                break
            item = items[columns[place % n_entries]]
            if item not in events:
                entry = history.find(item)
                events[item] = "" if entry is None else EVENT_TYPES[entry.kind]
            is_content = place >= n_entries
            why.append(
                Reason(
                    kind="content" if is_content else "because",
                    item=item,
                    event=events[item],
                    share=round(share, SHARE_DIGITS),
                    shared=generation.facts.shared(item, items[row_of_item]) if is_content else (),
                )
            )
        why += [
            Reason(kind="boosted", rule=name, share=round(by / whole, SHARE_DIGITS))
            for name, by in added
            if by / whole >= MIN_SHARE
        ]
        if popular / whole >= MIN_SHARE:
            why.append(Reason(kind="popular", share=round(popular / whole, SHARE_DIGITS)))
        if row_of_item in ranked.newcomers:
            why.append(Reason(kind="newcomer"))
        described.append(tuple(why) or (Reason(kind="popular", share=1.0),))
    return described


@compiled
def largest_indices(values: Float64s, n: int) -> Int64s:
    """Return the column indices of each row's n largest values, descending; ties by index."""
    indices = np.empty((len(values), n), np.int64)
    if n == 0:
        return indices
    for row in range(len(values)):
        n_found = 0
        for column in range(values.shape[1]):
            value = values[row, column]
            if n_found == n and not value > values[row, indices[row, n - 1]]:
                continue
            at = min(n_found, n - 1)
            while at > 0 and value > values[row, indices[row, at - 1]]:
                indices[row, at] = indices[row, at - 1]
                at -= 1
            indices[row, at] = column
            n_found = min(n_found + 1, n)
    return indices
