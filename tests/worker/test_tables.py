"""Tables that don't match the log are set aside and rebuilt; a full disk is waited out."""

import asyncio
import contextlib
import logging
import shutil
import time
from types import SimpleNamespace

import msgspec
import pytest
import rocksdict

from recstream.checkpoints import open_checkpoints
from recstream.control import read_timeline
from recstream.core.history import table_rows
from recstream.core.records import Forgotten
from recstream.errors import LogCorrupt, LogUnavailable
from recstream.log import CONTROL, INTERACTIONS
from recstream.log.faust import consumer
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord
from recstream.process import is_temporary
from recstream.process.warmup import warm_up
from recstream.replay.verify import verify_partition
from recstream.time_travel import Generations
from recstream.worker import process as worker
from recstream.worker.app import build_app
from recstream.worker.loop import WorkerLoop
from recstream.worker.rocksdb_rows import DAMAGED, OFFSET_KEY, RocksDBRows
from tests.worker.installation import DEADLINE_S, Installation, calm_table, eventually
from tests.worker.worker_world import CHANGELOG, PARTITIONS, event, single, some_events


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    warm_up()


async def work_off(place: Installation, events) -> None:
    place.world.log.append([single(each) for each in events])
    async with place.serving():
        await eventually(place.is_worked_off)


def restart_the_log(place: Installation) -> None:
    """Open the log's file again, after it was changed under us."""
    place.world.close()
    place.world = type(place.world)(place.path)


@pytest.mark.slow
@pytest.mark.parametrize("n_after", [0, 40], ids=["shorter", "grown-again"])
async def test_tables_of_a_future_that_was_restored_away_are_rebuilt(installation, caplog, n_after):
    events = some_events(120)
    await work_off(installation, events[:30])
    installation.world.close()
    shutil.copy(installation.path / "log.db", installation.path / "backup.db")
    restart_the_log(installation)
    await work_off(installation, events[30:60])

    installation.world.close()
    for left in installation.path.glob("log.db-*"):
        left.unlink()
    shutil.copy(installation.path / "backup.db", installation.path / "log.db")
    restart_the_log(installation)
    await work_off(installation, events[60 : 60 + n_after])

    expected = calm_table(installation.path, [*events[:30], *events[60 : 60 + n_after]])
    assert installation.table() == installation.changelog() == expected
    assert "table set aside" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["MANIFEST-*", "*.log"])
async def test_tables_that_were_cut_come_back_equal(installation, pattern):
    events = some_events(60)
    await work_off(installation, events[:30])
    for path in installation.path.glob(f"tables/*/*/worker-1/*.db/{pattern}"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])

    await work_off(installation, events[30:])

    assert installation.table() == installation.changelog() == calm_table(installation.path, events)


@pytest.mark.parametrize("damage", ["garbage", "missing"])
async def test_damaged_tables_are_set_aside_and_rebuilt(installation, caplog, damage):
    events = some_events(60)
    await work_off(installation, events[:30])
    for path in installation.path.glob("tables/*/*/worker-1/*.db/MANIFEST-*"):
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(b"\xff" * 100)

    await work_off(installation, events[30:])

    assert installation.table() == installation.changelog() == calm_table(installation.path, events)
    assert "table set aside" in caplog.text


def damage_a_block(table) -> None:
    """Change one byte in the middle of a table's rows."""
    database = rocksdict.Rdict(str(table), rocksdict.Options(raw_mode=True))
    database.compact_range(None, None)
    database.close()
    (file,) = table.glob("*.sst")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.slow
async def test_a_table_with_a_block_that_cant_be_read_is_rebuilt_at_the_next_start(
    installation, caplog
):
    events = [event(n, f"user-{n % 900}", f"p{n % 12}") for n in range(3_000)]
    await work_off(installation, events[:2_100])
    (table,) = installation.path.glob("tables/*/*/worker-1/*-0.db")
    damage_a_block(table)
    installation.world.log.append([single(each) for each in events[2_100:]])

    assert await asyncio.to_thread(installation.process().wait, DEADLINE_S) != 0
    await work_off(installation, [])

    assert installation.table() == installation.changelog() == calm_table(installation.path, events)
    assert "has a block that can't be read" in caplog.text


