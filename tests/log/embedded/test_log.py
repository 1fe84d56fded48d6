"""What only the embedded log promises: processes, crashes, bad files, epochs."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recstream.errors import InvalidInput, LogFenced, NotFound
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
def test_a_killed_process_loses_no_acknowledged_record_and_leaves_no_partial_one(
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
