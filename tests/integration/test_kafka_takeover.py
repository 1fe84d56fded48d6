"""A worker that takes partitions over has their rows already, kept while they were another one's."""

from __future__ import annotations

import itertools
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from recstream.core.history.table_rows import APPLIED_KEY, decode_applied_row
from recstream.log.kafka import KafkaLog
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import INTERACTIONS, histories_changelog
from tests.integration.roles import Role, until

if TYPE_CHECKING:
    from tests.conftest import Server

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PARTITIONS = 4
EVENTS = 20_000
CHANGELOG = histories_changelog("recstream-worker")
BUFFERED_ROWS = 1_000
"""So many rows of a partition Faust may hold back before it writes them to a standby table."""
TAKEOVER_S = 25.0
STOPPED_TAKEOVER_S = 15.0


def views(start: int, count: int) -> list[NewRecord]:
    return [
        NewRecord(
            INTERACTIONS,
            f"u{number % 997}".encode(),
            msgspec.json.encode(
                {
                    "id": f"e{number}",
                    "type": "view",
                    "user": f"u{number % 997}",
                    "item": f"p{number % 1013}",
                    "ts": "2026-01-01T00:00:00Z",
                }
            ),
        )
        for number in range(start, start + count)
    ]


def applied(log: KafkaLog) -> dict[int, int]:
    """Return how far each partition's newest rows say that it is applied."""
    found = dict.fromkeys(range(PARTITIONS), 0)
    for partition in found:
        end = log.high_watermark(CHANGELOG, partition)
        at = max(log.earliest(CHANGELOG, partition), end - 20_000)
        while at < end and (records := log.read(CHANGELOG, partition, at)):
            for record in records:
                if record.key == APPLIED_KEY and record.value is not None:
                    found[partition] = decode_applied_row(record.value).next_offset
            at = records[-1].offset + 1
    return found


def offsets_in(said: str, title: str) -> dict[int, int]:
    """Return the offsets by partition that the last table of this title in Faust's log shows."""
    lines = said.rpartition(title)[2].splitlines()[1:]
    rows = itertools.takewhile(lambda line: line[:1] in {"|", "+"}, lines)
    found = re.findall(r"\| +(\d+) +\| +(-?\d+) +\|", "\n".join(rows))
    return {int(partition): int(offset) for partition, offset in found}


def test_a_surviving_worker_reads_few_records_before_it_continues(
    start_server: Callable[..., Server], tmp_path: Path, roles: list[Role]
) -> None:
    broker = start_server("kafka")
    options = ("--broker", broker.kafka_url, "--set", f"partitions={PARTITIONS}")
    # One folder for both, as on one machine: their tables must not get in each other's way.
    shared = (*options, "--data-dir", str(tmp_path / "data"))
    roles += [Role("worker", tmp_path / f"output{number}", *shared) for number in (1, 2)]
    until(lambda: all("worker started" in role.said() for role in roles), "two workers", roles)
    log = KafkaLog(broker.kafka_url)
    for start in range(0, EVENTS, 1000):
        log.append(views(start, 1000))

    def is_applied() -> bool:
        ends = {p: log.high_watermark(INTERACTIONS, p) for p in range(PARTITIONS)}
        return applied(log) == ends

    until(is_applied, "the events' work", roles)
    killed, survivor = roles
    n_ready = survivor.said().count("Worker ready")
    log.append(views(EVENTS, 100))
    until(is_applied, "a hundred more", roles)
    killed.end(signal.SIGKILL)
    killed_s = time.monotonic()
    log.append(views(EVENTS + 100, 1000))
    until(is_applied, "the survivor's takeover", roles, 60)
    took_s = time.monotonic() - killed_s

    assert took_s < TAKEOVER_S
    said = survivor.said()
    assert said.count("Worker ready") > n_ready
    start, end = (
        offsets_in(said, "Reading Starts At - Active"),
        offsets_in(said, "Highwater - Active"),
    )
    assert set(start) == set(end) == set(range(PARTITIONS))
    assert min(end.values()) > 3 * BUFFERED_ROWS
    assert {p: end[p] - start[p] for p in end if end[p] - start[p] > BUFFERED_ROWS} == {}
    committed = {TopicPartition(INTERACTIONS, p): n for p, n in applied(log).items()}
    until(lambda: log.committed("recstream-worker") == committed, "the commit", roles)
    assert survivor.end() == 0
    log.close()


def test_a_stopped_workers_partitions_are_taken_over_within_15_seconds(
    start_server: Callable[..., Server], tmp_path: Path, roles: list[Role]
) -> None:
    broker = start_server("kafka")
    options = ("--broker", broker.kafka_url, "--set", f"partitions={PARTITIONS}")
    roles += [Role("worker", tmp_path / f"worker{number}", *options) for number in (1, 2)]
    until(lambda: all("worker started" in role.said() for role in roles), "two workers", roles)
    log = KafkaLog(broker.kafka_url)
    log.append(views(0, 1000))

    def is_applied() -> bool:
        return applied(log) == {p: log.high_watermark(INTERACTIONS, p) for p in range(PARTITIONS)}

    until(is_applied, "the events' work", roles)
    stopped, survivor = roles
    n_ready = survivor.said().count("Worker ready")
    stopped.process.send_signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    log.append(views(1000, 1000))
    until(is_applied, "the survivor's takeover", roles, 120)
    took_s = time.monotonic() - stopped_s
    stopped.process.send_signal(signal.SIGCONT)
    log.append(views(2000, 1000))
    until(is_applied, "everybody's work", roles)
    assert survivor.said().count("Worker ready") > n_ready
    assert took_s < STOPPED_TAKEOVER_S
    assert [role.end() for role in roles] == [0, 0]
    log.close()
