"""Pipes, devices and files that never end or grow while they are read."""

import contextlib
import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from recstream.errors import InvalidInput
from recstream.importers import Source
from tests.full_disk import files_of_at_most
from tests.importers.imports import Outcome, put

ROWS = "user,item\n" + "".join(f"u{n},p{n}\n" for n in range(10))


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_pipe_is_read_from_its_beginning(
    tmp_path: Path, events: Callable[..., Outcome], compress: Callable[[bytes], bytes]
) -> None:
    content = "user,item\n" + "".join(f"u{n},p{n}\n" for n in range(5_000))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(compress(content.encode())))
    writer.start()

    done = events(pipe)

    writer.join()
    assert (done.code, done.report["imported"], done.report["rejected"]) == (0, 5_000, 0)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/urandom", "/dev/full"])
def test_a_device_that_never_ends_is_refused(events: Callable[..., Outcome], name: str) -> None:
    done = events(Path(name))

    assert done.code == 1
    assert f"{name} is a device" in done.error


def test_a_pipe_of_zero_bytes_is_refused_while_it_is_written(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write_for_ever() -> None:
        with contextlib.suppress(BrokenPipeError), pipe.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))

    writer = threading.Thread(target=write_for_ever)
    writer.start()
    with pytest.raises(InvalidInput, match="begins with zero bytes"):
        Source(pipe)
    writer.join()


def test_a_pipe_that_nobody_writes_to_is_refused(
    tmp_path: Path, events: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recstream.importers.files.pipe.WRITER_S", 0.1)
    os.mkfifo(tmp_path / "pipe")

    done = events(tmp_path / "pipe")

    assert done.code == 1
    assert "no process writes to the pipe" in done.error


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    file = put(tmp_path, ROWS)
    source = Source(file)
    read = []

    def read_and_grow() -> None:
        for number, _ in source.rows():
            read.append(number)
            with file.open("a") as other:
                other.write("u,p\n")

    with pytest.raises(InvalidInput, match="changes while it is read"):
        read_and_grow()
    assert len(read) < 10_000
    assert len(list(Source(file).rows())) > len(ROWS.splitlines()) - 1


def test_a_pipe_that_does_not_fit_into_the_temporary_folder_names_that_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = "user,item\n" + "u,p\n" * 500_000

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), pipe.open("w") as file:
            file.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    expected = f"a temporary copy of {pipe} can't be written to {tmp_path}: .*TMPDIR"
    with files_of_at_most(1_000_000), pytest.raises(InvalidInput, match=expected):
        Source(pipe)
    writer.join()
