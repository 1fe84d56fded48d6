"""A table is read beside its owner, and written again from a checkpoint."""

import contextlib
import errno
import threading

import msgspec
import pytest
import rocksdict

from recstream.checkpoints import Job, job, restore_table, rows_by_key, run_job, table, write_table
from recstream.checkpoints.manifest import file_name
from recstream.core.history import table_rows
from recstream.errors import CheckpointCorrupt, CheckpointError, ModelStoreUnavailable, NotFound
from recstream.log import NewRecord
from recstream.settings import Settings
from recstream.time_travel import verify_checkpoints
from tests.checkpoints.conftest import MADE_MS
from tests.worker.worker_world import CHANGELOG, GROUP, PARTITIONS


def rows(path):
    database = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
    found = dict(database.items())
    database.close()
    return found


def test_a_lost_table_comes_back_byte_for_byte(tables, tmp_path):
    tables.feed(500)
    tables.checkpoint()

    assert restore_table(tables.checkpoints, 0, tmp_path / "new.db", CHANGELOG)

    assert rows(tmp_path / "new.db") == rows(tables.table(0))


def test_a_table_is_read_while_its_owner_writes(tables, tmp_path):
    tables.feed(200)
    expected = rows(tables.table(0))
    owner = rocksdict.Rdict(str(tables.table(0)), rocksdict.Options(raw_mode=True))

    made = tables.checkpoint()
    owner[b"later"] = b"x"
    owner.close()

    write_table(tables.checkpoints.read(made), made, tmp_path / "copy.db")
    assert rows(tmp_path / "copy.db") == expected


def test_a_view_that_was_opened_while_the_owner_flushed_is_opened_again(tables, monkeypatch):
    tables.feed(200)
    options = rocksdict.Options(raw_mode=True)
    options.set_disable_auto_compactions(True)  # a view that lacks a file is another error
    owner = rocksdict.Rdict(str(tables.table(0)), options)
    opened, flushes = [], 2
    open_database = rocksdict.Rdict

    def open_while_flushing(*arguments, **options):
        found = open_database(*arguments, **options)
        if len(opened) < flushes:
            owner[b"u1"] = owner[b"u1"]
            owner.flush()
        opened.append(found)
        return found

    monkeypatch.setattr(table.rocksdict, "Rdict", open_while_flushing)
    made = tables.checkpoint()

    assert len(opened) == flushes + 1
    assert made == tables.checkpoints.newest(0)
    flushes = 10**6
    tables.store.delete(made.name)
    with pytest.raises(CheckpointError, match="change too fast"):
        tables.checkpoint()
    assert not list(tables.store.folder.glob("*.parquet"))
    owner.close()


@pytest.mark.slow
def test_a_view_lacks_no_row_that_the_owner_wrote_before_the_newest_one(tmp_path):
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    options.set_write_buffer_size(1 << 20)  # flushed every 2,000 rows
    owner = rocksdict.Rdict(str(tmp_path / "t.db"), options)
    n_written, n_views = 0, 0
    stopping = threading.Event()

    def write() -> None:
        nonlocal n_written
        while not stopping.is_set():
            batch = rocksdict.WriteBatch(raw_mode=True)
            batch.put(b"%012d" % n_written, b"x" * 500)
            batch.put(b"newest", b"%d" % n_written)
            owner.write(batch)
            n_written += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while n_views < 15 and n_written < 200_000:
            with contextlib.suppress(CheckpointError), table._view(tmp_path / "t.db") as view:
                keys = [key for key in view.keys() if key != b"newest"]  # noqa: SIM118 - no mapping
                assert len(keys) == int(view.get(b"newest") or b"-1") + 1
                n_views += 1
    finally:
        stopping.set()
        writer.join()
        owner.close()
    assert n_views


def test_a_table_in_the_middle_of_its_recovery_gives_no_checkpoint(tables):
    tables.feed(50)
    made = tables.checkpoint()
    tables.feed(100, seed=1)
    records = tables.log.read(CHANGELOG, 0, made.changelog_offset + 1, 10_000)
    at = next(each.offset for each in records if each.key != table_rows.APPLIED_KEY)
    owner = rocksdict.Rdict(str(tables.table(0)), rocksdict.Options(raw_mode=True))
    owner[table.OFFSET_KEY] = b"%d" % at

    with pytest.raises(CheckpointError, match=f"offset {at}, ends no commit"):
        tables.checkpoint()

    assert tables.checkpoints.all(0) == [made]
    blank = [NewRecord(CHANGELOG, key, None, 0) for key in (table_rows.BLANK_KEY, None)]
    end = tables.log.append(blank)[-1].offset  # of an erasure: they end no commit and begin none
    owner[table.OFFSET_KEY] = b"%d" % end
    owner.close()
    assert tables.checkpoint().changelog_offset == end


def test_a_table_with_a_damaged_block_gives_no_checkpoint(tables):
    tables.feed(2_000)
    owner = rocksdict.Rdict(str(tables.table(0)), rocksdict.Options(raw_mode=True))
    owner.compact_range(None, None)
    keys = list(owner.keys())
    owner.close()
    (file,) = tables.table(0).glob("*.sst")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert len(rows(tables.table(0))) < len(keys)  # rocksdict's iterators raise nothing

    with pytest.raises(CheckpointError, match=r"Corruption.*delete the table"):
        tables.checkpoint()


