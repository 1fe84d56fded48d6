"""↺ of the flow: every published list made again from the log, and compared byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from recstream.core.history import History, SettingsTimeline
from recstream.core.records import Recommendations, decode_recommendations
from recstream.errors import NotFound
from recstream.log import INTERACTIONS, RECOMMENDATIONS, ReadableLog
from recstream.time_travel import (
    Generations,
    PartitionFold,
    decode_value,
    derive,
    read_batches,
    read_records,
)

WINDOW_LISTS = 20_000
RANK_USERS = 256

_encode = msgspec.json.Encoder().encode


class Difference(NamedTuple):
    """A published list that is not what the log gives, and where it stands."""

    partition: int
    offset: int
    user: str
    what: str
    published: str
    derived: str


class Verified(NamedTuple):
    """What a verification found; ``differences`` holds the first few."""

    lists: int
    underivable: int
    differences: tuple[Difference, ...]


class _Published(NamedTuple):
    offset: int
    value: bytes
    body: Recommendations
    before: tuple[str, ...]


def verify_partition(
    log: ReadableLog,
    generations: Generations,
    timeline: SettingsTimeline,
    partition: int,
    *,
    fold: PartitionFold | None = None,
    stop: int | None = None,
    user: str | None = None,
    every: int = 1,
    lost: Collection[int] = (),
    most_differences: int = 5,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Verified:
    """Make the lists of a partition again from its interactions and compare them.

    Parameters
    ----------
    fold : PartitionFold, optional
        Histories to start from; default: none, from the first offset.
    stop : int, optional
        Only lists as of interactions before this offset.
    user : str, optional
        Only this user's lists.
    every : int
        Compare each list, each second, each third …: a sample.
    lost : collection of int
        Generations that can't be had because a user was forgotten: their lists count as
        underivable, not as different.
    progress : callable
        Called with (events folded, lists compared) since the last call.

    Notes
    -----
    A list made again carries the published lineage, and the source ``refresh`` where the published
    one does: both say when it was made, and neither is derived from the log.
    """
    fold = fold or PartitionFold(partition, log.partitions(INTERACTIONS), timeline)
    lists = _published(log, partition, start=fold.next_offset, stop=stop, user=user)
    differences: list[Difference] = []
    n_lists = n_underivable = 0
    sample = (found for number, found in enumerate(lists) if number % every == 0)
    while window := list(islice(sample, WINDOW_LISTS)):
        kept = _histories(log, fold, partition, window, progress)
        window.sort(key=lambda found: (found.body.generation, found.body.delta, found.body.control))
        at = 0
        while at < len(window):
            group = list(_same_model(window, at))
            at += len(group)
            n_lists += len(group)
            for found, derived in _derived(group, kept, generations, timeline, partition):
                if derived is None:
                    n_underivable += 1
                    if found.body.generation in lost:
                        continue
                    difference = _missing(found, partition)
                elif (again := _encode(derived)) == found.value:
                    continue
                else:
                    difference = _difference(found, again, partition)
                if len(differences) < most_differences:
                    differences.append(difference)
            progress(0, len(group))
    end = log.high_watermark(INTERACTIONS, partition) if stop is None else stop
    for found_records in read_batches(log, INTERACTIONS, partition, fold.next_offset, end):
        before = fold.n_events
        fold.fold(found_records)
        progress(fold.n_events - before, 0)
    return Verified(n_lists, n_underivable, tuple(differences))


def _published(
    log: ReadableLog, partition: int, *, start: int, stop: int | None, user: str | None
) -> Iterator[_Published]:
    """Give the lists of a partition in the order of the log, each with its user's list before."""
    before: dict[str, tuple[str, ...]] = {}
    key = None if user is None else user.encode()
    for record in read_records(log, RECOMMENDATIONS, partition):
        if record.value is None:
            if record.key is not None:
                before.pop(record.key.decode(), None)
            continue
        if key is not None and record.key != key:
            continue
        body = decode_value(record, decode_recommendations)
        as_of = body.as_of
        if as_of is not None and as_of.offset >= start and (stop is None or as_of.offset < stop):
            yield _Published(record.offset, record.value, body, before.get(body.user, ()))
        before[body.user] = tuple([item.item for item in body.items])


def _histories(
    log: ReadableLog,
    fold: PartitionFold,
    partition: int,
    window: Iterable[_Published],
    progress: Callable[[int, int], None],
) -> dict[tuple[str, int], History]:
    """Return the histories that a window of lists was made from, folding as far as they reach."""
    wanted: dict[str, set[int]] = {}
    kept: dict[tuple[str, int], History] = {}
    last = -1
    for found in window:
        if found.body.as_of is None:
            continue
        user, offset = found.body.user, found.body.as_of.offset
        wanted.setdefault(user, set()).add(offset)
        last = max(last, offset)
        history = fold.history(user)
        if history.offset == offset:
            kept[user, offset] = history
    for found_records in read_batches(log, INTERACTIONS, partition, fold.next_offset, last + 1):
        before = fold.n_events
        kept |= fold.fold(found_records, wanted)
        progress(fold.n_events - before, 0)
    return kept


def _same_model(window: Sequence[_Published], at: int) -> Iterator[_Published]:
    """Give the lists from a place on that share generation, delta and rules."""
    first = window[at].body
    key = (first.generation, first.delta, first.control)
    for found in islice(window, at, at + RANK_USERS):
        body = found.body
        if (body.generation, body.delta, body.control) != key:
            return
        yield found


def _derived(
    group: Sequence[_Published],
    kept: dict[tuple[str, int], History],
    generations: Generations,
    timeline: SettingsTimeline,
    partition: int,
) -> Iterator[tuple[_Published, Recommendations | None]]:
    """Give each list with itself made again, or None where what it was made from is gone."""
    first = group[0].body
    adopted = timeline.by_control(first.control)
    try:
        generation = generations.at(first.generation, first.delta)
    except NotFound:
        generation = None
    ready: list[_Published] = []
    histories: list[History] = []
    for found in group:
        as_of = found.body.as_of
        history = None if as_of is None else kept.get((found.body.user, as_of.offset))
        if history is None or generation is None or adopted is None:
            yield found, None
        else:
            ready.append(found)
            histories.append(history)
    if generation is None or adopted is None:
        return
    for found, make in zip(ready, derive(histories, generation, adopted, partition), strict=True):
        derived = make(found.before)
        source = found.body.source
        if {source, derived.source} == {"refresh", "fold-in"}:
            derived = msgspec.structs.replace(derived, source=source)
        yield found, msgspec.structs.replace(derived, lineage=found.body.lineage)


def _missing(found: _Published, partition: int) -> Difference:
    body = found.body
    what = (
        f"generation {body.generation} delta {body.delta}, rules {body.control} or the history as "
        f"of {body.as_of.offset if body.as_of else None} is not to be had; if the artifact was "
        "pruned, derive it again with --retrain"
    )
    return Difference(partition, found.offset, body.user, what, found.value.decode(), "")


def _difference(found: _Published, again: bytes, partition: int) -> Difference:
    published: dict[str, object] = msgspec.json.decode(found.value)
    derived: dict[str, object] = msgspec.json.decode(again)
    for name in (*published, *derived):
        if published.get(name) != derived.get(name):
            return Difference(
                partition,
                found.offset,
                found.body.user,
                name,
                _encode(published.get(name)).decode(),
                _encode(derived.get(name)).decode(),
            )
    return Difference(
        partition, found.offset, found.body.user, "bytes", found.value.decode(), again.decode()
    )