async def test_every_way_to_read_a_damaged_table_finds_and_marks_it(installation):
    await work_off(installation, [event(n, f"user-{n:04}", "p0") for n in range(3_000)])
    (folder,) = installation.path.glob("tables/*/*/worker-1")
    table = next(folder.glob("*-0.db"))
    options = rocksdict.Options(raw_mode=True)
    database = rocksdict.Rdict(str(table), options)
    users = sorted(
        {bytes(key).partition(b"\0")[0] for key, _ in database.items() if b"user" in key}
    )
    database.close()
    damage_a_block(table)
    database = rocksdict.Rdict(str(table), options)

    def rows() -> RocksDBRows:
        (table / DAMAGED).unlink(missing_ok=True)
        store = SimpleNamespace(
            _db_for_partition=lambda _: database,
            partition_path=lambda _: table,
            offset_key=OFFSET_KEY,
        )
        return RocksDBRows(SimpleNamespace(data=store), folder, deletes_others=False)

    reads = {
        "scan": lambda each: list(each.scan(0)),
        "keys_of": lambda each: [each.keys_of(0, user) for user in users],
        "get": lambda each: [each.get(0, user) for user in users],
    }
    found = {}
    for name, read in reads.items():
        each = rows()
        with pytest.raises(Exception, match="Corruption"):
            read(each)
        with pytest.raises(RuntimeError, match="must start again"):
            each.get(0, users[0])
        found[name] = (table / DAMAGED).exists()
    database.close()

    assert found == {"scan": True, "keys_of": True, "get": True}


async def test_a_table_is_deleted_when_it_is_opened_if_a_user_was_erased_since_the_start(
    installation,
):
    await work_off(installation, some_events(60))
    log, (folder,) = installation.world.log, installation.path.glob("tables/*/*/worker-1")
    paths = {p: next(folder.glob(f"*-{p}.db")) for p in range(PARTITIONS)}
    store = SimpleNamespace(
        _dbs={}, partition_path=paths.get, _try_open_db_for_partition=lambda _: None
    )
    rows = RocksDBRows(SimpleNamespace(data=store), folder, deletes_others=True)
    rows.prepare_with(log, open_checkpoints(log, installation.settings), CHANGELOG)
    for partition in paths:
        rows.prepare(partition)
    assert all(path.is_dir() for path in paths.values())

    erased = Forgotten(
        id="f", partition=1, at_offset=log.high_watermark(INTERACTIONS, 1), forgotten_ts=0
    )
    log.append([NewRecord(CONTROL, None, msgspec.json.encode(erased), 0)])
    for partition in paths:
        rows.prepare(partition)

    assert [partition for partition, path in paths.items() if not path.is_dir()] == [1]


async def test_tables_that_match_are_kept(installation, caplog):
    events = some_events(60)
    await work_off(installation, events[:30])
    await work_off(installation, events[30:])

    assert "set aside" not in caplog.text
    assert installation.table() == calm_table(installation.path, events)


async def test_tables_of_the_folder_that_workers_shared_are_taken_over(installation):
    events = some_events(60)
    await work_off(installation, events[:30])
    for path in installation.path.glob("tables/*/*/worker-1/*.db"):
        path.rename(path.parents[1] / path.name)

    await work_off(installation, events[30:])

    assert installation.table() == calm_table(installation.path, events)
    assert not list(installation.path.glob("tables/*/*/*.db"))


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 500])
async def test_a_log_that_can_not_be_read_is_refused_and_never_replaced(tmp_path, content):
    (tmp_path / "log.db").write_bytes(content)

    with pytest.raises(LogCorrupt):
        await worker.serve(Installation.settings_of(tmp_path))

    assert (tmp_path / "log.db").read_bytes() == content


async def test_a_full_disk_is_waited_out(installation, monkeypatch, caplog):
    monkeypatch.setattr(worker, "RESTART_S", 0.1)
    events = some_events(30)
    until = []
    write = RocksDBRows.write

    def full(rows, *arguments):
        until.append(time.monotonic() + 0.5)
        if time.monotonic() < until[0]:
            raise Exception("IO error: No space left on device: While appending to file")  # noqa: TRY002
        write(rows, *arguments)

    monkeypatch.setattr(RocksDBRows, "write", full)

    installation.world.log.append([single(each) for each in events[:15]])
    async with installation.serving() as task:
        await eventually(lambda: "worker starts again" in caplog.text)
        await eventually(lambda: time.monotonic() > until[0])  # so that the next rows are written
        installation.world.log.append([single(each) for each in events[15:]])
        await eventually(installation.is_worked_off)
        assert not task.done()

    assert installation.table() == installation.changelog() == calm_table(installation.path, events)