def test_a_table_that_is_there_is_left_alone(tables):
    tables.feed(50)
    tables.checkpoint()

    assert not restore_table(tables.checkpoints, 0, tables.table(0), CHANGELOG)


@pytest.mark.parametrize("error", [ModelStoreUnavailable("away"), OSError(errno.ENOSPC, "full")])
def test_without_store_or_space_the_changelog_is_read_instead(tables, tmp_path, monkeypatch, error):
    tables.feed(100)
    tables.checkpoint()

    def fail(*_: object) -> None:
        raise error

    if isinstance(error, OSError):
        monkeypatch.setattr(table, "read_rows", fail)
    else:
        monkeypatch.setattr(tables.store, "get", fail)

    assert not restore_table(tables.checkpoints, 0, tmp_path / "new.db", CHANGELOG)
    assert not list(tmp_path.glob("new.db*"))


def test_a_file_with_too_few_users_is_refused(tables, tmp_path):
    tables.feed(100)
    made = tables.checkpoint()
    wrong = msgspec.structs.replace(made, n_users=99)

    with pytest.raises(CheckpointCorrupt, match="must hold 99 users"):
        write_table(tables.checkpoints.read(made), wrong, tmp_path / "new.db")

    assert not list(tmp_path.glob("new.db*"))


@pytest.mark.parametrize("ahead", [{"changelog_offset": 10**6}, {"offset": 10**6}])
def test_the_checkpoint_before_one_that_is_ahead_of_the_log_is_used(tables, tmp_path, ahead):
    tables.feed(100)
    before = tables.checkpoint()
    expected = rows(tables.table(0))
    tables.feed(100, seed=1)
    made = tables.checkpoint()
    content = tables.checkpoints.read(made)
    tables.checkpoints.remove(made)
    changed = msgspec.structs.replace(made, **ahead)
    name = file_name(changed.partition, changed.offset, changed.digest)
    tables.checkpoints.put(msgspec.structs.replace(changed, name=name), content)

    assert restore_table(tables.checkpoints, 0, tmp_path / "new.db", CHANGELOG)

    assert rows(tmp_path / "new.db") == expected
    assert tables.checkpoints.newest_readable(0, changelog=CHANGELOG)[0] == before


def test_what_is_no_table_is_a_named_error(tables):
    with pytest.raises(NotFound, match="there is no table"):
        tables.checkpoint(1)


def test_rows_are_looked_up_by_key(tables, tmp_path):
    tables.feed(100)
    made = tables.checkpoint()
    user = next(key for key in tables.world.rows.rows[0] if b"\0" not in key)

    with rows_by_key(tables.checkpoints.read(made), made, tmp_path / "work") as get:
        assert get(user) == tables.world.rows.rows[0][user]
        assert get(b"nobody") is None
    assert not list((tmp_path / "work").iterdir())


def test_a_checkpoint_of_workers_with_another_app_id_is_not_used(tables, tmp_path, caplog):
    tables.feed(50)
    tables.checkpoint()

    assert not restore_table(tables.checkpoints, 0, tmp_path / "new.db", "another-changelog")
    assert "not of another-changelog" in caplog.text


def test_a_row_that_can_not_be_read_stops_the_checkpoint_of_its_own_partition_alone(
    tables, monkeypatch
):
    tables.feed(200)
    database = rocksdict.Rdict(str(tables.table(0)), rocksdict.Options(raw_mode=True))
    user = next(key for key, _ in database.items() if b"\0" not in key)
    database[user] = b"x"
    database.close()
    monkeypatch.setattr(job, "open_log", lambda *_: contextlib.nullcontext(tables.log))
    monkeypatch.setattr(job, "open_checkpoints", lambda *_: tables.checkpoints)
    monkeypatch.setattr(job.contextlib, "closing", lambda opened: opened)
    work = Job(
        settings=Settings(app_id=GROUP),
        tables={partition: str(tables.table(partition)) for partition in range(PARTITIONS)},
    )

    verified = []

    with pytest.raises(CheckpointError, match=f"partition 0: .*of user '{user.decode()}' can't be"):
        run_job(
            work, clock_ms=lambda: MADE_MS, verify=lambda _, partition: verified.append(partition)
        )

    assert verified == [*range(PARTITIONS)]
    assert tables.checkpoints.newest(0) is None
    assert all(tables.checkpoints.newest(partition) for partition in range(1, PARTITIONS))


def test_a_wrong_checkpoint_stops_the_verification_of_its_own_partition_alone(tables, monkeypatch):
    tables.feed(200)
    monkeypatch.setattr(job, "open_log", lambda *_: contextlib.nullcontext(tables.log))
    monkeypatch.setattr(job, "open_checkpoints", lambda *_: tables.checkpoints)
    monkeypatch.setattr(job.contextlib, "closing", lambda opened: opened)
    wrong, right = tables.checkpoint(0), tables.checkpoint(1)
    tables.store.put(wrong.name, b"PAR1")

    with pytest.raises(CheckpointError, match=f"^partition 0: {wrong.name} must have"):
        run_job(
            Job(settings=Settings(app_id=GROUP), tables={n: str(tables.table(n)) for n in (0, 1)}),
            clock_ms=lambda: MADE_MS,
            verify=verify_checkpoints,
        )

    assert [each.is_verified for each in tables.checkpoints.all()] == [False, True]
    assert tables.checkpoints.newest(1).name == right.name
