"""Write everybody's lists, or every item's similar items, to files: as of one moment of the log.

A folder holds ``basis.json``, which names what the files are derived from, and one file a part. A
part that exists is whole. A run that was interrupted continues where it stopped, as of the same
moment.
"""

import itertools
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from recstream.checkpoints import Checkpoints
from recstream.control import read_timeline
from recstream.core.generation import Generation
from recstream.core.history import ActiveSettings, History
from recstream.core.ranking import rank
from recstream.core.serving import similar_requested
from recstream.core.steering import ListRequest, Steering
from recstream.errors import InvalidInput
from recstream.log import INTERACTIONS, EventLog, newest_time_ms
from recstream.models import ModelStore
from recstream.time_travel import Generations, Moment, PartitionFold, nearest_fold, require_in_log

Format = Literal["parquet", "jsonl"]
ROWS_PER_PART = 20_000
USERS_PER_CALL = 512
_SCHEMA = pa.schema(
    [("key", pa.string()), ("rank", pa.int32()), ("item", pa.string()), ("score", pa.float64())]
)
_LAST = b"recstream.last_key"


class BatchBasis(msgspec.Struct, frozen=True, kw_only=True):
    """What the files are derived from: anybody with the log can derive them again.

    Attributes
    ----------
    what : str
        ``lists`` or ``similar``.
    offsets : dict of int to int
        Next offset of interactions, by partition.
    now : int
        Time of the lists in milliseconds, for times of items and rules.
    """

    what: Literal["lists", "similar"]
    format: Format
    n: int
    epoch: str
    offsets: dict[int, int]
    generation: int
    delta: int
    now: int


class BatchItem(msgspec.Struct, frozen=True):
    """One item of a list."""

    item: str
    score: float


Row = tuple[str, list[BatchItem]]


def choose_basis(
    event_log: EventLog,
    generations: Generations,
    when: Moment,
    *,
    what: Literal["lists", "similar"],
    form: Format,
    n: int,
) -> BatchBasis:
    """Return the basis as of a moment: an offset (of all partitions), a time, or the log's end.

    Parameters
    ----------
    what : str
        ``lists`` or ``similar``.

    Raises
    ------
    InvalidInput
        No partition has the offset yet.
    NotFound, BeyondHorizon
        No generation had been announced, or those by then were pruned.
    """
    if when.offset is not None:
        n_partitions = event_log.partitions(INTERACTIONS)
        ends = [event_log.high_watermark(INTERACTIONS, each) for each in range(n_partitions)]
        require_in_log(when.offset, max(ends), "the longest partition")
    offsets, now = {}, when.timestamp_ms or 0
    for partition in range(event_log.partitions(INTERACTIONS)):
        end = event_log.high_watermark(INTERACTIONS, partition)
        if when.timestamp_ms is not None:
            end = event_log.offset_at(INTERACTIONS, partition, when.timestamp_ms + 1)
        elif when.offset is not None:
            end = min(end, when.offset + 1)
        offsets[partition] = end
        if when.timestamp_ms is None:
            now = max(now, newest_time_ms(event_log, INTERACTIONS, partition, end))
    until = None if when == Moment() else now
    number = generations.newest_by(until)
    return BatchBasis(
        what=what,
        format=form,
        n=n,
        epoch=event_log.epoch,
        offsets=offsets,
        generation=number,
        delta=generations.newest_delta(number) if until is None else 0,
        now=now // 1000 * 1000,
    )


