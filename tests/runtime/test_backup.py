"""Backups: whole or refused, of one moment, and restored as a log of a new epoch."""

import json
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from recstream.checkpoints import open_checkpoints
from recstream.cli import run
from recstream.errors import (
    BackupCorrupt,
    InvalidInput,
    LogUnavailable,
    NotFound,
    NotPossible,
    SchemaUnsupported,
)
from recstream.log import CHECKPOINTS, INTERACTIONS, NewRecord, TopicSpec, topic_specs
from recstream.log.embedded import EmbeddedLog
from recstream.runtime import backup
from recstream.runtime.backup import create, restore, verify
from recstream.settings import Settings
from tests.checkpoints.made import make_checkpoint
from tests.full_disk import files_of_at_most
from tests.replay.conftest import eventful, world

__all__ = ["eventful", "world"]


@pytest.fixture
def settings(eventful, tmp_path):
    """The settings of an eventful log, with a checkpoint of each partition."""
    settings = Settings(data_dir=str(tmp_path), partitions=2)
    eventful.log.create_topics([TopicSpec(CHECKPOINTS, 1, compacted=True)])
    checkpoints = open_checkpoints(eventful.log, settings)
    for partition in range(2):
        end = eventful.log.high_watermark(INTERACTIONS, partition)
        make_checkpoint(checkpoints, partition, end // 2, eventful.changelog)
    return settings


def replayed(folder, capsys):
    code = run(["replay", "--verify", "--retrain", "--json", "--data-dir", str(folder)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


def test_a_restored_log_verifies_and_has_a_new_epoch(eventful, settings, tmp_path, capsys):
    made = create(eventful.log, settings, tmp_path / "backup", now_ms=1)
    before = replayed(tmp_path, capsys)
    assert verify(tmp_path / "backup") == made
    assert {name for name in made.files if "/" not in name} == {"log.db"}

    there = Settings(data_dir=str(tmp_path / "there"), partitions=2)
    _, epoch = restore(tmp_path / "backup", there)

    after = replayed(tmp_path / "there", capsys)
    assert after["epoch"] == epoch != before["epoch"]
    assert after["partitions"] == before["partitions"]
    assert after["generations"] == before["generations"]
    log = EmbeddedLog(tmp_path / "there" / "log.db")
    found = open_checkpoints(log, there)
    assert [each.partition for each in found.all()] == [0, 1]
    assert all(found.read(each) for each in found.all())
    assert {topic: log.partitions(topic) for topic in log.topics()} == eventful.log.topics()
    log.close()
    assert not list((tmp_path / "there").glob(".*"))


def test_the_copy_is_of_one_moment_while_records_come(settings, eventful, tmp_path):
    log = eventful.log
    log.create_topics([TopicSpec("a", 1), TopicSpec("b", 1)])
    stopping = threading.Event()

    def append() -> None:
        while not stopping.is_set():
            log.append([NewRecord("a", None, b"1", 0), NewRecord("b", None, b"1", 0)])

    thread = threading.Thread(target=append)
    thread.start()
    try:
        made = [create(log, settings, tmp_path / f"b{n}", now_ms=1) for n in range(3)]
    finally:
        stopping.set()
        thread.join()

    assert all(each.offsets["a"] == each.offsets["b"] for each in made)


@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
def test_a_damaged_backup_is_found_and_nothing_is_restored(eventful, settings, tmp_path, damage):
    made = create(eventful.log, settings, tmp_path / "backup", now_ms=1)
    name = next(name for name in made.files if name.startswith("models/"))
    path = tmp_path / "backup" / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "cut" else content[:-9] + bytes(9))

    with pytest.raises(BackupCorrupt, match="use another backup"):
        restore(tmp_path / "backup", Settings(data_dir=str(tmp_path / "there")))

    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    "harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1")]
)
def test_a_checkpoint_that_is_gone_or_damaged_stops_no_backup(
    eventful, settings, tmp_path, harm, capsys
):
    checkpoints = open_checkpoints(eventful.log, settings)
    lost, kept = checkpoints.all()
    harm(checkpoints.store.folder / lost.name)

    made = create(eventful.log, settings, tmp_path / "copy", now_ms=1)

    assert f"checkpoints/{kept.name}" in made.files
    assert f"checkpoints/{lost.name}" not in made.files
    restored = tmp_path / "restored"
    restore(tmp_path / "copy", msgspec.structs.replace(settings, data_dir=str(restored)))
    assert replayed(restored, capsys)["is_identical"]


