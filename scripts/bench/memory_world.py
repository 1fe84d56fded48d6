"""A world of memory.py: checkpoints of many users, a generation with random factors, and what a process holds."""

import io
import resource
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recstream.checkpoints import Checkpoints, Manifest
from recstream.checkpoints.columns import COLUMNS, KEPT_PAGES
from recstream.checkpoints.manifest import file_name
from recstream.core.als import ALSModel, Objective
from recstream.core.columns import IdTable
from recstream.core.content import ItemDetails
from recstream.core.generation import Generation
from recstream.core.history import table_rows
from recstream.core.neighbours import WIDTH, Neighbours
from recstream.log import INTERACTIONS, histories_changelog, topic_specs
from recstream.log.embedded import EmbeddedLog
from recstream.models import DirectoryStore
from recstream.settings import Settings
from recstream.trainer.training import hyperparameters

PARTITIONS = 4
PART_USERS = 12_000
"""Users of a row group, about as many as fit."""
OFFSET = 4_000_000
"""Of the checkpoints."""
CHANGELOG = histories_changelog(Settings().app_id)
CLOCK_MS = 1_700_000_000_000
DAY_MS = 86_400_000
HIDDEN = "A product with a title of some length"


def memory(pid: int | str = "self") -> dict[str, int]:
    """Return what a process holds, in bytes: Rss, Private_Dirty and the like."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    parts = (line.split() for line in lines)
    return {part[0].rstrip(":"): int(part[1]) * 1024 for part in parts if len(part) == 3}


def anonymous() -> int:
    """Return the bytes that belong to this process alone."""
    held = memory()
    return held["Private_Dirty"] + held["Private_Clean"]


def peak() -> int:
    """Return the largest resident size so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Clock:
    """Prints each step with its seconds and the memory after it."""

    def __init__(self) -> None:
        self._at = perf_counter()

    def lap(self, what: str) -> float:
        """Return the seconds since the last lap."""
        now = perf_counter()
        seconds, self._at = now - self._at, now
        print(f"{what:40} {seconds:8.2f} s   {anonymous() / 1e6:8.0f} MB private", flush=True)
        self._at = perf_counter()
        return seconds