def write_batch(
    event_log: EventLog,
    store: ModelStore,
    checkpoints: Checkpoints | None,
    folder: Path,
    basis: Callable[[Generations], BatchBasis],
    progress: Callable[[int, int], object] = lambda *_: None,
    *,
    is_now: bool = True,
) -> BatchBasis:
    """Write all parts that the folder lacks; return what they are derived from.

    Parameters
    ----------
    checkpoints : Checkpoints or None
        To start the histories from.
    basis : callable
        Returns the basis of the requested batch.
    is_now : bool
        True: continue an existing batch as of its own moment. False: its moment must equal the
        requested one.
    progress : callable
        Receives the number of rows done and the number of all rows, as far as it is known.

    Raises
    ------
    InvalidInput
        The folder holds something else, or a batch of something else.
    BeyondHorizon
        Events before the moment were pruned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generations = Generations(event_log, store)
    path = folder / "basis.json"
    if path.exists():
        chosen = _read_basis(path, event_log.epoch)
        _check_same(folder, chosen, basis(generations), is_now=is_now)
    elif any(each.name != f"{path.name}.part" for each in folder.iterdir()):
        raise InvalidInput(f"{folder} must be empty, or hold a batch to continue")
    else:
        chosen = basis(generations)
        _write_whole(path, msgspec.json.encode(chosen))
    generation = generations.at(chosen.generation, chosen.delta)
    for part in folder.glob("*.part"):
        part.unlink()
    timeline = read_timeline(event_log)
    if chosen.what == "similar":
        make = _similar(generation, timeline.at(0, chosen.offsets[0]).steering, chosen)
        _write_parts(folder, "items", generation.items, make, chosen, progress, is_sorted=False)
        return chosen
    for partition, end in chosen.offsets.items():
        fold = nearest_fold(checkpoints, event_log, partition, timeline, end)
        fold.advance(event_log, end)
        active = timeline.at(partition, max(end - 1, 0))
        users = sorted(fold.histories)
        ranked = _ranked(fold, generation, active, chosen)
        _write_parts(folder, f"users-{partition:03}", users, ranked, chosen, progress)
    return chosen


def _check_same(folder: Path, found: BatchBasis, asked: BatchBasis, *, is_now: bool) -> None:
    names = ["what", "format", "n", *([] if is_now else ["offsets", "now"])]
    for name in names:
        if getattr(found, name) != getattr(asked, name):
            raise InvalidInput(
                f"{folder} holds a batch with {name}={getattr(found, name)}, the command asks for "
                f"{name}={getattr(asked, name)}; choose another folder, or repeat the first "
                "command to continue it"
            )


def _read_basis(path: Path, epoch: str) -> BatchBasis:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=BatchBasis)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{path} can't be read ({error}); choose another folder") from error
    if found.epoch != epoch:
        raise InvalidInput(f"{path.parent} was made from another log; choose another folder")
    return found


def _write_parts(
    folder: Path,
    name: str,
    keys: Iterable[str],
    make: Callable[[list[str]], Iterator[Row]],
    basis: BatchBasis,
    progress: Callable[[int, int], object],
    *,
    is_sorted: bool = True,
) -> None:
    """Write the parts that are missing.

    Parameters
    ----------
    is_sorted : bool
        A part begins behind the last key of the part before: users may have been erased since.
    """
    everything = list(keys)
    start = 0
    for number in itertools.count():
        if start >= len(everything):
            return
        path = folder / f"{name}-{number:06}.{basis.format}"
        wanted = everything[start : start + ROWS_PER_PART]
        start += len(wanted)
        if not path.exists():
            _write_whole(path, _encode(make(wanted), basis.format, wanted[-1]))
        elif is_sorted and (last := _last_key(path)) is not None:
            start = bisect_right(everything, last)
        progress(start, len(everything))


def _last_key(path: Path) -> str | None:
    """Return the last key of a part; None if it is a table without rows, of an older version."""
    if path.suffix == ".jsonl":
        key: str = msgspec.json.decode(path.read_bytes().rsplit(b"\n", 2)[-2])["key"]
        return key
    table = pq.read_table(path, columns=["key"])
    keys: list[str] = table.column("key")[-1:].to_pylist()
    last: bytes | None = (table.schema.metadata or {}).get(_LAST)
    return last.decode() if last is not None else next(iter(keys), None)


def _encode(rows: Iterator[Row], form: Format, last: str) -> bytes:
    if form == "jsonl":
        lines = ({"key": key, "items": entries} for key, entries in rows)
        return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    columns: tuple[list[Any], ...] = ([], [], [], [])
    for key, entries in rows:
        for place, entry in enumerate(entries, start=1):
            for column, value in zip(columns, (key, place, entry.item, entry.score), strict=True):
                column.append(value)
    sink = pa.BufferOutputStream()
    schema = _SCHEMA.with_metadata({_LAST: last})  # a user may have no rows
    pq.write_table(pa.table(list(columns), schema=schema), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _write_whole(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _ranked(
    fold: PartitionFold, generation: Generation, active: ActiveSettings, basis: BatchBasis
) -> Callable[[list[str]], Iterator[Row]]:
    """Return a function that ranks users, some hundred at a time."""

    def make(users: list[str]) -> Iterator[Row]:
        for start in range(0, len(users), USERS_PER_CALL):
            histories: list[History] = [
                fold.histories[user] for user in users[start : start + USERS_PER_CALL]
            ]
            ranked = rank(
                histories,
                generation,
                basis.n,
                active.fold_settings.half_life_ms,
                steering=active.steering,
                now_ms=basis.now,
            )
            for history, found in zip(histories, ranked, strict=True):
                pairs = zip(found.rows.tolist(), found.scores.tolist(), strict=True)
                yield (
                    history.user,
                    [BatchItem(generation.items[row], score) for row, score in pairs],
                )

    return make


def _similar(
    generation: Generation, steering: Steering | None, basis: BatchBasis
) -> Callable[[list[str]], Iterator[Row]]:
    """Return a function that finds the similar items of items."""
    request = ListRequest(n=basis.n)

    def make(items: list[str]) -> Iterator[Row]:
        for item in items:
            found = similar_requested(generation, item, request, steering, basis.now)
            yield item, [BatchItem(each.item, each.score) for each in found]

    return make