def test_a_backup_never_overwrites(eventful, settings, tmp_path):
    create(eventful.log, settings, tmp_path / "backup", now_ms=1)

    with pytest.raises(InvalidInput, match="new or empty"):
        create(eventful.log, settings, tmp_path / "backup", now_ms=1)
    with pytest.raises(InvalidInput, match="there is a log"):
        restore(tmp_path / "backup", settings)
    with pytest.raises(NotPossible, match="embedded"):
        restore(tmp_path / "backup", Settings(broker="kafka://127.0.0.1:1"))


def test_what_is_no_backup_is_a_named_error(tmp_path):
    with pytest.raises(NotFound, match="there is no backup"):
        verify(tmp_path)
    (tmp_path / "backup.json").write_text("{}")
    with pytest.raises(BackupCorrupt, match="can't be read"):
        verify(tmp_path)
    later = {"format": 9, "era": "e"}
    (tmp_path / "backup.json").write_text(json.dumps(later))
    with pytest.raises(SchemaUnsupported, match="recstream upgrade"):
        verify(tmp_path)


def test_a_log_is_not_restored_beside_the_rest_of_another(eventful, settings, tmp_path):
    create(eventful.log, settings, tmp_path / "backup", now_ms=1)
    there = tmp_path / "there"
    there.mkdir()
    (there / "log.db-wal").write_bytes(b"of a log that was killed and moved away")

    with pytest.raises(InvalidInput, match=r"log.db\* away"):
        restore(tmp_path / "backup", Settings(data_dir=str(there), partitions=2))

    assert [path.name for path in there.iterdir()] == ["log.db-wal"]


def test_two_at_once_keep_out_of_each_others_way(eventful, settings, tmp_path, monkeypatch):
    there = Settings(data_dir=str(tmp_path / "there"), partitions=2)
    copy, refused = backup._copy_checkpoints, []

    def copy_while_another_begins(*arguments):
        with pytest.raises(InvalidInput, match="wait until it has ended") as error:
            create(eventful.log, settings, tmp_path / "backup", now_ms=2)
        refused.append(error)
        copy(*arguments)

    monkeypatch.setattr(backup, "_copy_checkpoints", copy_while_another_begins)
    made = create(eventful.log, settings, tmp_path / "backup", now_ms=1)
    assert verify(tmp_path / "backup") == made
    restore_files = backup._restore_files

    def restore_while_another_begins(*arguments):
        with pytest.raises(InvalidInput, match="wait until it has ended") as error:
            restore(tmp_path / "backup", there)
        refused.append(error)
        restore_files(*arguments)

    monkeypatch.setattr(backup, "_restore_files", restore_while_another_begins)
    restore(tmp_path / "backup", there)
    assert len(refused) == 2


def test_what_a_killed_process_left_is_not_in_the_next_backup(eventful, settings, tmp_path):
    left = tmp_path / "backup"
    (left / "models").mkdir(parents=True)
    (left / "models" / "half.npz").write_bytes(b"?")
    (left / "log.db").write_bytes(b"?")
    (left / ".unfinished").touch()
    with pytest.raises(NotFound, match="there is no backup"):
        verify(left)

    made = create(eventful.log, settings, tmp_path / "backup", now_ms=1)

    assert verify(tmp_path / "backup") == made
    assert "models/half.npz" not in made.files
    assert not list(left.glob(".*"))


def test_only_the_files_that_a_backup_names_are_restored(eventful, settings, tmp_path):
    create(eventful.log, settings, tmp_path / "backup", now_ms=1)
    (tmp_path / "backup" / "models" / "stranger.npz").write_bytes(b"?")

    restore(tmp_path / "backup", Settings(data_dir=str(tmp_path / "there"), partitions=2))

    assert not (tmp_path / "there" / "models" / "stranger.npz").exists()
    assert list((tmp_path / "there" / "models").iterdir())


