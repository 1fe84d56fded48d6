"""Scenario `refresh`: everybody's list made again after a new generation, beside live events.

Many synthetic users with five events each stand beside ml-latest-small. A training is started; from its
announcement on, the published lists of the new generation are counted until no more come, while
events are posted and their lists received. ::

    python scripts/bench/refresh.py                          # 100,000 users
    python scripts/bench/refresh.py --n-users 1000000 --save   # some 15 minutes and 12 GB of disk

Users whose list stayed as it was get no record, so fewer lists than users are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from freshness import fetch, measure, prepare, recstream, roles, wait_for, wait_until_live
from results import Row, save

from recstream.core.records import decode_model, list_header
from recstream.log import MODELS, RECOMMENDATIONS, ReadableLog, TopicPartition
from recstream.log.embedded import EmbeddedLog
from recstream.process import new_event_loop

EVENTS_A_USER = 5
N_ITEMS, N_KINDS = 9000, 90
START_MS = 1_700_000_000_000
SILENCE_S = 20.0
"""Time without a new list after which there are no more; the first waits for the generation to be read."""
MAX_REFRESH_USERS = 1_000_000
"""Greatest value of the setting."""


class Counter(threading.Thread):
    """Counts users whose newest published list is of a generation newer than another.

    Parameters
    ----------
    log : ReadableLog
    older : int
        Number of the generation before.
    """

    def __init__(self, log: ReadableLog, older: int) -> None:
        super().__init__(daemon=True)
        tps = [*_partitions(log, MODELS), *_partitions(log, RECOMMENDATIONS)]
        self._tail = log.tail({tp: log.high_watermark(*tp) for tp in tps})
        self._older = older
        self._users: set[bytes] = set()
        self.announced = self.newest = 0.0
        self.is_over = threading.Event()

    @property
    def n_users(self) -> int:
        """How many users have a list of the new generation."""
        return len(self._users)

    def run(self) -> None:
        """Count until no user was new for some time after the announcement."""
        while not self.announced or time.monotonic() - self.newest < SILENCE_S:
            for record in self._tail.poll(0.2, 5000):
                if record.value and _generation(record.topic, record.value) > self._older:
                    self._take(record.topic, record.key)
        self.is_over.set()

    def _take(self, topic: str, key: bytes | None) -> None:
        now = time.monotonic()
        if topic == MODELS:
            if not self.announced:
                self.announced = self.newest = now
        elif key is not None and key not in self._users:
            self._users.add(key)
            self.newest = now


def add_users(directory: Path, n_users: int) -> None:
    """Import the synthetic users; each likes items of one kind, some more than others."""
    chance = np.random.default_rng(0)
    file = directory / "users.csv"
    with file.open("w") as out:
        out.write("user,item,ts\n")
        for first in range(0, n_users, 100_000):
            users = np.repeat(np.arange(first, min(first + 100_000, n_users)), EVENTS_A_USER)
            kinds = N_KINDS * (N_ITEMS // N_KINDS * chance.random(len(users)) ** 2).astype(int)
            items = kinds + users % N_KINDS + 1
            rows = zip(users.tolist(), items.tolist(), strict=True)
            out.write("".join(f"s{user},{item},{START_MS + user}\n" for user, item in rows))
    options = ("--user", "user", "--item", "item", "--time", "ts", "--data-dir", str(directory))
    command = recstream("import", "events", str(file), *options)
    subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - our own command
    file.unlink()


def _generation(topic: str, value: bytes) -> int:
    return (decode_model(value) if topic == MODELS else list_header(value)).generation


def _partitions(log: ReadableLog, topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in range(log.partitions(topic))]


def _n_lists(log: ReadableLog) -> int:
    return sum(log.high_watermark(*tp) for tp in _partitions(log, RECOMMENDATIONS))


def wait_until_calm(log: ReadableLog) -> None:
    """Wait until no lists come: trainings meanwhile have them made again, too."""
    n_lists, since = -1, time.monotonic()
    while time.monotonic() - since < SILENCE_S:
        time.sleep(1.0)
        if (n := _n_lists(log)) != n_lists:
            n_lists, since = n, time.monotonic()


def run(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return times and counts of one refresh."""
    prepare(directory)
    add_users(directory, options.n_users)
    n_refreshed = min(MAX_REFRESH_USERS, options.n_users + options.users)
    os.environ["RECSTREAM_REFRESH_USERS"] = str(n_refreshed)
    with roles(directory) as (url, supervisor), asyncio.Runner(loop_factory=new_event_loop) as loop:
        wait_until_live(url)
        with closing(EmbeddedLog(directory / "log.db")) as log:
            wait_for(lambda: _n_lists(log), lambda n: n >= options.n_users, deadline_s=3600)
            wait_until_calm(log)
            calm = loop.run(measure(url, options.rate, options, supervisor))
            counter = Counter(log, fetch(f"{url}/v1/pipeline")["generation"])
            counter.start()
            command = recstream("train", "--data-dir", str(directory))
            subprocess.Popen(command, stdout=sys.stderr)  # noqa: S603 - our own command
            wait_for(lambda: counter.announced, deadline_s=900)
            meanwhile = loop.run(measure(url, options.rate, options, supervisor))
            is_done = counter.is_over.is_set()
            counter.is_over.wait()
    if is_done:
        sys.exit("the refresh ended before the live events did: take more users or fewer --seconds")
    return {
        "users": counter.n_users,
        "seconds": counter.newest - counter.announced,
        "calm_ms": calm["due_to_received_ms"],
        "meanwhile_ms": meanwhile["due_to_received_ms"],
    }


def rows(found: dict[str, Any], rate: float) -> list[Row]:
    """Return the numbers of the result file."""
    per_s = found["users"] / found["seconds"]
    live = f"from the moment an event was due to its list, at {rate:g} events/s"
    return [
        Row(found["users"], "users", "Got another list from the new generation."),
        Row(round(found["seconds"], 1), "s", "From its announcement to the last of these lists."),
        Row(round(per_s), "lists/s", "The same, by second; live events are served meanwhile."),
        Row(found["meanwhile_ms"]["p50"], "ms", f"Median {live}, during the refresh."),
        Row(found["meanwhile_ms"]["p99"], "ms", "The same, 99th percentile."),
        Row(found["calm_ms"]["p50"], "ms", f"Median {live}, before the refresh."),
        Row(found["calm_ms"]["p99"], "ms", "The same, 99th percentile."),
    ]


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n-users", type=int, default=100_000, help="synthetic users")
    parser.add_argument("--rate", type=float, default=100.0, help="live events a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of live events")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before measuring")
    parser.add_argument("--users", type=int, default=200, help="live users, one WebSocket each")
    parser.add_argument("--save", action="store_true", help="write the result file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), options)
    for row in (measured := rows(found, options.rate)):
        print(f"{row.value:>12,} {row.unit:8} {row.what}")
    if options.save:
        save("refresh", f"All lists after a new generation: {options.n_users:,} users", measured)


if __name__ == "__main__":
    main()
