"""A ranked list as it is published: the record, its items, and their reasons.

Lists on the log are in columns (`list_columns`, written by `encode_list`). `describe` makes the
items with texts, for lists on request and for lists of logs that are older (list format 1).
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.events import EVENT_TYPES
from recstream.core.generation import Generation
from recstream.core.history import ActiveSettings, History
from recstream.core.numeric.arrays import Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled, interpretable_below
from recstream.core.ranking.rank import Ranked
from recstream.core.ranking.reasons import (
    MAX_REASONS,
    MIN_SHARE,
    ScoreTerms,
    score_terms,
    select_reasons,
)
from recstream.core.records import (
    LIST_FORMAT,
    AsOf,
    Lineage,
    ListColumns,
    Reason,
    Recommendations,
    RecommendedItem,
    Source,
)

SCORE_DIGITS = 6
SHARE_DIGITS = 3


_encode_json = msgspec.json.Encoder().encode
_encode_columns = msgspec.msgpack.Encoder().encode
_NO_EVENT = 255


def encode_list(
    ranked: Ranked,
    history: History,
    generation: Generation,
    active: ActiveSettings,
    partition: int,
    before: Sequence[str],
    *,
    source: Source,
    lineage: Lineage,
) -> bytes:
    """Return the list as it stands on the log, in the form of its settings.

    Parameters
    ----------
    ranked : Ranked
        The user's list, as rows of the generation.
    history : History
        The history that it was ranked from.
    active : ActiveSettings
        The settings in force for the history's partition.
    before : sequence of str
        Items of the user's previous list, best first.
    source : Source
        The list's own, or ``refresh`` if no event of the user asked for it.
    lineage : Lineage
        When the list was made. The log does not determine it.
    """
    if active.list_format >= LIST_FORMAT:
        return _encode_columns(
            list_columns(ranked, history, generation, active, partition, before, source, lineage)
        )
    return _encode_json(
        Recommendations(
            rec_id=ListColumns.list_id(
                history.user, partition, history.offset, generation.number, generation.delta,
                active.control, generation.followed,
            ),
            user=history.user,
            generation=generation.number,
            delta=generation.delta,
            followed=generation.followed,
            control=active.control,
            arm=ranked.arm,
            now=ranked.now_ms,
            as_of=AsOf(partition=partition, offset=history.offset),
            source=source,
            items=describe(ranked, history, generation, before),
            lineage=lineage,
        )
    )  # fmt: skip


def list_columns(
    ranked: Ranked,
    history: History,
    generation: Generation,
    active: ActiveSettings,
    partition: int,
    before: Sequence[str],
    source: Source,
    lineage: Lineage,
) -> ListColumns:
    """Return the list in columns; parameters as in `encode_list`."""
    rows = ranked.rows.tolist()
    terms = _terms(ranked, generation)
    rules, boosts, pins, cold = _rules(ranked, rows)
    counts, codes, shares, used = select_reasons(
        (terms.factors, terms.behaviour, terms.content, terms.popularity), boosts, pins, cold
    )
    names = generation.items.names([*rows, *terms.columns[used].tolist()])
    listed, names = tuple(names[: len(rows)]), names[len(rows) :]
    entries = history.find_each(names)
    was = {item: at for at, item in enumerate(before, start=1)}
    columns = ListColumns(
        LIST_FORMAT,
        history.user,
        generation.number,
        generation.delta,
        active.control,
        ranked.arm,
        partition,
        history.offset,
        source,
        listed,
        ranked.scores.astype("<f4").tobytes(),
        tuple([was.get(item, 0) for item in listed]),
        counts.tobytes(),
        codes.astype("<u2").tobytes(),
        shares.astype("<u2").tobytes(),
        tuple(names),
        bytes([_NO_EVENT if each is None else each.kind for each in entries]),
        tuple([0 if each is None else history.offset - each.offset for each in entries]),
        rules,
        lineage.event_id,
        lineage.event_ts,
        lineage.appended_ts,
        lineage.folded_ts,
        lineage.published_ts,
        ranked.now_ms,
    )
    return columns if generation.followed is None else columns.following(generation.followed)


def _terms(ranked: Ranked, generation: Generation) -> ScoreTerms:
    """Return the score terms. A list of popular items has no terms by history entry."""
    compiled = ranked.compiled
    arm, tables = (
        (None, None) if compiled is None else (compiled.arm, (compiled.content, compiled.behaviour))
    )
    seen = ranked.seen
    if not (ranked.is_personal or ranked.is_near):
        seen = seen[0][:0], seen[1][:0]
    return score_terms(seen, generation, arm, ranked.rows, tables)


def _rules(
    ranked: Ranked, rows: Sequence[int]
) -> tuple[tuple[str, ...], Float64s, Int32s, NDArray[np.bool_]]:
    """Return rule names, boosts (n, k), places of pins (n,) and cold items (n,) of a list."""
    compiled = ranked.compiled
    pins = np.full(len(rows), -1, np.int32)
    cold = np.zeros(len(rows), np.bool_)
    if ranked.cold_items:
        cold[:] = [row in ranked.cold_items for row in rows]
    if compiled is None or not (compiled.boosts or ranked.pinned):
        return (), np.zeros((len(rows), 0)), pins, cold
    rules: list[str] = []
    added: list[NDArray[np.float64]] = [np.zeros((0, len(rows)))]
    for match, by in compiled.boosts:
        boost = np.float64(by) * match.items[ranked.rows].astype(np.float64)
        if boost.any():
            rules.append(match.name)
            added.append(boost[None])
    boosts = np.ascontiguousarray(np.concatenate(added).T)
    for at, row in enumerate(rows):
        if row in ranked.pinned:
            pins[at] = len(rules)
            rules.append(compiled.pin_name(row))
    return tuple(rules), boosts, pins, cold


def item_ids(ranked: Ranked, generation: Generation) -> tuple[str, ...]:
    """Return the item ids of a list in order."""
    return tuple(generation.items.names(ranked.rows.tolist()))


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
            item=item, rank=at, score=round(score, SCORE_DIGITS), was=was.get(item, 0), why=why
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
    terms = _terms(ranked, generation)
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
    events: dict[int, tuple[str, str]] = {}
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
            at = place % n_entries
            if at not in events:
                item = items[columns[at]]
                entry = history.find(item)
                events[at] = item, "" if entry is None else EVENT_TYPES[entry.kind]
            item, event = events[at]
            is_content = place >= n_entries
            why.append(
                Reason(
                    kind="content" if is_content else "because",
                    item=item,
                    event=event,
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


def _largest_in_numpy(values: Float64s, n: int) -> Int64s:
    """Compute `largest_indices` with numpy."""
    return np.argsort(-values, axis=1, kind="stable")[:, :n].astype(np.int64)


@interpretable_below(None, _largest_in_numpy)
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
