"""A data directory with a log and workers over it, on the real transport, table and RocksDB."""

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import rocksdict

from recstream.core.history.table_rows import APPLIED_KEY, split_key
from recstream.core.records import GenerationAnnounced
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import INTERACTIONS, MODELS
from recstream.models import DirectoryStore, artifact_name, pack
from recstream.settings import Settings
from recstream.worker import process as worker
from tests.worker.worker_world import GROUP, PARTITIONS, World, generation, single

SCRIPT = Path(__file__).with_name("worker_process.py")
DEADLINE_S = 300.0
"""For what hangs; how quick a worker is depends on who else has the cores."""


class Installation:
    """A data directory with a log, and workers over it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.world = World(path)
        self.store = DirectoryStore(path / "models")
        self.settings = self.settings_of(path)
        self._processes: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def settings_of(path: Path) -> Settings:
        return Settings(data_dir=str(path), partitions=PARTITIONS, app_id=GROUP)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self.world.close()

    def announce(self, number: int = 1, *, damage: bool = False) -> None:
        content_digest, content = pack(generation(number))
        name = artifact_name(number, content_digest)
        self.store.put(name, content[:-20] if damage else content)
        announced = GenerationAnnounced(
            generation=number, parent=None, artifact=name, digest=content_digest, offsets={},
            hyperparameters={}, seed=0, n_users=0, n_items=12, n_interactions=0, loss=None,
            train_seconds=0.0, created_ts=0,
        )  # fmt: skip
        self.world.log.append([NewRecord(MODELS, b"generation", msgspec.json.encode(announced))])

    @contextlib.asynccontextmanager
    async def serving(self, **changes):
        stop = asyncio.Event()
        settings = msgspec.structs.replace(self.settings, **changes)
        task = asyncio.create_task(worker.serve(settings, stop=stop))
        try:
            yield task
        finally:
            stop.set()
            await task

    def process(self, *kill: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, SCRIPT, self.path, *kill])
        self._processes.append(process)
        return process

    def is_worked_off(self) -> bool:
        committed = self.world.log.committed(GROUP)
        return all(
            committed.get(TopicPartition(INTERACTIONS, p), 0)
            == self.world.log.high_watermark(INTERACTIONS, p)
            for p in range(PARTITIONS)
        )

    def table(self) -> dict[bytes, bytes]:
        """Return what RocksDB holds of the histories."""
        folder = self.path / "tables" / GROUP / self.world.log.epoch
        rows: dict[bytes, bytes] = {}
        for path in sorted(folder.glob("worker-*/*.db")):
            database = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
            rows |= dict(database.items())
            database.close()
        return {key: value for key, value in rows.items() if is_history(key)}

    def changelog(self) -> dict[bytes, bytes]:
        rows = self.world.changelog_table()
        return {k: v for table in rows.values() for k, v in table.items() if is_history(k)}


def is_history(key: bytes) -> bool:
    return (
        not key.startswith(b"__faust")
        and key != APPLIED_KEY
        and split_key(key)[1] in {"h", "p", "r"}
    )


async def eventually(holds, deadline_s=DEADLINE_S):
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.01)


def wait_for(holds, deadline_s=DEADLINE_S):
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def calm_table(tmp_path, events):
    calm = World(tmp_path / "calm")
    calm.feed([single(each) for each in events])
    table = calm.table()
    calm.close()
    return table
