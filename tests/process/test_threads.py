"""Background threads: restarted after known errors, fatal after others, never silent."""

from __future__ import annotations

import logging
import threading

from recstream.errors import LogUnavailable
from recstream.process import start_thread


def test_a_thread_starts_again_after_an_error_that_passes(caplog):
    attempts = []

    def run():
        attempts.append(1)
        if len(attempts) < 3:
            raise LogUnavailable("the disk is full")

    failed = []
    thread = start_thread(
        "follower", run, failed.append, stopping=threading.Event(), retry=(LogUnavailable,)
    )
    thread.join(10)

    assert (len(attempts), failed) == (3, [])
    assert "follower" in caplog.text
    assert "the disk is full" in caplog.text


def test_an_unknown_error_is_logged_with_the_threads_name_and_handed_on(caplog):
    def run():
        raise ZeroDivisionError

    failed = []
    with caplog.at_level(logging.CRITICAL):
        start_thread("follower", run, failed.append, stopping=threading.Event()).join(10)

    assert [type(each) for each in failed] == [ZeroDivisionError]
    assert "thread follower ended" in caplog.text


def test_errors_while_stopping_are_expected():
    stopping, failed = threading.Event(), []

    def run():
        stopping.set()
        raise ZeroDivisionError

    start_thread("follower", run, failed.append, stopping=stopping).join(10)

    assert failed == []


def test_a_thread_that_waits_to_start_again_ends_at_once_when_stopping():
    stopping = threading.Event()

    def run():
        raise LogUnavailable("away")

    thread = start_thread("f", run, [].append, stopping=stopping, retry=(LogUnavailable,))
    stopping.set()
    thread.join(5)

    assert not thread.is_alive()
