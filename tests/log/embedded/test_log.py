"""What only the embedded log promises: processes, crashes, bad files, epochs."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from recstream.errors import (
    InvalidInput,
    InvalidSetting,
    LogCorrupt,
    LogFenced,
    LogUnavailable,
    NotFound,
)
from recstream.log import open_log
from recstream.log.embedded import EmbeddedLog
from recstream.log.embedded.segments import MAX_BYTES
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import TopicSpec

TOPIC = "t"
DEADLINE_S = 60.0

APPENDS_FOR_EVER = """
import sys
from recstream.log import open_log
from recstream.log.port import NewRecord
log = open_log(sys.argv[1])
n = 0
while True:
    positions = log.append([NewRecord("t", None, b"%d/%d" % (n, i), i % 2) for i in range(10)])
    print(n, positions[-1].offset, flush=True)
    n += 1
"""

APPENDS_SOME = """
import sys
from recstream.log import open_log
from recstream.log.port import NewRecord
log = open_log(sys.argv[1])
for n in range(int(sys.argv[3])):
    log.append([NewRecord("t", None, f"{sys.argv[2]}/{n}".encode(), 0)])
log.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(path, sync="normal")
    log.create_topics([TopicSpec(TOPIC, 2)])
    yield log
    log.close()


def run(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def values(log: EmbeddedLog, partition: int) -> list[bytes]:
    found: list[bytes] = []
    offset = 0
    while records := log.read(TOPIC, partition, offset):
        assert [r.offset for r in records] == list(range(offset, offset + len(records)))
        found += [r.value or b"" for r in records]
        offset = records[-1].offset + 1
    return found


def test_processes_that_append_at_once_all_find_their_records_in_order(
    log: EmbeddedLog, path: Path
) -> None:
    workers = [run(APPENDS_SOME, f"embedded://{path}?sync=normal", name, 150) for name in "abc"]

    for worker in workers:
        assert worker.wait(DEADLINE_S) == 0
        assert worker.stdout is not None
        worker.stdout.close()

    found = values(log, 0)
    assert len(found) == 450
    for name in "abc":
        mine = [value for value in found if value.startswith(name.encode())]
        assert mine == [f"{name}/{n}".encode() for n in range(150)]


@pytest.mark.parametrize("sync", ["full", "normal"])
def test_a_killed_process_loses_nothing_it_was_told_and_tears_nothing(
    log: EmbeddedLog, path: Path, sync: str
) -> None:
    worker = run(APPENDS_FOR_EVER, f"embedded://{path}?sync={sync}")
    assert worker.stdout is not None
    told = [worker.stdout.readline() for _ in range(20)]

    worker.send_signal(signal.SIGKILL)
    told += worker.stdout.read().splitlines(keepends=True)
    worker.wait(DEADLINE_S)
    worker.stdout.close()

    n_told = len([line for line in told if line.endswith("\n")])
    by_partition = [values(log, 0), values(log, 1)]
    n_there = len(by_partition[0]) // 5
    assert n_told <= n_there <= n_told + 1
    for partition, found in enumerate(by_partition):
        batches = [[b"%d/%d" % (n, i) for i in range(partition, 10, 2)] for n in range(n_there)]
        assert found == [value for batch in batches for value in batch]


def test_a_tail_in_another_process_is_woken_within_milliseconds(
    log: EmbeddedLog, path: Path
) -> None:
    tails = run(
        "import sys\nfrom recstream.log import open_log\n"
        "from recstream.log.port import TopicPartition\n"
        "tail = open_log(sys.argv[1]).tail({TopicPartition('t', 0): 0})\n"
        "print('ready', flush=True)\n"
        "n = 0\n"
        "while n < 20:\n"
        "    for record in tail.poll(10.0):\n"
        "        n += 1\n"
        "        print(record.value.decode(), flush=True)\n",
        f"embedded://{path}",
    )
    assert tails.stdout is not None
    tails.stdout.readline()
    latencies: list[float] = []

    for n in range(20):
        began = time.perf_counter()
        log.append([NewRecord(TOPIC, None, b"%d" % n, 0)])
        assert int(tails.stdout.readline()) == n
        latencies.append(time.perf_counter() - began)

    tails.wait(DEADLINE_S)
    tails.stdout.close()
    assert sorted(latencies)[10] < 0.25  # the fallback would be 0.5; typical is 0.0005


def test_a_batch_of_any_size_is_one_append(log: EmbeddedLog) -> None:
    big = b"x" * (MAX_BYTES // 3)
    records = [NewRecord(TOPIC, None, big, 0) for _ in range(7)]
    records += [NewRecord(TOPIC, None, b"%d" % n, 1) for n in range(3_456)]

    positions = log.append(records)

    assert [p.offset for p in positions] == [*range(7), *range(3_456)]
    assert values(log, 0) == [big] * 7
    assert values(log, 1) == [b"%d" % n for n in range(3_456)]


def test_a_batch_that_is_refused_leaves_its_neighbours_alone(log: EmbeddedLog) -> None:
    with log.storage.write() as connection:
        connection.execute("INSERT INTO owners VALUES ('g', 't', 0, 'somebody')")
    results: list[str] = []

    def work(number: int) -> None:
        offsets = {TopicPartition(TOPIC, 0): 1} if number % 2 else None
        try:
            log.append(
                [NewRecord(TOPIC, None, b"%d" % number, 0)],
                group="g" if offsets else None,
                offsets=offsets,
                member="me" if offsets else None,
            )
            results.append("written")
        except LogFenced:
            results.append("fenced")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == ["fenced"] * 10 + ["written"] * 10
    assert sorted(values(log, 0), key=int) == [b"%d" % number for number in range(0, 20, 2)]
    assert log.committed("g") == {}


def test_a_record_whose_value_is_text_is_refused(log: EmbeddedLog) -> None:
    with pytest.raises(InvalidInput, match="bytes or None, got str; record 1"):
        log.append([NewRecord(TOPIC, None, b"v", 0), NewRecord(TOPIC, None, "v", 0)])  # type: ignore[arg-type]


def test_offsets_without_a_group_are_refused(log: EmbeddedLog) -> None:
    with pytest.raises(InvalidInput, match="group"):
        log.append([], offsets={TopicPartition(TOPIC, 0): 1})


def test_a_member_never_moves_its_offsets_back(log: EmbeddedLog) -> None:
    tp = TopicPartition(TOPIC, 0)
    with log.storage.write() as connection:
        connection.execute("INSERT INTO owners VALUES ('g', 't', 0, 'me')")

    log.append([], group="g", offsets={tp: 7}, member="me")
    log.append([], group="g", offsets={tp: 5}, member="me")

    assert log.committed("g") == {tp: 7}


def test_a_log_made_again_at_the_same_place_has_another_epoch(path: Path) -> None:
    first = EmbeddedLog(path)
    first.close()
    for file in path.parent.iterdir():
        file.unlink()

    second = EmbeddedLog(path)

    assert second.epoch != first.epoch
    with pytest.raises(NotFound):
        second.partitions(TOPIC)
    second.close()


def test_two_processes_that_make_a_log_at_once_agree_on_its_epoch(path: Path) -> None:
    program = "import sys\nfrom recstream.log import open_log\nprint(open_log(sys.argv[1]).epoch)"
    makers = [run(program, f"embedded://{path}") for _ in range(4)]

    epochs = {maker.communicate(timeout=DEADLINE_S)[0] for maker in makers}

    assert len(epochs) == 1
    assert len(epochs.pop()) == 27


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
    assert values(log, 0) == [b"before", b"after"]


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


def test_another_process_that_comes_and_goes_leaves_a_log_that_is_open_twice_here(tmp_path):
    first = EmbeddedLog(tmp_path / "log.db")
    first.create_topics([TopicSpec("t", 1)])
    second = EmbeddedLog(tmp_path / "log.db")
    program = (
        "import sys; from recstream.log.embedded import EmbeddedLog\n"
        "log = EmbeddedLog(sys.argv[1]); log.read('t', 0, 0); log.close()"
    )

    subprocess.run([sys.executable, "-c", program, tmp_path / "log.db"], check=True)

    assert (tmp_path / "log.db-shm").exists()
    for log in (first, second):
        log.append([NewRecord("t", None, b"1", 0)])
        log.close()
