"""Backups: whole or refused, of one moment, and restored as a log of a new epoch."""

from __future__ import annotations

import json
import threading

import pytest

from recstream.checkpoints import open_checkpoints
from recstream.cli import run
from recstream.errors import BackupCorrupt, InvalidInput, NotFound, NotPossible, SchemaUnsupported
from recstream.log import CHECKPOINTS, INTERACTIONS, NewRecord, TopicSpec
from recstream.log.embedded import EmbeddedLog
from recstream.runtime.backup import create, restore, verify
from recstream.settings import Settings
from tests.checkpoints.made import make_checkpoint
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
    later = {"format": 9, "epoch": "e", "made_ts": 1, "offsets": {}, "files": {}}
    (tmp_path / "backup.json").write_text(json.dumps(later))
    with pytest.raises(SchemaUnsupported, match="recstream upgrade"):
        verify(tmp_path)


def test_a_failure_in_the_middle_leaves_no_backup(eventful, settings, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recstream.runtime.backup._copy_checkpoints", fail)
    with pytest.raises(OSError, match="No space"):
        create(eventful.log, settings, tmp_path / "backup", now_ms=1)

    assert not list(tmp_path.glob("*backup*"))
