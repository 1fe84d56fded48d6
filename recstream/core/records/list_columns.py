"""A list as it is written to the log: MessagePack, in columns, with reasons as references.

A reason refers to an entry of the user's history by (item, offset of its newest event), or to a rule
by name. Texts that items have in common are not kept: readers add them from a generation.
`SettingsActivated.list_format` says which form a partition's lists have, so that a replay writes the
same bytes. Lists of form 1 are JSON (`recstream.core.records.lists.Recommendations`).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

import msgspec
import numpy as np
from msgspec.structs import replace

from recstream.core.events import EVENT_TYPES
from recstream.core.records.lists import (
    AsOf,
    Lineage,
    Reason,
    ReasonKind,
    Recommendations,
    RecommendedItem,
    Source,
)

LIST_FORMAT = 2
"""The newest form of lists on the log. 1: JSON with reasons as texts. 2: `ListColumns`."""
REASON_KINDS: tuple[ReasonKind, ...] = (
    "because",
    "content",
    "popular",
    "pinned",
    "boosted",
    "newcomer",
)
"""Kinds of reasons by code; only ever append."""
KIND_BITS = 3
SCORE_DIGITS = 6
SHARE_DIGITS = 3
_KIND = (1 << KIND_BITS) - 1
_SHARES = 10**SHARE_DIGITS
_CONTENT, _WITH_RULE = 1, {3, 4}
_NO_EVENT = 255
_NO_SHARE = Reason(kind="pinned").share
"""The default itself: JSON leaves it out."""

CommonFeatures = Callable[[str, str], tuple[str, ...]]
"""Returns what two items have in common, in words."""


class ListColumns(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A list in columns. The id follows from the other fields (`ListColumns.list_id`).

    Attributes
    ----------
    form : int
        `LIST_FORMAT`.
    partition, as_of : int
        Position of the newest event of the user that the list includes.
    items : tuple of str
        Best first.
    scores : bytes
        float32 of each item, little-endian.
    was : tuple of int
        Rank of each item in the list before, 0 if it was not there.
    n_reasons : bytes
        Number of reasons of each item, uint8.
    codes : bytes
        uint16 of each reason, little-endian: ``reference << 3 | kind``. The kind is a place in
        `REASON_KINDS`; the reference is a place in ``entries`` or ``rules``.
    shares : bytes
        uint16 of each reason: thousandths of all positive contributions.
    entries : tuple of str
        Items of the history.
    events : bytes
        Type of each entry's newest event, uint8, a place in `EVENT_TYPES`.
    ages : tuple of int
        ``as_of`` minus the offset of each entry's newest event.
    event_id, event_ts, appended_ts, folded_ts, published_ts
        The `Lineage`.
    now : int
        As in `Recommendations`.
    """

    form: int
    user: str
    generation: int
    delta: int
    control: int
    arm: str
    partition: int
    as_of: int
    source: Source
    items: tuple[str, ...]
    scores: bytes
    was: tuple[int, ...]
    n_reasons: bytes
    codes: bytes
    shares: bytes
    entries: tuple[str, ...]
    events: bytes
    ages: tuple[int, ...]
    rules: tuple[str, ...]
    event_id: str
    event_ts: int
    appended_ts: int
    folded_ts: int
    published_ts: int
    now: int

    def following(self, followed: tuple[int, int]) -> FollowingColumns:
        """Return the same list with `Recommendations.followed`."""
        return FollowingColumns(**msgspec.structs.asdict(self), followed=followed)

    @staticmethod
    def list_id(
        user: str,
        partition: int,
        offset: int,
        generation: int,
        delta: int,
        control: int,
        followed: tuple[int, int] | None = None,
    ) -> str:
        """Return the id of a list: the same for the same list, made again; arguments are fields."""
        origin = f"{user}\0{partition}\0{offset}\0{generation}\0{delta}\0{control}"
        if followed is not None:
            origin += f"\0{followed[0]}\0{followed[1]}"
        return "r-" + hashlib.blake2b(origin.encode(), digest_size=8).hexdigest()


class FollowingColumns(ListColumns, frozen=True, array_like=True, gc=False):
    """A list in columns whose generation followed withdrawals of a newer one; read for all lists.

    Attributes
    ----------
    followed : (int, int) or None
        As in `Recommendations`.
    """

    followed: tuple[int, int] | None = None


class ListHeader(msgspec.Struct, frozen=True, kw_only=True):
    """A list without its items; `Recommendations` documents the fields."""

    rec_id: str
    user: str
    generation: int
    followed: tuple[int, int] | None = None
    as_of: AsOf | None = None
    source: Source
    lineage: Lineage = Lineage()


