"""Rank lists for users, and keep those that differ from the ones published before."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from recstream.core.events import timestamp_ms
from recstream.core.generation import Generation
from recstream.core.history import ActiveSettings, SettingsTimeline, table_rows
from recstream.core.ranking import Ranked, encode_list, item_ids, rank
from recstream.core.records import Lineage
from recstream.log import RECOMMENDATIONS, NewRecord
from recstream.worker.state import PartitionState, Trigger, UserState


class ListToRank(NamedTuple):
    """A list to rank: its user, the settings, and the event that triggered it.

    ``next_list`` is the offset that the partition's next list gets, at least.
    """

    partition: int
    next_list: int
    active: ActiveSettings
    user: UserState
    trigger: Trigger


class NewList(NamedTuple):
    """Changed list: the user's new state, the record to publish, and the row that remembers it."""

    user: UserState
    record: NewRecord
    row: tuple[bytes, bytes]
    lineage: Lineage


def pending_requests(
    state: PartitionState, users: dict[str, UserState], timeline: SettingsTimeline, limit: int
) -> list[ListToRank]:
    """Remove the longest-waiting users from the queue; ``users`` gains their states."""
    active = timeline.newest(state.number)
    requests = []
    for user in list(islice(state.pending_lists, limit)):
        if user not in users:
            users[user] = state.user(user)
        trigger = state.pending_lists.pop(user)
        requests.append(ListToRank(state.number, state.next_list, active, users[user], trigger))
    return requests


def refresh_requests(
    state: PartitionState, users: Mapping[str, UserState], timeline: SettingsTimeline
) -> list[ListToRank]:
    """Return requests that no event triggered."""
    active = timeline.newest(state.number)
    return [
        ListToRank(state.number, state.next_list, active, each, Trigger(each.history.offset))
        for each in users.values()
    ]


def rank_lists(
    requests: Sequence[ListToRank],
    generation: Generation,
    clock_ms: Callable[[], int],
    *,
    is_refresh: bool = False,
) -> dict[int, list[NewList]]:
    """Return, by partition, the lists that differ in items or order from the published ones.

    Parameters
    ----------
    clock_ms : callable
        Time of the list, for times of items and rules, and times of steps for the lineage.
    is_refresh : bool
        The list was not triggered by an event of the user.
    """
    now_ms = clock_ms() // 1000 * 1000
    ranked = _rank_by_settings(requests, generation, now_ms)
    folded_ts = clock_ms()
    changed: dict[int, list[NewList]] = {}
    for (partition, next_list, active, user, trigger), found in zip(requests, ranked, strict=True):
        items = item_ids(found, generation)
        before = () if user.listed is None else user.listed.items
        if items == before:
            continue
        history = user.history
        key = history.user.encode()
        lineage = _lineage(trigger, folded_ts, clock_ms())
        source = "refresh" if is_refresh and found.is_personal else found.source
        value = encode_list(
            found, history, generation, active, partition, before, source=source, lineage=lineage
        )
        new = changed.setdefault(partition, [])
        listed = table_rows.ListRow(
            generation.number, generation.delta, items, source, found.arm, next_list + len(new)
        )
        new.append(
            NewList(
                UserState(history, listed),
                NewRecord(RECOMMENDATIONS, key, value, partition),
                (table_rows.list_key(key), table_rows.encode_row(listed)),
                lineage,
            )
        )
    return changed


def _rank_by_settings(
    requests: Sequence[ListToRank], generation: Generation, now_ms: int
) -> list[Ranked]:
    """Rank users with the same settings in one batch; return the lists in the requests' order."""
    batches: dict[tuple[int, float, int], list[int]] = {}
    for at, each in enumerate(requests):
        active = each.active
        key = active.list_size, active.fold_settings.half_life_ms, id(active.steering)
        batches.setdefault(key, []).append(at)
    ranked: dict[int, Ranked] = {}
    for places in batches.values():
        active = requests[places[0]].active
        lists = rank(
            [requests[at].user.history for at in places],
            generation,
            active.list_size,
            active.fold_settings.half_life_ms,
            steering=active.steering,
            now_ms=now_ms,
        )
        ranked.update(zip(places, lists, strict=True))
    return [ranked[at] for at in range(len(requests))]


def _lineage(trigger: Trigger, folded_ts: int, published_ts: int) -> Lineage:
    event = trigger.event
    if event is None or event.ts is None:
        return Lineage(folded_ts=folded_ts, published_ts=published_ts)
    return Lineage(
        event_id=event.id,
        event_ts=timestamp_ms(event.ts),
        appended_ts=trigger.appended_ts,
        folded_ts=folded_ts,
        published_ts=published_ts,
    )
