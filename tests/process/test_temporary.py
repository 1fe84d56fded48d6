"""A role waits for a log or store that is away when it starts, until it is stopped."""

import errno
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError, NodeNotReadyError

from recstream.errors import (
    CatalogueUnavailable,
    InvalidSetting,
    LogRefused,
    LogUnavailable,
    NotFound,
    OutOfSpace,
    StartupError,
)
from recstream.process import is_temporary, retry_while_away, rocksdb_errors, temporary
from tests.waiting import wait_until


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        caused(ValueError("can't write"), OSError(errno.EDQUOT, "Quota exceeded")),
        Exception("IO error: No space left on device: While appending to file"),
        LogUnavailable("away"),
        caused(StartupError("away"), CatalogueUnavailable("away")),
        KafkaConnectionError("Unable to bootstrap"),
        NodeNotReadyError(),
    ],
)
def test_what_passes_by_itself_is_waited_for(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(temporary, "RESTART_S", 0.0)
    errors = [error, error]

    def start() -> str:
        if errors:
            raise errors.pop()
        return "started"

    assert retry_while_away("bridge", start, threading.Event()) == "started"
    assert caplog.text.count("bridge starts again") == 2


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        InvalidSetting("no such scheme"),
        LogRefused("wrong password"),
        AuthenticationFailedError(),
        PermissionError(errno.EACCES, "not yours"),
    ],
)
def test_what_does_not_pass_ends_the_role(error: Exception) -> None:
    def start() -> None:
        raise error

    assert not is_temporary(error)
    with pytest.raises(type(error)):
        retry_while_away("bridge", start, threading.Event())


@pytest.mark.slow
@pytest.mark.parametrize("role", ["worker", "trainer", "bridge"])
def test_a_role_that_waits_for_kafka_at_its_start_ends_at_a_signal(
    role: str, tmp_path: Path
) -> None:
    flags = ["--broker", "kafka://127.0.0.1:1", "--data-dir", str(tmp_path)]
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "recstream", role, *flags], stderr=file
        )
    try:
        wait_until(lambda: output.read_text().count(f"{role} starts again") >= 2, "two attempts")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


FULL = "IO error: No space left on device: While appending to file: 000004.log"


def test_a_full_disk_that_rocksdb_names_is_an_error_of_its_own(tmp_path: Path) -> None:
    def write_and_close() -> None:
        try:
            raise Exception(FULL)  # noqa: TRY002 - as rocksdict does
        finally:
            raise Exception("IO error: Writer has previous error.")  # noqa: TRY002 - by `close`

    expected = "its disk is full; free some space there"
    with pytest.raises(OutOfSpace, match=expected), rocksdb_errors(tmp_path):
        write_and_close()


@pytest.mark.parametrize(
    "error",
    [Exception("IO error: While lock file: LOCK"), PermissionError(13, "Permission denied")],
)
def test_another_error_of_rocksdb_names_the_folder(tmp_path: Path, error: Exception) -> None:
    expected = re.escape(f"{tmp_path} can't be used: {error}")
    with pytest.raises(StartupError, match=expected), rocksdb_errors(tmp_path):
        raise error


@pytest.mark.parametrize("error", [ValueError("of the caller"), NotFound("none")])
def test_errors_that_are_not_rocksdbs_stay(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as raised, rocksdb_errors(tmp_path):
        raise error
    assert raised.value is error