_decode_origin = msgspec.json.Decoder(ListHeader).decode
_decode_json = msgspec.json.Decoder(Recommendations).decode
_decode_columns = msgspec.msgpack.Decoder(FollowingColumns).decode


def decode_recommendations(
    raw: bytes,
    common_features: CommonFeatures | None = None,
    *,
    epoch: str = "",
    partition: int = 0,
    offset: int = -1,
) -> Recommendations:
    """Return a list of the log, whatever its form.

    Parameters
    ----------
    raw : bytes
    common_features : callable, optional
        For content reasons of a list in columns; without it, their texts stay empty.
    epoch, partition, offset
        The list's own position.

    Raises
    ------
    ValueError
        The bytes are no list. (A decoder of bytes that anybody wrote may raise anything else.)
    """
    if raw[:1] != b"{":
        return _expand(_decode_columns(raw), common_features, epoch, partition, offset)
    body = _decode_json(raw)
    return replace(body, epoch=epoch, partition=partition, offset=offset) if epoch else body


def list_json(raw: bytes) -> bytes:
    """Return a list of the log as JSON, whatever its form."""
    return raw if raw[:1] == b"{" else msgspec.json.encode(decode_recommendations(raw))


def list_header(raw: bytes) -> ListHeader:
    """Return a list of the log without its items, in a small part of the time; see `decode_recommendations`."""
    return _decode_origin(raw) if raw[:1] == b"{" else _origin(_decode_columns(raw))


def _origin(columns: FollowingColumns) -> ListHeader:
    position = columns.partition, columns.as_of
    model = columns.generation, columns.delta
    return ListHeader(
        rec_id=columns.list_id(columns.user, *position, *model, columns.control, columns.followed),
        user=columns.user,
        generation=columns.generation,
        followed=columns.followed,
        as_of=AsOf(partition=columns.partition, offset=columns.as_of),
        source=columns.source,
        lineage=Lineage(
            event_id=columns.event_id,
            event_ts=columns.event_ts,
            appended_ts=columns.appended_ts,
            folded_ts=columns.folded_ts,
            published_ts=columns.published_ts,
        ),
    )


def _expand(
    columns: FollowingColumns,
    common_features: CommonFeatures | None,
    epoch: str,
    partition: int,
    offset: int,
) -> Recommendations:
    """Return a list in columns as `decode_recommendations` does."""
    if columns.form != LIST_FORMAT:
        message = f"expected a list of form {LIST_FORMAT}, got {columns.form}; use a newer version"
        raise ValueError(message)
    reasons = _reasons(columns, common_features)
    # Scores are float32, so this is the same as Python's own rounding, at a third of the time.
    scores = np.frombuffer(columns.scores, "<f4").astype(np.float64).round(SCORE_DIGITS).tolist()
    items = []
    begin = 0
    rows = zip(columns.items, scores, columns.was, columns.n_reasons, strict=True)
    for rank, (item, score, was, count) in enumerate(rows, start=1):
        end = begin + count
        items.append(RecommendedItem(item, rank, score, was, tuple(reasons[begin:end])))
        begin = end
    origin = _origin(columns)
    return Recommendations(
        rec_id=origin.rec_id,
        user=columns.user,
        generation=columns.generation,
        delta=columns.delta,
        followed=columns.followed,
        control=columns.control,
        arm=columns.arm,
        now=columns.now,
        as_of=origin.as_of,
        source=columns.source,
        items=tuple(items),
        lineage=origin.lineage,
        epoch=epoch,
        partition=partition,
        offset=offset,
    )


def _reasons(columns: ListColumns, common_features: CommonFeatures | None) -> list[Reason]:
    """Return all reasons of a list, item by item."""
    entries, rules = columns.entries, columns.rules
    events = ["" if code == _NO_EVENT else EVENT_TYPES[code] for code in columns.events]
    offsets = [columns.as_of - age for age in columns.ages]
    found: list[Reason] = []
    by_content = []
    for code, thousandths in zip(
        memoryview(columns.codes).cast("H").tolist(),
        memoryview(columns.shares).cast("H").tolist(),
        strict=True,
    ):
        kind, place = code & _KIND, code >> KIND_BITS
        name, share = REASON_KINDS[kind], thousandths / _SHARES if thousandths else _NO_SHARE
        if kind <= _CONTENT:
            if kind == _CONTENT:
                by_content.append(len(found))
            found.append(Reason(name, entries[place], events[place], offsets[place], share))
        elif kind in _WITH_RULE:
            found.append(Reason(kind=name, rule=rules[place], share=share))
        else:
            found.append(Reason(name, "", "", -1, share))
    if common_features is not None and by_content:
        ends = list(accumulate(columns.n_reasons))
        for at in by_content:
            item = columns.items[bisect_right(ends, at)]
            found[at] = replace(found[at], shared=common_features(found[at].item, item))
    return found
