"""A ranked list as it is published: the record, its items, and their reasons."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from recstream.core.events import EVENT_TYPES
from recstream.core.generation import Generation
from recstream.core.history import ActiveSettings, History
from recstream.core.numeric.arrays import Float64s, Int64s
from recstream.core.numeric.jit import compiled, interpretable
from recstream.core.ranking.rank import Ranked
from recstream.core.ranking.score_terms import score_terms
from recstream.core.records import AsOf, Lineage, Reason, Recommendations, RecommendedItem

MAX_REASONS = 3
MIN_SHARE = 0.01
SCORE_DIGITS = 6
SHARE_DIGITS = 3


def recommendations(
    ranked: Ranked,
    history: History,
    generation: Generation,
    active: ActiveSettings,
    partition: int,
    before: Sequence[str],
    *,
    is_refresh: bool = False,
    lineage: Lineage | None = None,
) -> Recommendations:
    """Return the list as a record.

    Parameters
    ----------
    ranked : Ranked
        The user's list, as rows of the generation.
    history : History
        The history that it was ranked from.
    generation : Generation
    active : ActiveSettings
        The settings in force for the history's partition.
    partition : int
        Of the interactions topic.
    before : sequence of str
        Items of the user's previous list, best first.
    is_refresh : bool
        Whether no event of the user asked for the list.
    lineage : Lineage, optional
        When the list was made. The log does not determine it, so a list that is derived again has
        none.
    """
    return Recommendations(
        rec_id=rec_id(history.user, partition, history.offset, generation, active),
        user=history.user,
        generation=generation.number,
        delta=generation.delta,
        control=active.control,
        arm=ranked.arm,
        now=ranked.now_ms,
        as_of=AsOf(partition=partition, offset=history.offset),
        source="refresh" if is_refresh and ranked.is_personal else ranked.source,
        items=describe(ranked, history, generation, before),
        lineage=lineage or Lineage(),
    )


def rec_id(
    user: str, partition: int, offset: int, generation: Generation, active: ActiveSettings
) -> str:
    """Return the id of a list: the same for the same list, made again."""
    origin = (
        f"{user}\0{partition}\0{offset}\0{generation.number}\0{generation.delta}\0{active.control}"
    )
    return "r-" + hashlib.blake2b(origin.encode(), digest_size=8).hexdigest()


def item_ids(ranked: Ranked, generation: Generation) -> tuple[str, ...]:
    """Return the item ids of a list in order."""
    items = generation.items
    return tuple([items[at] for at in ranked.rows.tolist()])


def describe(
    ranked: Ranked,
    history: History,
    generation: Generation,
    before: Sequence[str] = (),
    *,
    first: int = 1,
) -> tuple[RecommendedItem, ...]:
    """Return a list's items as they are published.

    Parameters
    ----------
    ranked : Ranked
    history : History
    generation : Generation
    before : sequence of str
        Items of the user's previous list, best first: their ranks are published as ``was``.
    first : int
        Rank of the first item.
    """
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
            zip(ids, ranked.scores.tolist(), reasons, strict=True), start=first
        )
    )


def _reasons(ranked: Ranked, history: History, generation: Generation) -> list[tuple[Reason, ...]]:
    """Return the largest terms of each item's score as reasons.

    A share is a term's part of the sum of all positive terms: an entry's factors and behaviour, an
    entry's content, the item's popularity, a boost.
    """
    compiled = ranked.compiled
    arm = None if compiled is None else compiled.arm
    if not (ranked.is_personal or ranked.is_near):
        h0 = ranked.seen[0][:0]
        terms = score_terms((h0, ranked.seen[1][:0]), generation, arm, ranked.rows)
    else:
        terms = score_terms(ranked.seen, generation, arm, ranked.rows)
    raising = np.maximum(
        np.concatenate([terms.factors + terms.behaviour, terms.content], axis=1), 0.0
    )
    prior = np.maximum(terms.popularity, 0.0)
    boosts = [
        [(name, by) for name, by in compiled.boosts_of(at) if by > 0.0]
        if compiled and compiled.boosts
        else []
        for at in ranked.rows.tolist()
    ]
    total = raising.sum(axis=1) + prior + [sum(by for _, by in each) for each in boosts]
    columns, items = terms.columns.tolist(), generation.items
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
        if compiled is not None and row_of_item in ranked.pinned:
            why.append(Reason(kind="pinned", rule=compiled.pin_name(row_of_item)))
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
                    shared=generation.columns.common_features(item, items[row_of_item])
                    if is_content
                    else (),
                )
            )
        why += [
            Reason(kind="boosted", rule=name, share=round(by / whole, SHARE_DIGITS))
            for name, by in added
            if by / whole >= MIN_SHARE
        ]
        if popular / whole >= MIN_SHARE:
            why.append(Reason(kind="popular", share=round(popular / whole, SHARE_DIGITS)))
        if row_of_item in ranked.cold_items:
            why.append(Reason(kind="newcomer"))
        described.append(tuple(why) or (Reason(kind="popular", share=1.0),))
    return described


@interpretable
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
