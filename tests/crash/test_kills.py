"""Roles are killed over and over: nothing acknowledged is lost, nothing counts twice, all is derivable.

``RECSTREAM_KILLS`` sets how many kills (default 200).
"""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from recstream.log.decode import decode
from recstream.log.embedded import EmbeddedLog
from recstream.log.port import TopicPartition
from recstream.log.topics import DEAD_LETTERS, INTERACTIONS, histories_changelog, topic_specs
from recstream.models import open_store
from recstream.replay.run import ReplayPlan, Report, replay
from recstream.settings import Settings
from tests.crash.roles import POINTS, Nursery, bring_in, live

KILLS = int(os.environ.get("RECSTREAM_KILLS", "200"))
MOST_S = 240.0
MAX_PAUSE_S = 1.0
"""Most that a life lasts undisturbed: long enough to recover and do some work, or not."""
CATCH_UP_S = 60.0
REACHED_S = 60.0

pytestmark = pytest.mark.slow

ON_PURPOSE = [
    *(("worker", point) for point in POINTS if "artifact" not in point),
    *(("trainer", point) for point in POINTS if "artifact" in point or "transaction" in point),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=str(tmp_path),
        broker=f"embedded://{tmp_path / 'log.db'}?sync=normal",
        partitions=2,
        port=0,
        list_size=10,
        n_factors=4,
        iterations=3,
        train_min_events=20,
        train_every_events=150,
        train_every_s=1.0,
        delta_every_s=0.1,
        keep_generations=1000,
    )


@pytest.fixture
def log(settings: Settings) -> Any:
    made = EmbeddedLog(settings.path("log.db"), sync="normal")
    made.create_topics(topic_specs(settings.partitions))
    yield made
    made.close()


def applied(log: EmbeddedLog, settings: Settings) -> bool:
    """Return whether the worker has committed all there is."""
    committed = log.committed(settings.app_id)
    return all(
        committed.get(TopicPartition(INTERACTIONS, at), 0) >= log.high_watermark(INTERACTIONS, at)
        for at in range(settings.partitions)
    )


def wait_until(holds: Any, deadline_s: float, pause_s: float = 0.02) -> bool:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(pause_s)
    return False


def replayed(log: EmbeddedLog, settings: Settings) -> Report:
    ranges = {at: (0, log.high_watermark(INTERACTIONS, at)) for at in range(settings.partitions)}
    plan = ReplayPlan(ranges=ranges, verify=True, changelog=histories_changelog(settings.app_id))
    return replay(log, open_store(settings.models_url), plan)


def ids_in(log: EmbeddedLog, settings: Settings) -> Counter[str]:
    return Counter(
        event.id
        for at in range(settings.partitions)
        for record in log.read(INTERACTIONS, at, 0, 10**9)
        for _, event in decode(record).events
    )


def check(log: EmbeddedLog, settings: Settings, acknowledged: set[str] | None = None) -> Report:
    """Assert that everything is exact, and return what the replay found."""
    counted = ids_in(log, settings)
    assert set(counted.values()) == {1}
    assert (acknowledged or set()) <= counted.keys()
    assert all(log.high_watermark(DEAD_LETTERS, at) == 0 for at in range(settings.partitions))
    report = replayed(log, settings)
    assert report.is_identical, report
    assert sum(each.events for each in report.partitions) == sum(counted.values())
    assert all(each.histories == each.users > 0 for each in report.partitions)
    return report


def settle(nursery: Nursery, log: EmbeddedLog, settings: Settings) -> None:
    """Let one worker live until it has applied all there is, and stop it."""
    worker = nursery.start(live, "worker", settings, None, 0)
    assert wait_until(lambda: applied(log, settings), CATCH_UP_S), "the worker did not catch up"
    worker.terminate()
    worker.join(30)


@pytest.fixture(scope="module")
def nursery() -> Nursery:
    return Nursery()


def test_every_point_of_the_order_of_effects_can_be_the_last(
    settings: Settings, log: EmbeddedLog, nursery: Nursery, tmp_path: Path
) -> None:
    importer = nursery.start(bring_in, settings, 0, tmp_path / "acknowledged")
    for role, point in ON_PURPOSE:
        other = nursery.start(live, "trainer" if role == "worker" else "worker", settings, None, 0)
        for number in (1, 2):
            child = nursery.start(live, role, settings, point, number)
            died = wait_until(lambda child=child: not child.is_alive(), REACHED_S)
            assert died, f"the {role} never came to {point!r}"
            assert child.exitcode == -signal.SIGKILL
        other.kill()
        other.join()
    importer.kill()
    importer.join()
    settle(nursery, log, settings)

    check(log, settings, set((tmp_path / "acknowledged").read_text().split()))


def test_kills_at_random_leave_everything_exact(
    settings: Settings, log: EmbeddedLog, nursery: Nursery, tmp_path: Path
) -> None:
    rng = random.Random(7)
    acknowledged = tmp_path / "acknowledged"
    alive: dict[str, Any] = {}
    deadline = time.monotonic() + MOST_S
    for n_kills in range(KILLS):
        assert time.monotonic() < deadline, f"only {n_kills} kills in {MOST_S} s"
        for role in ("worker", "trainer", "bridge", "importer"):
            if role not in alive:
                arguments = (
                    (bring_in, settings, n_kills + 1, acknowledged)
                    if role == "importer"
                    else (live, role, settings, None, 0)
                )
                alive[role] = nursery.start(*arguments)
        wait_until(
            lambda: any(not each.is_alive() for each in alive.values()), rng.random() * MAX_PAUSE_S
        )
        role = rng.choices(["worker", "trainer", "bridge", "importer"], [4, 2, 1, 1])[0]
        child = alive.pop(role)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL, f"{role} ended by itself, see roles.log"
    for child in alive.values():
        child.kill()
        child.join()
    settle(nursery, log, settings)

    report = check(log, settings, set(acknowledged.read_text().split()))
    assert sum(each.lists for each in report.partitions) > 0
