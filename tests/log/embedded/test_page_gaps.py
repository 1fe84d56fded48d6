"""Unused bytes in the log's pages are overwritten, and nothing else."""

from pathlib import Path

import pytest

from recstream.log.embedded import page_gaps
from recstream.log.embedded.log import EmbeddedLog
from recstream.log.embedded.page_gaps import page_gap, zero_page_gaps
from recstream.log.embedded.storage import PAGE_SIZE
from recstream.log.port import NewRecord
from recstream.log.topics import TopicSpec

LEFT = b"bytes of a row that was moved"


@pytest.fixture
def log(tmp_path: Path) -> EmbeddedLog:
    log = EmbeddedLog(tmp_path / "log.db", sync="normal")
    log.create_topics([TopicSpec("t", 2)])
    for n in range(60):
        log.append([NewRecord("t", b"k", b"v" * (100 + 7 * n), n % 2)])
    log.storage.checkpoint()
    return log


@pytest.mark.parametrize("chunk_bytes", [PAGE_SIZE, 1 << 26])
def test_what_is_left_in_the_gaps_goes_and_the_records_stay(
    log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(page_gaps, "_CHUNK_BYTES", chunk_bytes)
    before = [log.read("t", partition, 0) for partition in range(2)]
    content = bytearray(log.path.read_bytes())
    begins = []
    for at in range(0, len(content), PAGE_SIZE):
        first, end = page_gap(bytes(content[at : at + PAGE_SIZE]), 100 if at == 0 else 0)
        if end - first > len(LEFT):
            content[at + first : at + first + len(LEFT)] = LEFT
            begins.append(at)
    assert len(begins) > 1
    log.path.write_bytes(content)

    zero_page_gaps(log.storage)

    log.storage.checkpoint()
    assert LEFT not in log.path.read_bytes()
    again = EmbeddedLog(log.path)
    assert [again.read("t", partition, 0) for partition in range(2)] == before
    with again.storage.read() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    log.append([NewRecord("t", b"k", b"new", 0)])
    assert again.read("t", 0, 30)[0].value == b"new"


def test_other_processes_append_between_two_chunks(
    log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_gaps, "_CHUNK_BYTES", PAGE_SIZE)
    other, storage = EmbeddedLog(log.path, sync="normal"), log.storage
    checkpoint, n_appends = storage.checkpoint, 0

    def append_before() -> None:
        nonlocal n_appends
        if n_appends < 3:
            other.append([NewRecord("t", b"k", b"meanwhile", 0)])
            n_appends += 1
        checkpoint()

    monkeypatch.setattr(storage, "checkpoint", append_before)
    zero_page_gaps(storage)

    assert [record.value for record in log.read("t", 0, 30)] == [b"meanwhile"] * 3


@pytest.mark.parametrize("page", [bytes(PAGE_SIZE), b"\x0d" + b"\xff" * (PAGE_SIZE - 1), b"\x0d\0"])
def test_what_is_no_sound_page_of_a_tree_has_no_gap(page: bytes) -> None:
    assert page_gap(page) == (0, 0)
