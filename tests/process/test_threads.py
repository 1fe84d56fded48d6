"""Background threads: restarted or fatal after an error, never silent."""

import asyncio
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from recstream.errors import LogUnavailable
from recstream.process import (
    BACKGROUND_NICE,
    lower_priority,
    read_ahead,
    run_in_thread,
    start_thread,
    threads,
    watch,
)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(threads, "_PAUSES_S", (0.0,))


def test_a_thread_starts_again_after_an_error_that_passes(caplog):
    attempts, failed, stopping = [], [], threading.Event()

    def run():
        attempts.append(1)
        if len(attempts) < 3:
            raise LogUnavailable("the disk is full")
        stopping.set()

    thread = start_thread(
        "follower", run, stopping=stopping, fail=failed.append, retry=(LogUnavailable,)
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
        start_thread("follower", run, stopping=threading.Event(), fail=failed.append).join(10)

    assert [type(each) for each in failed] == [ZeroDivisionError]
    assert "thread follower ended" in caplog.text


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_without_a_way_to_fail_every_error_starts_the_thread_again(caplog, error):
    attempts, stopping = [], threading.Event()

    def run():
        attempts.append(1)
        if len(attempts) < 3:
            raise error
        stopping.set()

    start_thread("follower", run, stopping=stopping).join(10)

    assert len(attempts) == 3
    assert caplog.records[0].exc_info[0] is error


def test_a_thread_that_returns_too_early_has_failed():
    failed = []

    start_thread("follower", lambda: None, stopping=threading.Event(), fail=failed.append).join(10)

    assert "follower returned" in str(failed[0])


def test_a_thread_is_healthy_again_when_it_has_run_for_a_while(monkeypatch):
    now_s, stopping, go_on = [0.0], threading.Event(), threading.Event()
    monkeypatch.setattr(threads, "monotonic", lambda: now_s[0])
    has_failed, runs = [], threading.Event()

    def run():
        if not has_failed:
            has_failed.append(1)
            raise ZeroDivisionError
        runs.set()
        go_on.wait(10)

    thread = start_thread("follower", run, stopping=stopping)
    assert runs.wait(10)
    assert not thread.is_healthy

    now_s[0] = threads.STEADY_S
    assert thread.is_healthy
    stopping.set()
    go_on.set()
    thread.join(10)
    assert not thread.is_healthy


def test_errors_while_stopping_are_expected():
    stopping, failed = threading.Event(), []

    def run():
        stopping.set()
        raise ZeroDivisionError

    start_thread("follower", run, stopping=stopping, fail=failed.append).join(10)

    assert failed == []


def test_a_thread_that_waits_to_start_again_ends_at_once_when_stopping(monkeypatch):
    monkeypatch.setattr(threads, "_PAUSES_S", (60.0,))
    stopping, has_run = threading.Event(), threading.Event()

    def run():
        has_run.set()
        raise LogUnavailable("away")

    thread = start_thread("f", run, stopping=stopping)
    assert has_run.wait(5)
    stopping.set()
    thread.join(5)

    assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_error_of_a_short_job_is_logged(caplog):
    run_in_thread("close", lambda: 1 / 0).join(10)

    assert "thread close failed" in caplog.text


def test_the_error_of_a_watched_future_is_logged_and_handed_on(caplog):
    failed, called = [], threading.Event()

    def fail(error):
        failed.append(error)
        called.set()

    with ThreadPoolExecutor(1) as pool:
        watch(pool.submit(lambda: 1 / 0), "a job", fail)
        watch(pool.submit(lambda: 1), "a job", fail)
    assert called.wait(10)

    async def cancel():
        task = asyncio.create_task(asyncio.sleep(60))
        watch(task, "a task", fail)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(cancel())
    assert [type(each) for each in failed] == [ZeroDivisionError]
    assert "a job failed" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_a_thread_of_low_priority_changes_no_other_thread():
    before = os.getpriority(os.PRIO_PROCESS, 0)

    with ThreadPoolExecutor(1, initializer=lower_priority) as pool:
        there = pool.submit(os.getpriority, os.PRIO_PROCESS, 0).result(10)

    assert there == BACKGROUND_NICE
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_parts_that_are_read_ahead_come_in_order_and_the_next_one_is_made_meanwhile():
    made = []
    second_is_made = threading.Event()

    def parts():
        for number in range(3):
            made.append(number)
            if number == 1:
                second_is_made.set()
            yield number

    ahead = read_ahead(parts())

    assert next(ahead) == 0
    assert second_is_made.wait(10), "the second part must be made while the first is used"
    assert list(ahead) == [1, 2]
    assert made == [0, 1, 2]


def test_an_error_of_a_part_is_raised_in_its_place():
    def parts():
        yield "first"
        raise LogUnavailable("away")

    ahead = read_ahead(parts())

    assert next(ahead) == "first"
    with pytest.raises(LogUnavailable, match="away"):
        next(ahead)


def test_parts_that_nobody_reads_on_leave_no_thread():
    before = threading.active_count()
    ahead = read_ahead(iter(range(10)))

    assert next(ahead) == 0
    ahead.close()

    assert threading.active_count() == before
