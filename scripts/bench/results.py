"""Result files of benchmarks: one JSON file per scenario, from which docs/benchmarks.md is made.

A script calls `save` when it is given ``--save``::

    python scripts/bench/als_speed.py --save
    python scripts/bench/report.py
"""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "benchmarks"


class Row(NamedTuple):
    """One measured number, and one sentence that says what it is."""

    value: float
    unit: str
    what: str


def processor() -> str:
    """Return the processor's name, and the widest vectors it has."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    vectors = next((name for name in ("avx512f", "avx2") if name in text), "")
    return " ".join(part for part in (named[0] if named else platform.machine(), vectors) if part)


def commit() -> str:
    """Return the short hash of the commit that is checked out."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - git on the path
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def save(scenario: str, title: str, rows: list[Row]) -> Path:
    """Write a scenario's result file, peers of the same run included; return its path.

    Parameters
    ----------
    scenario : str
        Name of the file, without suffix.
    title : str
        Heading on the page.
    rows : list of Row
        In the order of the page.
    """
    result = {
        "title": title,
        "command": " ".join(
            [f"scripts/bench/{Path(sys.argv[0]).name}"]
            + [
                "PATH" if each.startswith("/") else each
                for each in sys.argv[1:]
                if each != "--save"
            ]
        ),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        "rows": [row._asdict() for row in rows],
    }
    path = FOLDER / f"{scenario}.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return path
