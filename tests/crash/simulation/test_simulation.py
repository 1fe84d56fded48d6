"""Random faults in one process: nothing lost, twice or different; and broken code is found.

`scripts/bench/chaos.py --simulated` runs more rounds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

import recstream.log.embedded.log
import recstream.worker.fold
from recstream.checkpoints import retention
from recstream.core.history import table_rows
from recstream.core.history.fold import Draft
from recstream.log import INTERACTIONS
from recstream.log.faust.appender import Appender
from recstream.time_travel import Snapshots
from recstream.worker.rocksdb_rows import RocksDBRows
from tests.crash.simulation.checks import Found
from tests.crash.simulation.kafka import KafkaFaults, KafkaWorld
from tests.crash.simulation.pruned import PrunedWorld
from tests.crash.simulation.world import simulate

ROUNDS = 30
ROUNDS_ON_KAFKA = 10
ROUNDS_PRUNED = 10
FOUND_WITHIN = 400


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Leave the warnings of simulated faults out of the output."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
def test_after_random_faults_nothing_is_lost_twice_or_different(tmp_path: Path) -> None:
    counts = simulate(tmp_path, seed=1, rounds=ROUNDS)

    assert counts["rounds"] == ROUNDS
    assert counts["lists"] > ROUNDS
    assert len(counts["faults"]) >= 5


@pytest.mark.slow
def test_after_random_faults_a_pruned_log_answers_from_its_horizon_on(tmp_path: Path) -> None:
    counts = simulate(tmp_path, seed=1, rounds=ROUNDS_PRUNED, new_world=PrunedWorld)

    assert counts["rounds"] == ROUNDS_PRUNED
    assert counts["lists"] > 0


@pytest.mark.slow
@pytest.mark.integration
def test_after_random_faults_nothing_is_lost_twice_or_different_on_kafka(
    tmp_path: Path, start_server: Callable[[str], Any]
) -> None:
    server = start_server("kafka")
    broker = SimpleNamespace(url=server.kafka_url, close=lambda: None)

    counts = simulate(
        tmp_path,
        seed=1,
        rounds=ROUNDS_ON_KAFKA,
        faults=KafkaFaults(),
        new_world=lambda folder, seed, faults: KafkaWorld(folder, seed, faults, broker),
    )

    assert counts["rounds"] == ROUNDS_ON_KAFKA
    assert counts["lists"] > 0


def test_the_same_seed_gives_the_same_rounds(tmp_path: Path) -> None:
    first = simulate(tmp_path, seed=7, rounds=5)

    assert simulate(tmp_path, seed=7, rounds=5) == first


def own_everything(*_: Any) -> bool:
    """Let every member write: no fence."""
    return True


def commit_offsets_first(appender: Appender, works: Any) -> Any:
    """Append how far the events are applied in a transaction of its own, before the rest."""
    log, group, member = appender.event_log, appender.group, appender.member

    def applied(records: Any) -> Any:
        return [each for each in records if each.key == table_rows.APPLIED_KEY]

    early = [(applied(records), offsets) for records, offsets in works]
    log.append_each(early, group=group, member=member)
    return log.append_each(works, group=group, member=member)


class RepeatingDraft(Draft):
    """Fold an event whose id was folded before."""

    def add(self, *event: Any) -> bool:
        self.window = b""
        return super().add(*event)


def go_on(*_: Any) -> None:
    """Read and write the tables after an append without an answer."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (recstream.log.embedded.log, "check_owner", own_everything),
        (Appender, "append_all", commit_offsets_first),
        (recstream.worker.fold, "Draft", RepeatingDraft),
        (RocksDBRows, "fail", go_on),
    ],
)
def test_broken_code_is_found(
    tmp_path: Path, owner: Any, name: str, broken: Callable[..., Any]
) -> None:
    with mock.patch.object(owner, name, broken), pytest.raises(Found):
        simulate(tmp_path, seed=3, rounds=FOUND_WITHIN)


def prune_as_wanted(checkpoints: Any, settings: Any, partition: int, _: int) -> int:
    """Delete events that no checkpoint replaces."""
    end: int = checkpoints.log.high_watermark(INTERACTIONS, partition)
    return max(0, end - settings.keep_interactions_events)


def continue_always(*_: Any) -> bool:
    """Continue from blocks whose next events were pruned."""
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [(retention, "_interactions_cut", prune_as_wanted), (Snapshots, "_continues", continue_always)],
)
def test_broken_retention_is_found(
    tmp_path: Path, owner: Any, name: str, broken: Callable[..., Any]
) -> None:
    with mock.patch.object(owner, name, broken), pytest.raises(Found):
        simulate(tmp_path, seed=3, rounds=FOUND_WITHIN, new_world=PrunedWorld)
