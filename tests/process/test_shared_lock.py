"""Readers do not wait for each other; a writer is alone, and gets its turn."""

import threading

from recstream.process import SharedLock

DEADLINE_S = 10.0


def started(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def held_for_reading(lock, release):
    inside = threading.Event()

    def read():
        with lock.read():
            inside.set()
            release.wait(DEADLINE_S)

    thread = started(read)
    assert inside.wait(DEADLINE_S)
    return thread


def test_a_reader_enters_beside_a_slow_reader_and_a_waiting_writer():
    lock, release, written = SharedLock(patience_s=DEADLINE_S), threading.Event(), threading.Event()
    slow = held_for_reading(lock, release)

    def write():
        with lock.write():
            written.set()

    writer = started(write)
    with lock.read():
        assert not written.is_set()
    release.set()
    slow.join(DEADLINE_S)
    writer.join(DEADLINE_S)

    assert written.is_set()


def test_readers_that_never_pause_do_not_keep_a_writer_out():
    lock, stopping = SharedLock(patience_s=0.0), threading.Event()

    def read():
        while not stopping.is_set():
            with lock.read():
                stopping.wait(0.001)

    readers = [started(read) for _ in range(4)]

    def write():
        with lock.write():
            pass

    writer = started(write)
    writer.join(DEADLINE_S)
    ended = not writer.is_alive()
    stopping.set()
    for each in readers:
        each.join(DEADLINE_S)
    assert ended


def test_no_reader_is_inside_while_a_writer_is():
    lock, value, seen = SharedLock(patience_s=0.001), [0, 0], []

    def read():
        for _ in range(200):
            with lock.read():
                seen.append(value[0] - value[1])

    readers = [started(read) for _ in range(3)]
    for at in range(50):
        with lock.write():
            value[0] = at
            threading.Event().wait(0.0001)
            value[1] = at
    for each in readers:
        each.join(DEADLINE_S)

    assert set(seen) == {0}
