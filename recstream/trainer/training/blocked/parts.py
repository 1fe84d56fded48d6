"""Histories as parts in a shared folder: read a partition's checkpoint and the changelog since.

A part holds the histories of some users of one partition, and a file of names: its users and items, and
its newest entries, which may be held out for evaluation.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.checkpoints import open_checkpoints
from recstream.core.columns import IdTable
from recstream.core.evaluation import n_held_out
from recstream.core.history import table_rows
from recstream.core.numeric.arrays import Int32s
from recstream.erasure import forgetting
from recstream.errors import TrainingFailed
from recstream.log import (
    EventLog,
    Record,
    TopicPartition,
    histories_changelog,
    open_log,
    read_records,
)
from recstream.settings import Settings, with_secrets
from recstream.spark.blocks import cut, read_file, write_file
from recstream.trainer.histories import RUN, HistoryColumns
from recstream.trainer.histories.changelog import ChangelogFollower
from recstream.trainer.histories.checkpoint import restore_histories
from recstream.trainer.training.dataset import is_newest

PART_ENTRIES = 1 << 22
"""Entries of an average part: 84 MB as a file, about 0.5 GB in a task. A user is never cut."""
BATCH_RECORDS = 5_000
MAX_HELD_OUT = n_held_out(1 << 40)


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Histories of some users: the files of two digests."""

    histories: str
    names: str
    partition: int
    offset: int
    n_users: int
    n_entries: int
    n_events: int


class ReadPartition(msgspec.Struct, frozen=True, tag=True):
    """Task: write the histories of a partition, as of an offset of interactions, as parts.

    Its settings hold no secrets: the executor's environment has them.
    """

    folder: str
    settings: Settings
    partition: int
    offset: int

    def run(self) -> list[Part]:
        """Return the parts."""
        settings = with_secrets(self.settings)
        with contextlib.closing(open_log(settings.broker_url, settings)) as event_log:
            histories = _histories(event_log, settings, self.partition, self.offset)
        return write_parts(Path(self.folder), histories, self.partition)


def _histories(
    event_log: EventLog, settings: Settings, partition: int, offset: int
) -> HistoryColumns:
    """Return a partition's histories from its newest checkpoint that is not beyond an offset."""
    tp = TopicPartition(histories_changelog(settings.app_id), partition)
    follower = ChangelogFollower(forgetting(event_log).finished)
    starts = restore_histories(
        follower, open_checkpoints(event_log, settings), [tp], at_most=offset
    )
    records = read_records(event_log, *tp, starts.get(tp, 0))
    for batch in _batches(records, offset - follower.offsets.get(partition, 0)):
        follower.apply(batch, with_touches=False)
        if follower.offsets.get(partition, 0) >= offset:
            break
    found = follower.offsets.get(partition, 0)
    if found != offset or follower.is_stale:
        raise TrainingFailed(
            f"histories of partition {partition} must be as of offset {offset}, the changelog gives "
            f"offset {found}: it was compacted or a user was forgotten meanwhile; train again"
        )
    return follower.histories


def _batches(records: Iterator[Record], missing: int) -> Iterator[list[Record]]:
    """Yield records; a batch ends at a group's end if that may be the last one that is needed."""
    batch: list[Record] = []
    for record in records if missing else ():
        batch.append(record)
        if record.key == table_rows.APPLIED_KEY or len(batch) >= BATCH_RECORDS:
            yield batch
            batch = []


def write_parts(folder: Path, histories: HistoryColumns, partition: int) -> list[Part]:
    """Write histories of one partition as parts."""
    known = histories.known_rows()
    if not len(known):
        return []
    lengths = histories.runs["n"][known].astype(np.int64)
    n_parts = -(-int(lengths.sum()) // PART_ENTRIES)
    ranges = cut(lengths, max(1, n_parts))
    return [_write_part(folder, histories, known[a:b], partition) for a, b in ranges]


def _write_part(folder: Path, histories: HistoryColumns, rows: Int32s, partition: int) -> Part:
    part = histories.part(rows)
    entries = part.entries_of(part.known_rows())
    counts = np.diff(entries.indptr)
    may = entries.is_single & (entries.weights > 0.0) & np.repeat(counts > 1, counts)
    places = np.flatnonzero(may)
    places = places[is_newest(entries.at_ms[places], entries.offsets[places], MAX_HELD_OUT)]
    names: dict[str, NDArray[Any]] = {
        "users": part.users.block,
        "user_ends": part.users.ends,
        "user_counts": counts,
        "items": part.items.block,
        "item_ends": part.items.ends,
        "item_counts": np.bincount(entries.items, minlength=len(part.items)),
        "newest_users": np.searchsorted(entries.indptr, places, side="right") - 1,
        "newest_at": entries.at_ms[places],
        "newest_offsets": entries.offsets[places],
    }
    runs = {f"runs.{name}": part.runs[name] for name in part.runs.dtype.names or ()}
    return Part(
        write_file(folder, {"words": part.words, **runs}),
        write_file(folder, names),
        partition,
        histories.offsets.get(partition, 0),
        len(rows),
        len(entries.items),
        int(part.runs["n_ids"].sum(dtype=np.int64)),
    )


def read_part(folder: Path, part: Part) -> HistoryColumns:
    """Return the histories of a part."""
    names, named = read_file(folder, part.names), read_file(folder, part.histories)
    runs = np.zeros(part.n_users, RUN)
    for name in runs.dtype.names or ():
        runs[name] = named[f"runs.{name}"]
    users, items = (
        IdTable.from_arrays(names[f"{side}s"], names[f"{side}_ends"]) for side in ("user", "item")
    )
    return HistoryColumns(users, items, runs, named["words"], {part.partition: part.offset})
