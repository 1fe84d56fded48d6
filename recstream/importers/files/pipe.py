"""Copy what can be read only once (a pipe, standard input) to a temporary file; refuse endless devices."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from recstream.errors import InvalidInput

STANDARD_INPUT = Path("/dev/stdin")
WRITER_S = 30.0
"""Seconds that a named pipe may have no writer."""
_POLL_S = 0.02
_START_BYTES = 4096
_CHUNK_BYTES = 1 << 18


def spool(path: Path) -> BinaryIO | None:
    """Return a temporary file with all that a pipe gives; None for a regular file.

    Raises
    ------
    InvalidInput
        A device that gives bytes, a stream of zero bytes, or a named pipe that nobody writes to.
    OSError
        It can't be read.
    """
    if path.is_file() and path != STANDARD_INPUT:
        return None
    with _open(path) as pipe:
        start = _read_start(pipe, path)
        mode = os.fstat(pipe.fileno()).st_mode
        is_device = stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not pipe.isatty())
        if start and (is_device or not start.strip(b"\0")):
            raise InvalidInput(
                f"{path} is a device or begins with zero bytes; expected a file or a pipe of rows"
            )
        return temporary_file(chain([start], iter(lambda: pipe.read(_CHUNK_BYTES), b"")), path)


def temporary_file(chunks: Iterable[bytes], name: object) -> BinaryIO:
    """Write bytes to a temporary file, which can be read more than once.

    Parameters
    ----------
    name : object
        What the bytes are of, for the error.

    Raises
    ------
    InvalidInput
        It can't be written.
    """
    with ExitStack() as stack:
        file = cast("BinaryIO", stack.enter_context(tempfile.TemporaryFile()))
        for chunk in chain(chunks, [b""]):
            try:
                file.write(chunk)
                if not chunk:
                    file.flush()
            except OSError as error:
                raise InvalidInput(
                    f"a temporary copy of {name} can't be written to {tempfile.gettempdir()}: "
                    f"{error.strerror}; free some space there, or name another folder by TMPDIR"
                ) from error
        stack.pop_all()
        return file


def _open(path: Path) -> BinaryIO:
    """Open a path without waiting for the writer of a named pipe."""
    is_named = path.is_fifo() and path != STANDARD_INPUT
    descriptor = os.open(path, os.O_RDONLY | (os.O_NONBLOCK if is_named else 0))
    return cast("BinaryIO", os.fdopen(descriptor, "rb", buffering=0))


def _read_start(pipe: BinaryIO, path: Path) -> bytes:
    """Return the first bytes, once there is a writer."""
    until_s = time.monotonic() + WRITER_S
    start: bytes | None = pipe.read(_START_BYTES)
    while start == b"" and not os.get_blocking(pipe.fileno()):
        if time.monotonic() > until_s:
            raise InvalidInput(
                f"no process writes to the pipe {path}; waited {WRITER_S:g} s for one"
            )
        time.sleep(_POLL_S)
        start = pipe.read(_START_BYTES)
    os.set_blocking(pipe.fileno(), True)
    return pipe.read(_START_BYTES) if start is None else start  # None: a writer, no data yet
