"""Which checkpoints fit a log, and what happens to those that don't."""

import errno
import json

import msgspec
import pytest
import rocksdict

from recstream.checkpoints import Checkpoints, read_rows, write_checkpoint
from recstream.checkpoints.manifest import (
    decode_manifest,
    encode_manifest,
    file_name,
    manifest_name,
)
from recstream.checkpoints.table import OFFSET_KEY
from recstream.control import submit
from recstream.core.history.table_rows import APPLIED_KEY
from recstream.core.records import Forgotten
from recstream.errors import CheckpointCorrupt, ModelStoreUnavailable, NotFound, SchemaUnsupported
from recstream.log import CHECKPOINTS, NewRecord, TopicSpec
from recstream.log.embedded import EmbeddedLog
from recstream.settings import Settings
from recstream.time_travel import verify_checkpoints
from tests.checkpoints.conftest import MADE_MS
from tests.worker.worker_world import CHANGELOG, PARTITIONS


def test_a_checkpoint_is_announced_with_its_offsets_and_digest(tables):
    tables.feed(300)

    made = tables.checkpoint()

    assert made == tables.checkpoints.newest(0)
    assert made.offset == tables.log.high_watermark("recstream.interactions", 0)
    assert (made.epoch, made.partitions) == (tables.log.epoch, PARTITIONS)
    rows = dict(row for _, found in read_rows(tables.checkpoints.read(made)) for row in found)
    assert rows.items() <= tables.world.rows.rows[0].items()
    beside = tables.store.get(manifest_name(made.name))
    assert decode_manifest(beside) == made
    assert tables.checkpoint() is None  # nothing new


def test_the_nearest_checkpoint_before_an_offset_is_found(tables):
    tables.feed(100)
    first = tables.checkpoint()
    tables.feed(100, seed=1)
    second = tables.checkpoint()

    def before(partition, offset):
        found = tables.checkpoints.newest_readable(partition, offset)
        return found and found[0]

    assert tables.checkpoints.newest(0) == before(0, second.offset) == second
    assert before(0, second.offset - 1) == before(0, first.offset) == first
    assert before(0, first.offset - 1) is None
    assert tables.checkpoints.newest(1) is None


def test_workers_with_another_app_id_make_and_keep_checkpoints_of_their_own(tables):
    """Their changelog has other offsets, and here fewer records, as after a start from nothing."""
    tables.feed(100)
    of_old = [tables.checkpoint()]
    content = tables.checkpoints.read(of_old[0])
    tables.feed(100, seed=1)
    of_old.append(tables.checkpoint())
    other = {"changelog": "another", "changelog_offset": 3}
    name = file_name(0, of_old[0].offset, "0" * 32)
    of_new = msgspec.structs.replace(of_old[0], **other, name=name, digest="0" * 32)
    tables.checkpoints.put(of_new, content)

    tables.checkpoints.prune(0, Settings(keep_checkpoints=1))

    assert tables.checkpoints.newest(0) == tables.checkpoints.newest(0, CHANGELOG) == of_old[1]
    assert tables.checkpoints.newest(0, "another") == of_new
    assert tables.checkpoints.all(0) == [of_new, of_old[1]]
    with pytest.raises(CheckpointCorrupt):  # of_new has no right digest
        verify_checkpoints(tables.checkpoints, 0)
    assert verify_checkpoints(tables.checkpoints, 0, changelog=CHANGELOG).keys() == {of_old[1].name}
    tables.log.create_topics([TopicSpec("another", PARTITIONS, compacted=True)])
    tables.log.append([NewRecord("another", APPLIED_KEY, b"", 0)] * 10)
    database = rocksdict.Rdict(str(tables.table(0)), rocksdict.Options(raw_mode=True))
    database[OFFSET_KEY] = b"9"
    database.close()
    made = write_checkpoint(
        tables.checkpoints, tables.table(0), 0, "another", clock_ms=lambda: MADE_MS
    )
    assert (made.changelog, made.changelog_offset) == ("another", 9)


