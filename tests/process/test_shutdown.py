"""Bounded shutdown, in a process of its own."""

import subprocess
import sys

from recstream.process import ended_if_stuck

STUCK = """
import threading
from recstream.process import ended_if_stuck
with ended_if_stuck(0.01):
    threading.Event().wait()
"""


def test_a_role_that_never_stops_after_an_error_is_ended_as_failed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK], check=False, capture_output=True, timeout=60
    )
    assert done.returncode == 1
    assert b"the process ends" in done.stderr


def test_a_role_that_stops_in_time_goes_on() -> None:
    with ended_if_stuck(0.01):
        pass
    with ended_if_stuck(60):
        pass