@pytest.mark.slow
async def test_a_worker_whose_end_takes_long_on_a_full_disk_starts_no_agent_again(
    installation, monkeypatch, caplog
):
    """Faust ends the process after 100 restarts of agents in a second."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(worker, "RESTART_S", 0.1)
    monkeypatch.setattr(consumer, "MAX_BATCH_RECORDS", 1)
    events = some_events(400)
    is_full = True
    write, settle = RocksDBRows.write, WorkerLoop.settle

    def full(rows, *arguments):
        if is_full:
            raise Exception("IO error: No space left on device: While appending to file")  # noqa: TRY002
        write(rows, *arguments)

    async def settle_late(loop):
        await asyncio.sleep(2.0)
        await settle(loop)

    monkeypatch.setattr(RocksDBRows, "write", full)
    monkeypatch.setattr(WorkerLoop, "settle", settle_late)

    installation.world.log.append([single(each) for each in events])
    async with installation.serving() as task:
        await eventually(lambda: "worker starts again" in caplog.text)
        is_full = False
        monkeypatch.setattr(WorkerLoop, "settle", settle)
        await eventually(installation.is_worked_off)
        assert not task.done()

    assert "Restarting dead" not in caplog.text
    assert installation.table() == installation.changelog() == calm_table(installation.path, events)


@pytest.mark.slow
async def test_no_list_follows_from_rows_that_are_older_than_the_log(installation, monkeypatch):
    """The log took a list, the table did not: the next list must know the one in the log."""
    monkeypatch.setattr(worker, "RESTART_S", 0.1)
    installation.announce(1)
    full = []
    new_batch = rocksdict.WriteBatch

    def batch(**options):
        if full:
            raise Exception("IO error: No space left on device: While appending to file")  # noqa: TRY002
        return new_batch(**options)

    monkeypatch.setattr(rocksdict, "WriteBatch", batch)
    log = installation.world.log
    async with installation.serving():
        for number in range(20):
            log.append([single(event(number, "u1", f"p{number % 12}"))])
            if number % 5 == 4:
                full.append(1)
                # Events that come while the worker ends are folded by it no more.
                for more in range(5):
                    log.append([single(event(100 * number + more, "u1", f"p{more}"))])
                    await asyncio.sleep(0.01)
                full.clear()
            await eventually(installation.is_worked_off, 25)
    assert len(installation.world.lists()) > 1

    found = [
        verify_partition(log, Generations(log, installation.store), read_timeline(log), partition)
        for partition in range(PARTITIONS)
    ]
    assert [each.differences for each in found] == [()] * PARTITIONS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"x"),
        (OFFSET_KEY, b"garbage"),
        (OFFSET_KEY, None),
        (b"\xff\xfe", b"x"),
        (b"\xff\0p0", b"x"),
        (b"u1\0p99", b"x"),
        (b"\0other", b"x"),
        (table_rows.APPLIED_KEY, b"\x93\0\0" + b"\x91" * 5_000),
        (b"u1", b"\x9e" + bytes(7) + b"\xc4\0" + bytes(2) + b"\x90\x90" + b"\x91" * 5_000),
        (b"u1\0p0", b"\x91\x98\xa0" + bytes(7) + b"\x91" * 5_000),
        (b"u1\0l", b"\x97\0\0\x90\xa0\xa0\0" + b"\x91" * 5_000),
    ],
    ids=lambda each: str(each)[:40],
)
async def test_a_changelog_record_that_no_worker_wrote_stops_no_recovery(installation, key, value):
    events = some_events(30)
    await work_off(installation, events[:20])
    is_users = key in {b"u1", b"u1\0p0", b"u1\0l"}
    places = [partition_for(b"u1", PARTITIONS)] if is_users else range(PARTITIONS)
    installation.world.log.append([NewRecord(CHANGELOG, key, value, each) for each in places])
    shutil.rmtree(installation.path / "tables")

    events.append(
        event(99, "u1", "p1")
    )  # rows that can't be read are made again when they are used
    await work_off(installation, events[20:])

    calm = calm_table(installation.path, events)
    assert {name: installation.table().get(name) for name in calm} == calm


def test_reads_after_an_append_that_failed_are_temporary_as_its_error_was(tmp_path):
    rows = RocksDBRows(None, tmp_path, deletes_others=False)
    rows.fail(LogUnavailable("no broker answers"))
    rows.fail(ValueError("a later one"))

    with pytest.raises(RuntimeError, match="no broker answers") as refused:
        rows.keys_of(0, b"u")

    assert is_temporary(refused.value)


def test_tables_are_not_used_after_an_append_without_an_answer(installation):
    sent = []

    def append_all(works):
        sent.append(works)
        raise LogUnavailable("no answer")

    app = build_app(installation.settings)
    app.consumer = SimpleNamespace(append_all=append_all)
    with app.held, contextlib.closing(app.worker_loop._feed):
        with pytest.raises(LogUnavailable):
            app.worker_loop.engine._append([])

        with pytest.raises(RuntimeError, match="no answer"):
            app.worker_loop.engine.state(0)
        # Nor is anything appended that follows from what was read before.
        with pytest.raises(RuntimeError, match="no answer"):
            app.worker_loop.engine._append([])
        assert sent == [[]]
