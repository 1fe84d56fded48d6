"""WorkerLoop: which groups of records are ingested together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from recstream.log import INTERACTIONS, Record
from recstream.worker import loop
from recstream.worker.loop import WorkerLoop


class Engine:
    """Notes the partitions that each call ingests."""

    def __init__(self) -> None:
        self.ingested: list[list[int]] = []

    def assign(self, partition: int) -> None:
        """Take a partition."""

    def ingest(self, groups: Sequence[Sequence[Record]]) -> list[None]:
        """Note the partitions."""
        self.ingested.append([records[0].partition for records in groups])
        return [None] * len(groups)


def group(partition: int, offset: int) -> list[Record]:
    return [Record(INTERACTIONS, partition, offset, 0, b"u", b"{}", ())]


async def test_groups_that_come_soon_after_an_ingest_share_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "SPACING_S", 0.5)
    engine, none = Engine(), Any
    worker = WorkerLoop(*(engine, none, none, none), forgetter=none, clock_ms=lambda: 0, name="w")  # type: ignore[arg-type]
    worker._fail = pytest.fail  # as `start` does, without following models
    await worker.assign([0, 1])
    await worker.ingest(group(0, 0))

    early = asyncio.create_task(worker.ingest(group(0, 1)))
    for _ in range(10):
        await asyncio.sleep(0)
    await asyncio.gather(early, worker.ingest(group(1, 0)))

    assert engine.ingested == [[0], [0, 1]]
    await asyncio.to_thread(worker._thread.shutdown)