def test_a_backup_of_a_log_without_models_is_restored_without_its_empty_folders(tmp_path):
    data, there = (Settings(data_dir=str(tmp_path / name), partitions=2) for name in "ab")
    data.path().mkdir()
    with closing(EmbeddedLog(data.path("log.db"))) as log:
        log.create_topics(topic_specs(2))
        create(log, data, tmp_path / "backup", now_ms=1)
    for folder in ("models", "checkpoints"):
        (tmp_path / "backup" / folder).rmdir()

    restore(tmp_path / "backup", there)

    assert there.path("log.db").exists()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "models/../../x", "models/..", "tables/x", "/etc/passwd", ""]
)
def test_contents_that_name_other_files_are_refused(eventful, settings, tmp_path, name):
    create(eventful.log, settings, tmp_path / "backup", now_ms=1)
    path = tmp_path / "backup" / "backup.json"
    contents = json.loads(path.read_text())
    contents["files"][name] = {"size": 0, "digest": ""}
    path.write_text(json.dumps(contents))

    with pytest.raises(BackupCorrupt, match=r"must name log\.db"):
        verify(tmp_path / "backup")
    contents["files"] = {}
    path.write_text(json.dumps(contents))
    with pytest.raises(BackupCorrupt, match=r"no log.db"):
        verify(tmp_path / "backup")


def test_a_failure_in_the_middle_leaves_no_backup(eventful, settings, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recstream.runtime.backup._copy_checkpoints", fail)
    with pytest.raises(OSError, match="No space"):
        create(eventful.log, settings, tmp_path / "backup", now_ms=1)

    assert not list((tmp_path / "backup").iterdir())


def test_a_copy_that_does_not_fit_names_its_own_disk(eventful, settings, tmp_path):
    with files_of_at_most(20_000), pytest.raises(LogUnavailable, match=f"{tmp_path}/backup"):
        create(eventful.log, settings, tmp_path / "backup", now_ms=1)

    assert not list((tmp_path / "backup").iterdir())


def test_other_files_in_an_unfinished_backup_are_kept(eventful, settings, tmp_path):
    left = tmp_path / "backup"
    left.mkdir()
    (left / ".unfinished").touch()
    (left / "letter.txt").write_text("mine")

    with pytest.raises(InvalidInput, match="has files"):
        create(eventful.log, settings, left, now_ms=1)

    assert [path.name for path in left.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("name", [".", "link", "link-to-nothing"])
def test_a_backup_is_made_in_the_folder_itself(eventful, settings, tmp_path, name, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "link-to-nothing").symlink_to("nothing")
    inode = (tmp_path / "empty").stat().st_ino  # a mount point can't be replaced by another folder
    monkeypatch.chdir(tmp_path / "empty" if name == "." else tmp_path)

    made = create(eventful.log, settings, Path(name), now_ms=1)

    assert verify(Path(name)) == made
    assert (tmp_path / "empty").stat().st_ino == inode


def test_a_log_that_is_a_link_to_a_missing_disk_is_not_replaced(eventful, settings, tmp_path):
    create(eventful.log, settings, tmp_path / "backup", now_ms=1)
    there = tmp_path / "there"
    there.mkdir()
    (there / "log.db").symlink_to("/missing/disk/log.db")

    with pytest.raises(InvalidInput, match="there is a log"):
        restore(tmp_path / "backup", Settings(data_dir=str(there), partitions=2))

    assert (there / "log.db").is_symlink()


def test_what_sqlite_could_not_move_into_the_file_fails_the_restore(
    eventful, settings, tmp_path, monkeypatch
):
    create(eventful.log, settings, tmp_path / "backup", now_ms=1)
    close = EmbeddedLog.close

    def close_on_a_full_disk(log):
        close(log)
        log.storage.path.with_name(f"{log.storage.path.name}-wal").touch()

    monkeypatch.setattr(EmbeddedLog, "close", close_on_a_full_disk)
    there = Settings(data_dir=str(tmp_path / "there"), partitions=2)
    with pytest.raises(LogUnavailable, match="free some space"):
        restore(tmp_path / "backup", there)

    assert not there.path("log.db").exists()


@pytest.mark.parametrize("broker", ["embedded://", "embedded://relative/log.db", "embedded:///"])
def test_a_log_without_a_place_is_not_restored(eventful, settings, tmp_path, broker):
    create(eventful.log, settings, tmp_path / "backup", now_ms=1)

    with pytest.raises(InvalidInput, match="absolute/path"):
        restore(tmp_path / "backup", Settings(broker=broker))
