"""Checkpoints, retention and starts on Kafka: every role starts from checkpoints behind pruned events."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from recstream.bridge.views import Views, start
from recstream.checkpoints import Checkpoints, audit_horizon, open_checkpoints, retain
from recstream.control import read_control, submit
from recstream.core.records import SteeringSet
from recstream.core.steering import Steering
from recstream.log import (
    CONTROL,
    INTERACTIONS,
    RECOMMENDATIONS,
    NewRecord,
    TopicPartition,
    histories_changelog,
    read_records,
    topic_specs,
)
from recstream.log.kafka import KafkaLog
from recstream.settings import Settings
from tests.integration.roles import Role, until
from tests.integration.running import get

if TYPE_CHECKING:
    from tests.conftest import Server

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PARTITIONS = 2
GROUP = "recstream-worker"
Command = Callable[..., subprocess.CompletedProcess[str]]
YEARS_LATER_MS = 4_000_000_000_000


def likes(start: int, count: int) -> list[NewRecord]:
    return [
        NewRecord(
            INTERACTIONS,
            f"u{number % 37}".encode(),
            msgspec.json.encode(
                {
                    "id": f"e{number}",
                    "type": "like",
                    "user": f"u{number % 37}",
                    "item": f"p{number * 7 % 101}",
                    "ts": "2026-01-01T00:00:00Z",
                }
            ),
        )
        for number in range(start, start + count)
    ]


def history_of(url: str) -> dict[str, Any]:
    """Return the history of a user who has events on both sides of the checkpoint."""
    return dict(get(f"{url}/v1/users/u5/history"))


def check_replays(command: Command) -> None:
    beyond = command("replay", "--verify", "--from", "0")
    assert beyond.returncode == 1
    assert "audit_horizon" in beyond.stderr
    kept = command("replay", "--verify")
    assert kept.returncode == 0, kept.stdout + kept.stderr
    assert json.loads(kept.stdout)["is_identical"] is True


def check_lists_of_new_views(log: KafkaLog, checkpoints: Checkpoints, folder: Path) -> None:
    """Check that views which have read no list have everybody's newest list."""
    newest = {
        (record.key or b"").decode(): record.offset
        for partition in range(PARTITIONS)
        for record in read_records(log, RECOMMENDATIONS, partition)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "NEWEST_LISTS", 0)
        views = Views(
            folder / "new", log, changelog=histories_changelog(GROUP), checkpoints=checkpoints
        )
        for tp, offset in views.positions().items():
            views.apply(list(read_records(log, *tp, offset)))
    assert len(newest) == 37
    assert {user: views.latest(user).offset for user in newest} == newest  # type: ignore[union-attr]
    views.close()


def check_questions_beyond_the_horizon(url: str) -> None:
    for question in ("recommendations?as_of=0", "recommendations/p1/explanation?as_of=0"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{url}/v1/users/u5/{question}")
        assert refused.value.code == 410
        assert b"no checkpoint at or before 0" in refused.value.read()


def test_every_role_starts_from_checkpoints_when_events_and_control_records_were_pruned(
    start_server: Callable[..., Server], tmp_path: Path, roles: list[Role]
) -> None:
    broker = start_server("kafka")
    shared = [
        *("--broker", broker.kafka_url, "--set", f"partitions={PARTITIONS}"),
        *("--models", f"file://{tmp_path}/models", "--set", "n_factors=8"),
        *("--set", f"checkpoints=file://{tmp_path}/checkpoints"),
    ]
    settings = Settings(
        broker=broker.kafka_url, partitions=PARTITIONS, data_dir=str(tmp_path),
        checkpoints=f"file://{tmp_path}/checkpoints", keep_interactions_events=1,
        compact_control=True,
    )  # fmt: skip

    def start(name: str, *options: str) -> Role:
        role = Role(name.rstrip("12"), tmp_path / name, *options, *shared)
        roles.append(role)
        return role

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        whole = (*arguments, "--json", *shared, "--data-dir", str(tmp_path))
        return subprocess.run(
            [sys.executable, "-m", "recstream", *whole],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )

    log = KafkaLog(broker.kafka_url)
    log.create_topics(topic_specs(PARTITIONS))
    log.append(likes(0, 1_000))

    def is_worked_off() -> bool:
        committed = log.committed(GROUP)
        return all(
            committed.get(TopicPartition(INTERACTIONS, p), 0) == log.high_watermark(INTERACTIONS, p)
            for p in range(PARTITIONS)
        )

    worker, trainer = start("worker1"), start("trainer1")
    # A first start compiles every kernel before it trains.
    until(lambda: "model published generation=1" in trainer.said(), "a training", roles, 300)
    until(is_worked_off, "the first events", roles)
    created = command("checkpoint", "create")
    assert created.returncode == 0, created.stderr
    verified = command("checkpoint", "verify")
    assert verified.returncode == 0, verified.stderr
    assert worker.end() == trainer.end() == 0

    log.append(likes(1_000, 500))
    for number in range(130):
        submit(log, SteeringSet(id=f"s{number}", steering=Steering(), requested_ts=number))
    checkpoints = open_checkpoints(log, settings)
    pruned = retain(checkpoints, settings, now_ms=YEARS_LATER_MS)

    made = {each.partition: each for each in checkpoints.all()}
    assert pruned.interactions == sum(each.offset for each in made.values()) > 900
    assert pruned.control >= 129
    for partition, each in made.items():
        assert log.earliest(INTERACTIONS, partition) == each.offset
        assert audit_horizon(checkpoints, partition) == each.offset
    assert log.earliest(CONTROL, 0) > 130
    assert len(list(read_control(log))) < 20

    shutil.rmtree(tmp_path / "worker1" / "tables")
    worker = start("worker1")
    until(lambda: worker.said().count("table restored partition=") == PARTITIONS, "tables", roles)
    until(is_worked_off, "the events since", roles)
    trainer = start("trainer1")
    until(
        lambda: trainer.said().count("histories restored partition=") == PARTITIONS, "rows", roles
    )
    bridge = start("bridge1", "--port", "0")
    until(bridge.url, "the bridge", roles)
    url = bridge.url()
    n_events = len(range(5, 1_500, 37))
    until(lambda: history_of(url)["n_events"] == n_events, "a user's whole history", roles)

    check_replays(command)
    check_lists_of_new_views(log, checkpoints, tmp_path)
    check_questions_beyond_the_horizon(url)
    assert [role.end() for role in (bridge, trainer, worker)] == [0, 0, 0]
    log.close()
