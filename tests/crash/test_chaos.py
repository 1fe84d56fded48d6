"""A few rounds of scripts/bench/chaos.py: random faults, and afterwards nothing lost, twice or different."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[2] / "scripts" / "bench" / "chaos.py"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("kind", "rounds"), [("embedded", 4), pytest.param("kafka", 4, marks=pytest.mark.integration)]
)
def test_after_random_faults_nothing_is_lost_twice_or_different(
    tmp_path: Path, kind: str, rounds: int
) -> None:
    output = tmp_path / "chaos.json"

    done = subprocess.run(
        [
            *(sys.executable, str(CHAOS), "--log", kind, "--rounds", str(rounds)),
            *("--seed", "1", "--output", str(output)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=1_200,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    total = json.loads(output.read_text())["total"]
    assert total["rounds"] == rounds
    assert total["events"] > 0
    assert total["lists"] > 0
    assert [total[key] for key in ("lost", "twice", "dead_letters", "different")] == [0, 0, 0, 0]
