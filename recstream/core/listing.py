"""Steps 7 and 8 of the flow: histories + a generation → lists, with reasons and ranks before.

A list is a pure function of (history, generation and its delta, list length, half-life): its bits
do not depend on the batch it is made in. Only ``was`` looks at the list before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.als_model import ALSModel
from recstream.core.events import EVENT_TYPES
from recstream.core.history import History, row
from recstream.core.matrix import Row, stack
from recstream.core.model import Generation
from recstream.core.ranking import top_n
from recstream.core.records import Reason, RecommendedItem, Source

MAX_REASONS = 3
MIN_SHARE = 0.01
SCORE_DIGITS = 6
SHARE_DIGITS = 3


class Ranked(NamedTuple):
    """One user's list before it is described.

    ``rows`` are item rows of the generation, best first; ``seen`` is the user's row of the matrix.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    seen: Row
    is_personal: bool

    @property
    def source(self) -> Source:
        """Return what the list rests on."""
        return "fold-in" if self.is_personal else "popular"


def rank(
    histories: Sequence[History],
    generation: Generation,
    n: int,
    half_life_ms: float,
    *,
    mask: NDArray[np.bool_] | None = None,
    threads: int = 1,
) -> list[Ranked]:
    """Return each user's n best items that are not in the history.

    Without factors, or for a history that says nothing about taste, the item priors alone decide.

    Parameters
    ----------
    mask : (m,) bool, optional
        False leaves an item out.
    """
    rows = [row(history, generation.rows, half_life_ms) for history in histories]
    if not histories or not generation.n_items:
        nothing = np.empty(0, np.int32)
        return [Ranked(nothing, np.empty(0, np.float32), seen, is_personal=False) for seen in rows]
    matrix = stack(rows, generation.n_items)
    model = generation.model
    if model is None:
        factors = np.zeros((len(rows), 1), np.float32)
        personal = np.zeros(len(rows), np.bool_)
    else:
        factors = model.fold_in(matrix, threads=threads)
        personal = np.asarray(factors.any(axis=1))
    # A list never fills up with places that are not allowed: at most every item but the seen ones.
    length = min(n, generation.n_items)
    ids, scores = top_n(
        factors, generation.index, length, exclude=matrix, mask=mask, threads=threads
    )
    allowed = (ids >= 0).sum(axis=1)
    return [
        Ranked(ids[at, :count], scores[at, :count], seen, bool(personal[at]))
        for at, (seen, count) in enumerate(zip(rows, allowed.tolist(), strict=True))
    ]


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


def _reasons(ranked: Ranked, history: History, generation: Generation) -> list[tuple[Reason, ...]]:
    """Return the largest shares of each item's score.

    A share is one entry's part among all parts that raise the score, the item's prior included.
    """
    model = generation.model
    if not ranked.is_personal or model is None:
        return [(Reason(kind="popular", share=1.0),)] * len(ranked.rows)
    parts = _parts(model, ranked, generation)
    prior = np.maximum(generation.bias[ranked.rows].astype(np.float64), 0.0)
    raising = np.maximum(parts.shares, 0.0)
    total = raising.sum(axis=1) + prior
    total[total == 0.0] = 1.0
    raising /= total[:, None]
    prior /= total
    n_reasons = min(MAX_REASONS, raising.shape[1])
    largest = np.argsort(-raising, axis=1, kind="stable")[:, :n_reasons]
    items = generation.items
    described = []
    for at in range(len(ranked.rows)):
        why = []
        for column in largest[at].tolist():
            share = float(raising[at, column])
            if share >= MIN_SHARE:
                item = items[parts.history[column]]
                entry = history.find(item)
                event = "" if entry is None else EVENT_TYPES[entry.kind]
                why.append(
                    Reason(kind="because", item=item, event=event, share=round(share, SHARE_DIGITS))
                )
        if prior[at] >= MIN_SHARE:
            why.append(Reason(kind="popular", share=round(float(prior[at]), SHARE_DIGITS)))
        described.append(tuple(why))
    return described


class _Parts(NamedTuple):
    history: NDArray[np.int32]
    shares: NDArray[np.float64]


def _parts(model: ALSModel, ranked: Ranked, generation: Generation) -> _Parts:
    """Return what each entry of the history adds to each item's score."""
    told = model.explain_list(stack([ranked.seen], generation.n_items), ranked.rows)
    return _Parts(told.history, told.shares)
