"""A worker that is stopped (SIGSTOP) loses its partitions within 15 s, and disturbs nobody later."""

import signal
import time

import pytest

from recstream.process.warmup import warm_up
from tests.worker.installation import calm_table, wait_for
from tests.worker.worker_world import single, some_events

TAKEOVER_S = 15.0


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    warm_up()


def owned(installation) -> list[set[str]]:
    """Return the databases that each worker's folder holds."""
    folders = sorted(installation.path.glob("tables/*/*/worker-*"))
    return [{path.name for path in folder.glob("*.db")} for folder in folders]


@pytest.mark.slow
def test_a_stopped_workers_partitions_are_taken_over_within_15_seconds(installation):
    events = some_events(150)
    installation.world.log.append([single(each) for each in events[:50]])
    first = installation.process()
    wait_for(installation.is_worked_off)
    second = installation.process()
    wait_for(lambda: [len(each) for each in owned(installation)] == [1, 1])
    installation.world.log.append([single(each) for each in events[50:60]])
    wait_for(installation.is_worked_off)

    first.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    installation.world.log.append([single(each) for each in events[60:100]])
    wait_for(installation.is_worked_off)
    taken_s = time.monotonic() - begun

    first.send_signal(signal.SIGCONT)
    installation.world.log.append([single(each) for each in events[100:]])
    wait_for(installation.is_worked_off)
    for process in (first, second):
        process.terminate()
        assert process.wait(60) == 0
    assert installation.changelog() == calm_table(installation.path, events)
    assert taken_s < TAKEOVER_S
