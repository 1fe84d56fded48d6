"""A worker as a process of its own, which may kill itself at a chosen step of its effects.

``python worker_process.py DATA_DIR [before|after|erase|finish N]``: kill -9 instead of the N-th append,
or after it and before the write to RocksDB; or instead of the N-th time that a forgotten user's
records, or the request itself, are blanked.
"""

import logging
import os
import signal
import sys

from recstream.log.faust.consumer import Consumer
from recstream.settings import Settings
from recstream.worker import forget
from recstream.worker import process as worker
from recstream.worker.rocksdb_rows import RocksDBRows


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def count_down(function, n):
    """Return the function, which dies at its n-th call."""
    left = [n]

    def counted(*arguments):
        left[0] -= 1
        if left[0] == 0:
            die()
        return function(*arguments)

    return counted


def main() -> None:
    logging.basicConfig(level="WARNING")
    data_dir, *kill = sys.argv[1:]
    if kill[:1] == ["after"]:
        RocksDBRows.write = count_down(RocksDBRows.write, int(kill[1]))
    elif kill[:1] == ["before"]:
        Consumer.append_all = count_down(Consumer.append_all, int(kill[1]))
    elif kill[:1] in (["erase"], ["finish"]):
        forget.GRACE_MS = 0
        original = getattr(forget.Forgetter, kill[0])
        setattr(forget.Forgetter, kill[0], count_down(original, int(kill[1])))
    worker.run(Settings(data_dir=data_dir, partitions=2, app_id="test-worker"))


if __name__ == "__main__":
    main()