class LongLog(EmbeddedLog):
    """A log that claims the events and rows of the checkpoints: those ahead of the log are not used."""

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the next offset."""
        return (
            OFFSET
            if topic in {INTERACTIONS, CHANGELOG}
            else super().high_watermark(topic, partition)
        )


def write_checkpoints(folder: Path, n_users: int, n_items: int, each: int) -> None:
    """Write a checkpoint of each partition, of users with random entries; low items more often."""
    log = EmbeddedLog(folder / "log.db", sync="normal")
    log.create_topics(topic_specs(PARTITIONS))
    checkpoints = Checkpoints(log, DirectoryStore(folder / "checkpoints"))
    rng = np.random.Generator(np.random.PCG64(0))
    names = pa.array([f"item-{at}" for at in range(n_items)])
    listed = table_rows.encode_row(table_rows.ListRow(1, 2, tuple(names[:20].to_pylist())))
    for partition in range(PARTITIONS):
        of_partition = n_users // PARTITIONS
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, COLUMNS, compression="zstd") as writer:
            for first in range(0, of_partition, PART_USERS):
                n = min(PART_USERS, of_partition - first)
                ids = [f"user-{partition}-{at:07d}" for at in range(first, first + n)]
                writer.write_table(_row_group(rng, ids, names, each, listed))
            writer.add_key_value_metadata({KEPT_PAGES: "0"})
        content = sink.getvalue()
        digest = checkpoints.digest(content)
        manifest = Manifest(
            name=file_name(partition, OFFSET, digest), epoch=log.epoch, topic=INTERACTIONS,
            partition=partition, partitions=PARTITIONS, offset=OFFSET, listed_offset=OFFSET,
            changelog=CHANGELOG, changelog_offset=0, digest=digest, size=len(content),
            n_users=of_partition, n_entries=of_partition * each, n_events=of_partition * each,
            made_ts=0,
        )  # fmt: skip
        checkpoints.put(manifest, content)
        print(f"checkpoint {partition + 1} of {PARTITIONS} written", flush=True)
    log.close()


def _row_group(
    rng: np.random.Generator, ids: list[str], names: pa.Array, each: int, listed: bytes
) -> pa.Table:
    """Return users as a row group of a checkpoint: a header, then the entries."""
    n, n_rows = len(ids), len(ids) * (each + 1)
    is_header = np.arange(n_rows) % (each + 1) == 0
    at = (np.arange(each) + rng.random((n, each))) / each
    chosen = (at * at * (len(names) - each)).astype(np.int64) + np.arange(each)
    ages = rng.integers(0, 365 * DAY_MS, (n, each))

    def rows(of_header: Any, of_entry: Any, kind: Any = np.int64) -> Any:
        made = np.empty(n_rows, kind)
        made[is_header], made[~is_header] = of_header, np.ravel(of_entry)
        return made

    rests = []
    for _ in ids:
        fields = (table_rows.SCHEMA, OFFSET - 1, 0, CLOCK_MS, each, each, 1, rng.bytes(8 * each))
        header = table_rows.encode_row(table_rows.Header(*fields))
        rests.append(table_rows.encode_row([(b"", header), (b"\0l", listed)]))
    return pa.Table.from_arrays(
        [
            pa.DictionaryArray.from_arrays(
                pa.array(np.repeat(np.arange(n, dtype=np.int32), each + 1)), pa.array(ids)
            ),
            names.take(pa.array(rows(0, chosen), mask=is_header)),
            pa.array(rows(0.0, rng.random(n * each), np.float64)),
            pa.array(rows(CLOCK_MS - ages.min(axis=1), CLOCK_MS - ages)),
            pa.array(rows(0, np.full(n * each, 3), np.int16)),
            pa.array(rows(OFFSET - 1, rng.integers(0, OFFSET, n * each))),
            pa.array(rows(each, np.ones(n * each))),
            pa.nulls(n_rows, pa.float64()),
            pa.nulls(n_rows, pa.int64()),
            pa.array(rows(-1, np.zeros(n * each), np.int32)),
            pa.array(rests, pa.binary()).take(
                pa.array(rows(np.arange(n), np.zeros(n * each)), mask=~is_header)
            ),
        ],
        schema=COLUMNS,
    )


def generation(n_items: int, n_factors: int) -> Generation:
    """Return a generation with random factors, and neighbours and details of every item."""
    rng = np.random.Generator(np.random.PCG64(1))
    model = ALSModel(
        rng.standard_normal((n_items, n_factors), np.float32) / np.float32(n_factors),
        rng.integers(1, 5_000, n_items),
        objective=Objective(),
        mean_user_count=20.0,
    )
    items = IdTable(f"item-{at}" for at in range(n_items))
    weights = -np.sort(-rng.random((n_items, WIDTH), np.float32), axis=1)
    near = rng.integers(0, n_items, (n_items, WIDTH), np.int32)
    return Generation(
        number=1,
        parent=None,
        offsets={str(each): 0 for each in range(PARTITIONS)},
        hyperparameters=hyperparameters(Settings()) | {"popularity_unit": 0.1, "content": False},
        seed=0,
        items=items,
        bias=rng.random(n_items, np.float32),
        model=model,
        details=details_of(items),
        content=Neighbours(near, weights),
        behaviour=Neighbours(near[::-1].copy(), weights),
    )


def details_of(items: IdTable) -> ItemDetails:
    """Return details of every item, without an object for each."""
    block, ends = bytearray(), np.empty(len(items), np.int64)
    for at, name in enumerate(items):
        block += b'{"item":"%b","title":"%b %d","category":"a > b","brand":"b%d","price":1.0}' % (
            name.encode(), HIDDEN.encode(), at, at % 99
        )  # fmt: skip
        ends[at] = len(block)
    return ItemDetails(items, np.frombuffer(block, np.uint8), ends)