def checkpoint_of_another(tables, changelog="another"):
    """Make a checkpoint as workers with another ``app_id`` do whose table has equal rows."""
    tables.log.create_topics([TopicSpec(changelog, PARTITIONS, compacted=True)])
    tables.log.append([NewRecord(changelog, APPLIED_KEY, b"", 0)] * 10)
    database = rocksdict.Rdict(str(tables.table(0)), rocksdict.Options(raw_mode=True))
    of_table, database[OFFSET_KEY] = database[OFFSET_KEY], b"9"
    database.close()
    made = write_checkpoint(
        tables.checkpoints, tables.table(0), 0, changelog, clock_ms=lambda: MADE_MS
    )
    database = rocksdict.Rdict(str(tables.table(0)), rocksdict.Options(raw_mode=True))
    database[OFFSET_KEY] = of_table
    database.close()
    return made


def test_equal_tables_of_two_groups_of_workers_have_a_checkpoint_each(tables):
    tables.feed(100)
    made = tables.checkpoint()

    other = checkpoint_of_another(tables)

    assert (other.digest, other.offset) == (made.digest, made.offset)
    assert tables.checkpoints.newest(0, CHANGELOG) == made
    assert tables.checkpoints.newest(0, "another") == other
    assert tables.checkpoint() is None  # nothing new
    tables.checkpoints.remove(other)
    assert tables.checkpoints.all() == [made]
    assert tables.checkpoints.read(made)


def test_files_that_older_versions_named_without_the_changelog_are_used(tables):
    tables.feed(100)
    made = tables.checkpoint()
    content = tables.checkpoints.read(made)
    tables.checkpoints.remove(made)
    old = msgspec.structs.replace(made, name=file_name(0, made.offset, made.digest))
    tables.checkpoints.put(old, content)

    assert tables.checkpoint() is None
    assert tables.checkpoints.newest_readable(0) == (old, content)
    other = checkpoint_of_another(tables)
    assert tables.checkpoints.newest(0, CHANGELOG) == old
    tables.checkpoints.remove(old)
    assert tables.checkpoints.newest_readable(0) == (other, content)


def swap(path, content):
    path.unlink()
    path.write_bytes(content)


def link(path, target):
    path.unlink()
    path.symlink_to(target)


DAMAGE = {
    "cut": (CheckpointCorrupt, lambda path, _: swap(path, path.read_bytes()[:-100])),
    "empty": (CheckpointCorrupt, lambda path, _: swap(path, b"")),
    "other bytes": (CheckpointCorrupt, lambda path, _: swap(path, path.read_bytes()[:-1] + b"?")),
    "another partition's file": (CheckpointCorrupt, swap),
    "gone": (NotFound, lambda path, _: path.unlink()),
    "a folder": (OSError, lambda path, _: (path.unlink(), path.mkdir())),
    "a link to nothing": (NotFound, lambda path, _: link(path, "nothing")),
    "a link to itself": (OSError, lambda path, _: link(path, path)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_checkpoint_before_a_damaged_one_is_used(tables, damage, caplog):
    tables.feed(100)
    first = tables.checkpoint()
    other = tables.checkpoint(1)
    tables.feed(100, seed=1)
    second = tables.checkpoint()
    error, do = DAMAGE[damage]
    do(tables.store.folder / second.name, tables.checkpoints.read(other))

    with pytest.raises(error):
        tables.checkpoints.read(second)

    found = tables.checkpoints.newest_readable(0)
    assert found is not None
    assert found[0] == first
    assert second.name in caplog.text


@pytest.mark.parametrize("content", ["of other rows", "of no checkpoint"])
def test_a_file_whose_digest_is_right_and_rows_are_not_is_passed_over(tables, content):
    tables.feed(100)
    first = tables.checkpoint()
    tables.feed(100, seed=1)
    second = tables.checkpoint()
    tables.checkpoints.remove(second)
    raw = tables.checkpoints.read(first) if content == "of other rows" else b"PAR1 is no file"
    digest = tables.checkpoints.digest(raw)
    name = file_name(0, second.offset, digest)
    wrong = msgspec.structs.replace(second, name=name, digest=digest, size=len(raw))
    tables.checkpoints.put(wrong, raw)

    assert tables.checkpoints.newest(0) == wrong
    assert tables.checkpoints.newest_readable(0)[0] == first


@pytest.mark.parametrize("changes", [{"epoch": "another"}, {"partitions": 3}, {"schema": 99}])
def test_a_checkpoint_of_another_log_partition_count_or_schema_is_not_used(tables, changes):
    tables.feed(100)
    made = tables.checkpoint()

    tables.checkpoints.announce(msgspec.structs.replace(made, **changes))

    assert tables.checkpoints.all() == []


def test_an_unknown_schema_is_an_error_that_names_the_command(tables):
    tables.feed(100)
    made = tables.checkpoint()

    with pytest.raises(SchemaUnsupported, match="recstream upgrade"):
        decode_manifest(encode_manifest(msgspec.structs.replace(made, format=2)))


def test_a_file_that_may_not_be_read_is_not_used(tables, monkeypatch):
    tables.feed(100)
    tables.checkpoint()

    def refuse(name):
        raise PermissionError(errno.EACCES, "Permission denied", name)

    monkeypatch.setattr(tables.store, "get", refuse)
    assert tables.checkpoints.newest_readable(0) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"partition": -1},
        {"partition": 10**9},
        {"partition": 1},
        {"offset": -1},
        {"offset": 2**62},
        {"offset": 10**30},
        {"size": -5},
        {"n_users": -1},
        {"digest": "0" * 32},
        {"name": "../../log.db"},
        {"name": ""},
        {"offset": 1.5},
        {"partitions": None},
    ],
)
def test_announcements_that_can_not_be_stop_nobody(tables, changes):
    tables.feed(100)
    made = tables.checkpoint()
    raw = json.dumps(msgspec.to_builtins(made) | changes).encode()

    tables.log.append(
        [NewRecord(CHECKPOINTS, b"x%d" % n, each, 0) for n, each in enumerate((raw, b"", b"{}"))]
    )

    assert tables.checkpoints.all() == [made]
    assert tables.checkpoints.newest_readable(0)[0] == made
    assert tables.checkpoints.prune(0, Settings(keep_checkpoints=1)) == []


