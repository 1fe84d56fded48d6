"""Verify published lists: derive each one from the log, and compare it byte for byte."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec

from recstream.core.history import History, SettingsTimeline
from recstream.core.records import Recommendations, decode_recommendations, list_json
from recstream.errors import LogCorrupt, NotFound
from recstream.log import INTERACTIONS, RECOMMENDATIONS, ReadableLog, decode_value, read_records
from recstream.time_travel import Generations, PartitionFold, derive

WINDOW_LISTS = 20_000
RANK_USERS = 256

Progress = Callable[[str, int], None]
"""Receives a kind (``events``, ``lists``, ``generations``) and the number since the last call."""


class Difference(NamedTuple):
    """A published list that differs from the derived one, and its place in the log.

    Without ``published`` and ``derived``, ``what`` says why it can't be derived.
    """

    partition: int
    offset: int
    user: str
    what: str
    published: str
    derived: str


class Verified(NamedTuple):
    """Result of a verification; ``differences`` holds the first few."""

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
    list_end: int | None = None,
    user: str | None = None,
    every: int = 1,
    lost: Collection[int] = (),
    most_differences: int = 5,
    progress: Progress = lambda *_: None,
) -> Verified:
    """Derive the lists of a partition from its interactions and compare them.

    Parameters
    ----------
    fold : PartitionFold, optional
        Histories to start from; default: empty ones at the first offset.
    stop : int, optional
        Only lists as of interactions before this offset.
    list_end : int, optional
        Only lists before this offset of their own topic.
    every : int
        Compare every list, every second, every third …: a sample.
    lost : collection of int
        Generations that can't be derived because a user was forgotten: their lists count as
        underivable, not as different.
    progress : callable
        Called with ``events`` or ``lists``, and their number since the last call.

    Notes
    -----
    A derived list takes its lineage, and the source ``refresh``, from the published one: neither
    can be derived from the log.
    """
    fold = fold or PartitionFold(partition, log.partitions(INTERACTIONS), timeline)
    unreadable: list[Difference] = []
    lists = _published(log, partition, (fold.next_offset, stop), list_end, user, unreadable)
    differences: list[Difference] = []
    n_lists = n_underivable = 0
    sample = (found for number, found in enumerate(lists) if number % every == 0)
    while window := list(islice(sample, WINDOW_LISTS)):
        kept = _histories(log, fold, window, progress)
        window.sort(key=lambda found: _model_of(found.body))
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
                elif derived == found.value:
                    continue
                else:
                    difference = _difference(found, derived, partition)
                if len(differences) < most_differences:
                    differences.append(difference)
            progress("lists", len(group))
    end = log.high_watermark(INTERACTIONS, partition) if stop is None else stop
    fold.advance(log, end, progress=partial(progress, "events"))
    differences = (unreadable + differences)[:most_differences]
    return Verified(n_lists, n_underivable, tuple(differences))


def _published(
    log: ReadableLog,
    partition: int,
    as_of_range: tuple[int, int | None],
    list_end: int | None,
    user: str | None,
    unreadable: list[Difference],
) -> Iterator[_Published]:
    """Yield the lists of a partition in the order of the log, each with the user's previous list.

    Parameters
    ----------
    as_of_range : (int, int or None)
        Only lists as of events in [from, to).
    list_end : int or None
        Only lists before this offset.
    unreadable : list of Difference
        Receives the records that can't be read.
    """
    start, stop = as_of_range
    before: dict[str, tuple[str, ...]] = {}
    key = None if user is None else user.encode()
    # Of a user's first list after pruning, the one before it is unknown, and so are its old ranks.
    has_all = log.earliest(RECOMMENDATIONS, partition) == 0
    for record in read_records(log, RECOMMENDATIONS, partition, stop=list_end):
        if record.value is None:
            if record.key is not None:
                before.pop(record.key.decode(errors="replace"), None)
            continue
        if key is not None and record.key != key:
            continue
        try:
            body = decode_value(record, decode_recommendations)
        except LogCorrupt as error:
            name = (record.key or b"").decode(errors="replace")
            unreadable.append(Difference(partition, record.offset, name, str(error), "", ""))
            continue
        as_of = body.as_of
        is_asked = (
            as_of is not None and as_of.offset >= start and (stop is None or as_of.offset < stop)
        )
        if is_asked and (has_all or body.user in before):
            yield _Published(record.offset, record.value, body, before.get(body.user, ()))
        before[body.user] = tuple([item.item for item in body.items])


def _histories(
    log: ReadableLog, fold: PartitionFold, window: Iterable[_Published], progress: Progress
) -> dict[tuple[str, int], History]:
    """Fold as far as a window of lists reaches, and return the histories that they are as of."""
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
    return kept | fold.advance(log, last + 1, wanted, progress=partial(progress, "events"))


def _same_model(window: Sequence[_Published], at: int) -> Iterator[_Published]:
    """Yield the lists from a position on that share generation, delta, settings and time."""
    key = _model_of(window[at].body)
    for found in islice(window, at, at + RANK_USERS):
        body = found.body
        if _model_of(body) != key:
            return
        yield found


def _model_of(body: Recommendations) -> tuple[object, ...]:
    return body.generation, body.delta, body.followed, body.control, body.now


def _derived(
    group: Sequence[_Published],
    kept: dict[tuple[str, int], History],
    generations: Generations,
    timeline: SettingsTimeline,
    partition: int,
) -> Iterator[tuple[_Published, bytes | None]]:
    """Yield each list with the derived one, or None if its generation or history is gone."""
    first = group[0].body
    active = timeline.by_control(first.control)
    try:
        generation = generations.at(first.generation, first.delta, first.followed)
    except NotFound:
        generation = None
    ready: list[_Published] = []
    histories: list[History] = []
    for found in group:
        as_of = found.body.as_of
        history = None if as_of is None else kept.get((found.body.user, as_of.offset))
        if history is None or generation is None or active is None:
            yield found, None
        else:
            ready.append(found)
            histories.append(history)
    if generation is None or active is None:
        return
    lists = derive(histories, generation, active, partition, first.now)
    for found, make in zip(ready, lists, strict=True):
        yield found, make(found.before, found.body).value


def _missing(found: _Published, partition: int) -> Difference:
    body = found.body
    what = (
        f"generation {body.generation} delta {body.delta}, settings {body.control} or the history "
        f"as of {body.as_of.offset if body.as_of else None} is gone; if the artifact was pruned, "
        "--retrain derives it again"
    )
    return Difference(partition, found.offset, body.user, what, "", "")


def _difference(found: _Published, again: bytes, partition: int) -> Difference:
    published: dict[str, object] = msgspec.json.decode(list_json(found.value))
    derived: dict[str, object] = msgspec.json.decode(list_json(again))
    for name in (*published, *derived):
        if published.get(name) != derived.get(name):
            return Difference(
                partition,
                found.offset,
                found.body.user,
                name,
                msgspec.json.encode(published.get(name)).decode(),
                msgspec.json.encode(derived.get(name)).decode(),
            )
    return Difference(
        partition, found.offset, found.body.user, "bytes", found.value.hex(), again.hex()
    )
