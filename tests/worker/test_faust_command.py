"""`faust -A recstream.worker.app worker` runs the worker, and importing the module has no effect."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recstream.core.events import encode_event
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS
from recstream.process.warmup import warm_up
from tests.worker.worker_world import CHANGELOG, GROUP, PARTITIONS, World, event

DEADLINE_S = 300.0
FAUST = (sys.executable, "-m", "faust", "-A", "recstream.worker.app")


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    warm_up()


def environ(folder: Path) -> dict[str, str]:
    return os.environ | {
        "RECSTREAM_DATA_DIR": str(folder),
        "RECSTREAM_APP_ID": GROUP,
        "RECSTREAM_PARTITIONS": str(PARTITIONS),
        "RECSTREAM_BROKER": f"embedded://{folder / 'log.db'}?sync=normal",
    }


def test_importing_the_app_has_no_effect(tmp_path):
    code = "import recstream.worker.app as app; print('app' in vars(app))"

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout == "False\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_fausts_own_command_folds_events_and_stops_at_a_signal(world: World, tmp_path):
    record = event(1, "u1", "p0")
    world.log.append([NewRecord(INTERACTIONS, b"u1", encode_event(record))])
    with (tmp_path / "faust.log").open("wb") as out:
        worker = subprocess.Popen(
            [*FAUST, "worker", "--without-web", "-l", "info"],
            env=environ(tmp_path), stdout=out, stderr=out,
        )  # fmt: skip
    try:
        end = time.monotonic() + DEADLINE_S
        while not world.log.committed(GROUP):
            assert worker.poll() is None, (tmp_path / "faust.log").read_text()
            assert time.monotonic() < end, (tmp_path / "faust.log").read_text()
            time.sleep(0.05)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, (tmp_path / "faust.log").read_text()
    finally:
        worker.kill()
        worker.wait()

    assert any(b"u1" in (row.key or b"") for p in range(PARTITIONS) for row in world.read(
        CHANGELOG, p
    ))  # fmt: skip


@pytest.mark.slow
def test_fausts_own_command_lists_the_agent(tmp_path):
    done = subprocess.run(
        [*FAUST, "agents"],
        env=environ(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "ingest" in done.stdout
