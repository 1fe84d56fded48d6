"""A log whose table lies in RocksDB, and the checkpoints of it."""

from pathlib import Path

import msgspec
import pytest
import rocksdict

from recstream.checkpoints import Checkpoints, Manifest, write_checkpoint
from recstream.checkpoints.table import OFFSET_KEY
from recstream.models import DirectoryStore
from tests.worker.worker_world import CHANGELOG, World, single, some_events

MADE_MS = 1_900_000_000_000


class Tables:
    """A world of the engine, its rows as databases, and checkpoints of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.world = World(path)
        self.log = self.world.log
        self.store = DirectoryStore(path / "checkpoints")
        self.checkpoints = Checkpoints(self.log, self.store)

    def feed(self, n: int, *, seed: int = 0) -> None:
        """Fold events, and write the rows into the databases."""
        start = seed * 100_000
        events = some_events(n, n_users=9, seed=seed)
        self.world.feed([single(each) for each in _renumbered(events, start)], step=50)
        for partition, rows in self.world.rows.rows.items():
            options = rocksdict.Options(raw_mode=True)
            options.create_if_missing(create_if_missing=True)
            database = rocksdict.Rdict(str(self.table(partition)), options)
            for key, value in rows.items():
                database[key] = value
            offset = self.world.rows.changelog_offsets[partition]
            database[OFFSET_KEY] = str(offset).encode()
            database.close()

    def table(self, partition: int) -> Path:
        return self.path / f"table-{partition}.db"

    def checkpoint(self, partition: int = 0) -> Manifest | None:
        return write_checkpoint(
            self.checkpoints, self.table(partition), partition, CHANGELOG, clock_ms=lambda: MADE_MS
        )


def _renumbered(events, start):
    return [msgspec.structs.replace(each, id=f"{start}-{each.id}") for each in events]


@pytest.fixture
def tables(tmp_path):
    tables = Tables(tmp_path)
    yield tables
    tables.world.close()
