"""Steps 7 and 8 of the flow: users whose list is to be made → lists that changed, ready to publish."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from recstream.core.control import Adopted
from recstream.core.events import timestamp_ms
from recstream.core.history_rows import ListRow, encode_row, list_key
from recstream.core.listing import describe, item_ids, rank
from recstream.core.model import Generation
from recstream.core.records import AsOf, Lineage, Recommendations
from recstream.log.port import NewRecord
from recstream.log.topics import RECOMMENDATIONS
from recstream.stream.partition import Cause, Known

_encode_json = msgspec.json.Encoder().encode


class Published(NamedTuple):
    """A changed list: what is known of its user from now on, its record, and the row to remember it."""

    known: Known
    record: NewRecord
    row: tuple[bytes, bytes]
    appended_ts: int


def lists(
    partition: int,
    users: Sequence[tuple[Known, Cause]],
    generation: Generation,
    adopted: Adopted,
    clock_ms: Callable[[], int],
    *,
    is_refresh: bool = False,
) -> list[Published]:
    """Return the lists that differ, in items or order, from the ones published before.

    Parameters
    ----------
    users : sequence of (Known, Cause)
        Who, with the newest history, and which event asks for it.
    adopted : Adopted
        The rules in force.
    clock_ms : callable
        Tells when users were folded in and when each list was made: for the lineage alone.
    is_refresh : bool
        No event of the user asked for it.
    """
    histories = [known.history for known, _ in users]
    ranked = rank(
        histories,
        generation,
        adopted.list_size,
        adopted.rules.half_life_ms,
        steering=adopted.steering,
    )
    folded_ts = clock_ms()
    published = []
    for (known, cause), found in zip(users, ranked, strict=True):
        items = item_ids(found, generation)
        before = () if known.listed is None else known.listed.items
        if items == before:
            continue
        history = known.history
        key = history.user.encode()
        body = Recommendations(
            rec_id=rec_id(history.user, partition, history.offset, generation, adopted),
            user=history.user,
            generation=generation.number,
            delta=generation.delta,
            control=adopted.control,
            arm=found.arm,
            as_of=AsOf(partition=partition, offset=history.offset),
            source="refresh" if is_refresh and found.is_personal else found.source,
            items=describe(found, history, generation, before),
            lineage=_lineage(cause, folded_ts, clock_ms()),
        )
        listed = ListRow(generation.number, generation.delta, items, body.source, found.arm)
        published.append(
            Published(
                Known(history, listed),
                NewRecord(RECOMMENDATIONS, key, _encode_json(body), partition),
                (list_key(key), encode_row(listed)),
                cause.appended_ts,
            )
        )
    return published


def rec_id(user: str, partition: int, offset: int, generation: Generation, adopted: Adopted) -> str:
    """Return the id of a list: the same for the same list, made again."""
    origin = (
        f"{user}\0{partition}\0{offset}\0{generation.number}\0{generation.delta}\0{adopted.control}"
    )
    return "r-" + hashlib.blake2b(origin.encode(), digest_size=8).hexdigest()


def _lineage(cause: Cause, folded_ts: int, published_ts: int) -> Lineage:
    event = cause.event
    if event is None or event.ts is None:
        return Lineage(folded_ts=folded_ts, published_ts=published_ts)
    return Lineage(
        event_id=event.id,
        event_ts=timestamp_ms(event.ts),
        appended_ts=cause.appended_ts,
        folded_ts=folded_ts,
        published_ts=published_ts,
    )
