"""Files that are no log, damaged, cut off, full or locked: they are named, and left as they are."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from recstream.errors import InvalidSetting, LogCorrupt, LogUnavailable
from recstream.log import open_log
from recstream.log.embedded import EmbeddedLog
from recstream.log.port import NewRecord
from recstream.log.topics import TopicSpec

TOPIC = "t"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(path, sync="normal")
    log.create_topics([TopicSpec(TOPIC, 2)])
    yield log
    log.close()


def test_a_file_that_is_no_database_is_named_as_corrupt(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to look at" * 100)

    with pytest.raises(LogCorrupt, match=f"{path}.*backup"):
        EmbeddedLog(path)


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()

    with pytest.raises(LogCorrupt, match="not a recstream log"):
        EmbeddedLog(path)

    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    connection.close()


def test_a_log_of_a_later_format_is_not_guessed_at(log: EmbeddedLog, path: Path) -> None:
    with log.storage.write() as connection:
        connection.execute("PRAGMA user_version=99")

    with pytest.raises(LogCorrupt, match="format 99, this version reads format 1"):
        EmbeddedLog(path)


def test_a_flipped_bit_in_a_segment_is_noticed(log: EmbeddedLog) -> None:
    log.append([NewRecord(TOPIC, None, b"precious", 0)])
    with log.storage.write() as connection:
        connection.execute(
            "UPDATE segments SET data = CAST(replace(data, 'precious', 'preciouz') AS BLOB)"
        )

    with pytest.raises(LogCorrupt, match=r"t\[0\]@0.*checksum"):
        log.read(TOPIC, 0, 0)


def test_a_torn_file_is_corrupt_not_empty(log: EmbeddedLog, path: Path) -> None:
    for n in range(200):
        log.append([NewRecord(TOPIC, None, b"%d" % n * 1000, 0)])
    log.close()
    torn = path.with_name("torn.db")
    shutil.copy(path, torn)
    os.truncate(torn, torn.stat().st_size // 2)

    with pytest.raises(LogCorrupt, match=r"torn\.db"):
        EmbeddedLog(torn).read(TOPIC, 0, 0)


def test_a_full_disk_is_unavailable_and_the_next_append_works(log: EmbeddedLog) -> None:
    log.append([NewRecord(TOPIC, None, b"before", 0)])
    with log.storage.write() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    log.storage._writer.execute(f"PRAGMA max_page_count={pages + 2}")

    with pytest.raises(LogUnavailable, match=rf"{log.path}.*full.*free some space"):
        log.append([NewRecord(TOPIC, None, b"x" * 500_000, 0)])

    log.storage._writer.execute("PRAGMA max_page_count=1000000")
    log.append([NewRecord(TOPIC, None, b"after", 0)])
    assert [each.value for each in log.read(TOPIC, 0, 0)] == [b"before", b"after"]


def test_a_folder_that_may_not_be_written_is_named() -> None:
    # Here not even root may make a file.
    with pytest.raises(LogUnavailable, match=r"/proc/self/log\.db: .*may be written"):
        EmbeddedLog("/proc/self/log.db")


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(LogUnavailable, match=f"{tmp_path}/file/log.db"):
        EmbeddedLog(tmp_path / "file" / "log.db")


def test_a_log_held_by_another_writer_is_unavailable_after_the_timeout(path: Path) -> None:
    log = EmbeddedLog(path, busy_timeout_s=0.05)
    log.create_topics([TopicSpec(TOPIC, 1)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(LogUnavailable, match="another process has locked"):
        log.append([NewRecord(TOPIC, None, b"v", 0)])

    other.execute("ROLLBACK")
    other.close()
    log.append([NewRecord(TOPIC, None, b"v", 0)])
    log.close()


def test_a_log_whose_folder_was_deleted_is_unavailable_and_not_made_again(
    log: EmbeddedLog, path: Path
) -> None:
    shutil.rmtree(path.parent)
    log.storage._idle.clear()

    with pytest.raises(LogUnavailable, match="check that the folder exists"):
        log.read(TOPIC, 0, 0)

    assert not path.exists()


def test_a_closed_log_says_so(log: EmbeddedLog) -> None:
    log.close()

    with pytest.raises(LogUnavailable, match="closed"):
        log.read(TOPIC, 0, 0)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("embedded://relative/log.db", "absolute"),
        ("embedded:///", "absolute"),
        ("embedded:///tmp/x.db?sync=maybe", "full or normal"),
        ("embedded:///tmp/x.db?colour=red", "colour"),
        ("redis:///tmp/x.db", "embedded:///path or kafka"),
    ],
)
def test_a_url_that_can_not_be_meant_is_refused(url: str, what: str) -> None:
    with pytest.raises(InvalidSetting, match=what):
        open_log(url)


def test_an_empty_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.touch()

    with pytest.raises(LogCorrupt, match=r"is empty \(0 bytes\).*backup"):
        EmbeddedLog(path)

    assert path.stat().st_size == 0
    assert list(tmp_path.iterdir()) == [path]


def test_a_log_whose_records_are_only_in_a_write_ahead_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    wal = tmp_path / "log.db-wal"
    wal.write_bytes(b"frames")

    with pytest.raises(LogCorrupt, match=r"log\.db-wal"):
        EmbeddedLog(path)

    assert not path.exists()
    assert wal.read_bytes() == b"frames"


@pytest.mark.parametrize("content", [b"\0", b"\0" * 8192, b"SQLite format 3\0", b"\n" * 300])
def test_a_cut_or_overwritten_file_is_refused_and_left_as_it_is(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(content)

    with pytest.raises(LogCorrupt):
        EmbeddedLog(path)

    assert path.read_bytes() == content


def test_a_database_without_tables_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    connection = sqlite3.connect(path)
    connection.execute("VACUUM")
    connection.close()

    with pytest.raises(LogCorrupt):
        EmbeddedLog(path)


def test_a_log_that_was_cut_off_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(EmbeddedLog(path)) as log:
        log.create_topics([TopicSpec(TOPIC, 1)])
        for _ in range(20):
            log.append([NewRecord(TOPIC, None, os.urandom(20_000), 0)])
        log.storage.checkpoint()
    whole = path.read_bytes()
    path.with_name("log.db-wal").unlink(missing_ok=True)
    path.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(LogCorrupt, match=r"is cut off \("):
        EmbeddedLog(path)

    assert path.read_bytes() == whole[: len(whole) // 2]
    path.write_bytes(whole)
    with closing(EmbeddedLog(path)) as log:
        assert log.high_watermark(TOPIC, 0) == 20
