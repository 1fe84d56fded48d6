"""Forgetting on a real broker: nothing names the user at the end, and the rest still verifies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition

from recstream.cli import cli
from recstream.erasure import forgetting
from recstream.log.kafka import KafkaLog
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS, histories_changelog
from tests.integration.roles import Role, until

if TYPE_CHECKING:
    from tests.conftest import Server

pytestmark = [pytest.mark.integration, pytest.mark.slow]

WHO = "zoe-who-will-be-forgotten"
FORGET_AFTER_S = 2


def views(user: str, start: int, count: int) -> list[NewRecord]:
    return [
        NewRecord(
            INTERACTIONS,
            user.encode(),
            msgspec.json.encode(
                {
                    "id": f"e{number}",
                    "type": "view",
                    "user": user,
                    "item": f"p{number % 31}",
                    "ts": "2026-01-01T00:00:00Z",
                }
            ),
        )
        for number in range(start, start + count)
    ]


def naming(server: Server, log: KafkaLog, user: str) -> set[str]:
    """Return the topics with a record that names a user, read without recstream's own reader."""
    reader = Consumer(
        {
            "bootstrap.servers": f"127.0.0.1:{server.port}",
            "group.id": "audit",
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted",
        }
    )
    ends = {
        (topic, partition): (log.earliest(topic, partition), log.high_watermark(topic, partition))
        for topic, partitions in log.topics().items()
        for partition in range(partitions)
    }
    filled = [(*tp, start) for tp, (start, end) in ends.items() if end > start]
    reader.assign([TopicPartition(*each) for each in filled])
    found, n_read = set[str](), 0
    while n_read < len(filled) and (message := reader.poll(30)) is not None:
        if message.error() is not None:
            n_read += 1  # the end of a partition
        elif user.encode() in (message.key() or b"") + (message.value() or b""):
            found.add(str(message.topic()))
    reader.close()
    return found


def recstream(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_nothing_names_a_forgotten_user_on_the_brokers_and_the_rest_verifies(
    start_server: Callable[..., Server], tmp_path: Path, roles: list[Role]
) -> None:
    server = start_server("kafka")
    options = (
        *("--broker", server.kafka_url, "--models", f"file://{tmp_path / 'models'}"),
        *("--set", "partitions=2", "--set", f"forget_after_s={FORGET_AFTER_S}"),
        *("--set", "train_min_events=50", "--set", "train_every_s=1"),
        *("--set", "keep_generations=100"),
        *("--set", f"checkpoints=file://{tmp_path / 'checkpoints'}"),
    )
    worker, trainer = (Role(name, tmp_path / name, *options) for name in ("worker", "trainer"))
    roles += [worker, trainer]
    until(lambda: "worker started" in worker.said(), "the worker's start", roles)
    until(lambda: "trainer active" in trainer.said(), "the trainer's start", roles)
    log = KafkaLog(server.kafka_url)
    log.append([each for n in range(20) for each in views(f"u{n}", n * 100, 8)])
    log.append(
        [
            *views(WHO, 5_000, 8),
            NewRecord(INTERACTIONS, WHO.encode(), b'{"user": "' + WHO.encode() + b'"}'),
        ]
    )
    changelog = histories_changelog("recstream-worker")
    until(
        lambda: {INTERACTIONS, RECOMMENDATIONS, changelog} <= naming(server, log, WHO),
        "the user's list",
        roles,
    )
    place = (*options, "--data-dir", str(tmp_path / "worker"))

    recstream("forget", WHO, "--yes", "--now", *place)
    until(lambda: forgetting(log).finished, "the proof", roles, 240)

    # The request goes after the proof, and a worker that was killed between leaves it to the next.
    until(lambda: naming(server, log, WHO) == set(), "an end of all that names the user", roles)
    assert any(log.earliest(INTERACTIONS, partition) for partition in (0, 1))
    ends = [log.visible_end(RECOMMENDATIONS, partition) for partition in (0, 1)]
    log.append([each for n in range(20) for each in views(f"u{n}", 9_000 + n * 10, 2)])
    until(
        lambda: all(log.visible_end(RECOMMENDATIONS, p) > end for p, end in enumerate(ends)),
        "new lists",
        roles,
    )
    while roles:
        roles.pop().end()
    report = recstream("replay", "--verify", *place)
    assert "identical" in report
    log.close()