def test_a_log_from_before_checkpoints_has_none(tmp_path, tables):
    old = EmbeddedLog(tmp_path / "old.db", sync="normal")
    assert Checkpoints(old, tables.store).all() == []
    old.close()


def test_checkpoints_from_before_an_erasure_are_not_used_and_deleted(tables):
    tables.feed(100)
    before = tables.checkpoint()
    submit(tables.log, Forgotten(id="f", partition=0, at_offset=before.offset, forgotten_ts=0))

    assert tables.checkpoints.all() == []
    tables.checkpoints.remove_erased(0, before.offset)
    assert tables.store.list() == []

    tables.feed(100, seed=1)
    after = tables.checkpoint()
    tables.checkpoints.remove_erased(0, before.offset)
    assert tables.checkpoints.newest_readable(0)[0] == after


@pytest.mark.parametrize(
    ("fails_at", "error"),
    [
        (".json", OSError(errno.ENOSPC, "No space left on device")),
        (".parquet", OSError(errno.ENOSPC, "No space left on device")),
        (".parquet", ModelStoreUnavailable("the store is away")),
    ],
)
def test_without_space_or_store_the_checkpoint_before_stays(tables, monkeypatch, fails_at, error):
    tables.feed(100)
    first = tables.checkpoint()
    tables.feed(100, seed=1)
    whole = tables.store.put

    def put(name: str, content: bytes) -> None:
        if name.endswith(fails_at):
            raise error
        whole(name, content)

    monkeypatch.setattr(tables.store, "put", put)
    with pytest.raises(type(error)):
        tables.checkpoint()

    assert tables.checkpoints.all() == [first]
    assert tables.checkpoints.newest_readable(0)[0] == first
    monkeypatch.undo()
    assert tables.checkpoint().offset > first.offset


def test_a_lost_file_is_written_again_without_new_events(tables):
    tables.feed(100)
    made = tables.checkpoint()
    content = tables.checkpoints.read(made)
    tables.store.delete(made.name)

    assert tables.checkpoint() == made
    assert tables.checkpoints.read(made) == content
    assert tables.checkpoint() is None


def test_two_workers_may_write_the_same_checkpoint(tables):
    tables.feed(100)
    made = tables.checkpoint()

    tables.checkpoints.put(made, tables.checkpoints.read(made))

    assert tables.checkpoints.all() == [made]


@pytest.mark.parametrize("raw", [b'{"x":' + b"[" * 5000, b"", b"[]", b"\xff"])
def test_a_record_that_is_no_manifest_is_named(raw: bytes) -> None:
    with pytest.raises(CheckpointCorrupt, match="not the manifest of a checkpoint"):
        decode_manifest(raw)
