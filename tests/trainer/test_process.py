"""The trainer's process: what a start that fails leaves behind."""

import contextlib
import threading

import pytest

from recstream.errors import LogUnavailable
from recstream.process import Kernels
from recstream.settings import Settings
from recstream.trainer import process


def test_a_start_that_fails_leaves_no_member_of_the_group(tmp_path, monkeypatch):
    released = []

    class Lease:
        def release(self):
            released.append(True)

    def fail(*_, **__):
        raise LogUnavailable("the broker is away")

    monkeypatch.setattr(process, "lease_for", lambda *_: Lease())
    monkeypatch.setattr(process, "Trainer", fail)
    settings = Settings(data_dir=str(tmp_path))

    with contextlib.ExitStack() as held, pytest.raises(LogUnavailable):
        process._open(settings, Kernels(threading.Event(), ranks=False), held)

    assert released == [True]
