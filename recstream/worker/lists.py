"""Steps 7 and 8 of the flow: users whose list is to be made → lists that changed, ready to publish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from recstream.core.events import timestamp_ms
from recstream.core.generation import Generation
from recstream.core.history import ActiveSettings, ListRow, encode_row, list_key
from recstream.core.ranking import Ranked, item_ids, rank, recommendations
from recstream.core.records import Lineage
from recstream.log import RECOMMENDATIONS, NewRecord
from recstream.worker.state import Cause, Known

_encode_json = msgspec.json.Encoder().encode


class Wanted(NamedTuple):
    """A list to be made: of whom, by which rules, and which event asks for it."""

    partition: int
    adopted: ActiveSettings
    known: Known
    cause: Cause


class Published(NamedTuple):
    """A changed list: what is known of its user from now on, its record, and the row to remember it."""

    known: Known
    record: NewRecord
    row: tuple[bytes, bytes]
    appended_ts: int


def lists(
    wanted: Sequence[Wanted],
    generation: Generation,
    clock_ms: Callable[[], int],
    *,
    is_refresh: bool = False,
) -> dict[int, list[Published]]:
    """Return, by partition, the lists that differ in items or order from the ones published before.

    Parameters
    ----------
    clock_ms : callable
        Tells when users were folded in and when each list was made: for the lineage alone.
    is_refresh : bool
        No event of the user asked for it.
    """
    ranked = _ranked(wanted, generation)
    folded_ts = clock_ms()
    published: dict[int, list[Published]] = {}
    for (partition, adopted, known, cause), found in zip(wanted, ranked, strict=True):
        items = item_ids(found, generation)
        before = () if known.listed is None else known.listed.items
        if items == before:
            continue
        history = known.history
        key = history.user.encode()
        body = recommendations(
            found,
            history,
            generation,
            adopted,
            partition,
            before,
            is_refresh=is_refresh,
            lineage=_lineage(cause, folded_ts, clock_ms()),
        )
        listed = ListRow(generation.number, generation.delta, items, body.source, found.arm)
        published.setdefault(partition, []).append(
            Published(
                Known(history, listed),
                NewRecord(RECOMMENDATIONS, key, _encode_json(body), partition),
                (list_key(key), encode_row(listed)),
                cause.appended_ts,
            )
        )
    return published


def _ranked(wanted: Sequence[Wanted], generation: Generation) -> list[Ranked]:
    """Return the lists, ranked together where the rules are the same."""
    by_rules: dict[tuple[int, float, int], list[int]] = {}
    for at, each in enumerate(wanted):
        adopted = each.adopted
        same = adopted.list_size, adopted.fold_settings.half_life_ms, id(adopted.steering)
        by_rules.setdefault(same, []).append(at)
    ranked: dict[int, Ranked] = {}
    for places in by_rules.values():
        adopted = wanted[places[0]].adopted
        together = rank(
            [wanted[at].known.history for at in places],
            generation,
            adopted.list_size,
            adopted.fold_settings.half_life_ms,
            steering=adopted.steering,
        )
        ranked.update(zip(places, together, strict=True))
    return [ranked[at] for at in range(len(wanted))]


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
