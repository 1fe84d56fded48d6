"""Events of a range of the log that users' lists should have predicted, and what was known then."""

from collections.abc import Sequence
from typing import NamedTuple

from recstream.core.evaluation import is_evaluated
from recstream.core.events import Event
from recstream.core.history import FoldSettings, History
from recstream.core.records import Recommendations, decode_recommendations
from recstream.errors import InvalidInput
from recstream.log import INTERACTIONS, RECOMMENDATIONS, ReadableLog, decode_or_skip, read_batches
from recstream.time_travel import Snapshots

MAX_OFFSETS = 2_000_000
Ranges = dict[int, tuple[int, int]]


class Sample(NamedTuple):
    """An event that the user's list should have predicted.

    Attributes
    ----------
    listed : Recommendations
        The user's newest published list before the event.
    history : History
        The user's history as of that list; ``before`` if it is older than the range.
    """

    partition: int
    offset: int
    timestamp_ms: int
    event: Event
    before: History
    listed: Recommendations
    history: History

    @property
    def is_exact(self) -> bool:
        """Whether the history is the one that the list was made from."""
        return self.listed.as_of is not None and self.listed.as_of.offset == self.history.offset


class Sampler:
    """Keeps every k-th event, at most ``limit``. k doubles when the sample is full."""

    def __init__(self, limit: int) -> None:
        self.n_seen = 0
        self.kept: list[tuple[int, int, Event, History]] = []
        self._limit = limit
        self._every = 1

    def add(self, offset: int, timestamp_ms: int, event: Event, before: History) -> None:
        """Add the next event; keep it if it is a k-th one."""
        if self.n_seen % self._every == 0:
            self.kept.append((offset, timestamp_ms, event, before))
            if len(self.kept) > self._limit:
                self.kept = self.kept[::2]
                self._every *= 2
        self.n_seen += 1


def sample_events(
    log: ReadableLog, snapshots: Snapshots, ranges: Ranges, *, limit: int
) -> tuple[list[Sample], int]:
    """Return events of a range that users' lists should have predicted, and how many there are.

    Parameters
    ----------
    ranges : dict of int to (int, int)
        Partition to [from, to) on the interactions topic.

    Raises
    ------
    InvalidInput
        The range has more than `MAX_OFFSETS` offsets.
    """
    n_offsets = sum(stop - start for start, stop in ranges.values())
    if n_offsets > MAX_OFFSETS:
        raise InvalidInput(
            f"the range may have {MAX_OFFSETS:,} offsets, got {n_offsets:,}; choose a shorter one"
        )
    samples: list[Sample] = []
    n_found = 0
    for partition, (start, stop) in ranges.items():
        sampler = Sampler(max(1, limit // len(ranges)))
        fold = snapshots.fold_at(partition, start)
        times: dict[int, int] = {}

        def watch(
            before: History,
            after: History,
            event: Event,
            offset: int,
            settings: FoldSettings,
            *,
            sampler: Sampler = sampler,
            times: dict[int, int] = times,
        ) -> None:
            if (
                is_evaluated(before.n_items, after.n_items, event, settings.weights)
                and snapshots.known_list(event.user, offset=offset - 1) is not None
            ):
                sampler.add(offset, times[offset], event, before)

        fold.watch = watch
        for group in read_batches(log, INTERACTIONS, partition, start, stop):
            times.clear()
            times.update((record.offset, record.timestamp_ms) for record in group)
            fold.fold(group)
        n_found += sampler.n_seen
        for offset, timestamp_ms, event, before in sampler.kept:
            listed = _listed(log, snapshots, partition, event.user, offset)
            if listed is not None:
                sample = Sample(partition, offset, timestamp_ms, event, before, listed, before)
                samples.append(sample)
    return _with_histories(log, snapshots, ranges, samples), n_found


def _with_histories(
    log: ReadableLog, snapshots: Snapshots, ranges: Ranges, samples: Sequence[Sample]
) -> list[Sample]:
    """Return samples with the histories that their lists were made from, as far as they are known."""
    wanted: dict[int, dict[str, set[int]]] = {}
    for sample in samples:
        if not sample.is_exact and sample.listed.as_of is not None:
            users = wanted.setdefault(sample.partition, {})
            users.setdefault(sample.event.user, set()).add(sample.listed.as_of.offset)
    kept: dict[tuple[str, int], History] = {}
    for partition, users in wanted.items():
        start, stop = ranges[partition]
        fold = snapshots.fold_at(partition, start)
        kept |= {
            (user, history.offset): history for user in users for history in [fold.history(user)]
        }
        kept |= fold.advance(log, stop, users)
    return [
        sample._replace(history=kept.get((sample.event.user, as_of.offset), sample.history))
        if (as_of := sample.listed.as_of) is not None
        else sample
        for sample in samples
    ]


def _listed(
    log: ReadableLog, snapshots: Snapshots, partition: int, user: str, offset: int
) -> Recommendations | None:
    """Return a user's newest published list as of an earlier event than one at an offset."""
    position = snapshots.known_list(user, offset=offset - 1)
    if position is None:
        return None
    records = log.read(RECOMMENDATIONS, partition, position.offset, 1)
    if not records or records[0].offset != position.offset:
        return None
    return decode_or_skip(records[0], decode_recommendations)
