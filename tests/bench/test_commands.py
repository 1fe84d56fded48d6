"""The commands of the benchmarks: those that are named exist, and start."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "scripts" / "bench"
PROGRAMS = [path for path in BENCH.glob("*.py") if "argparse" in path.read_text()]


def test_every_benchmark_that_is_named_exists() -> None:
    listed = re.search(r"scenarios=\((.*?)\)", (BENCH / "all").read_text(), re.DOTALL)
    assert listed is not None
    names = {words.split()[0] for words in re.findall(r'"(.+?)"', listed[1])}
    for page in (ROOT / "docs").rglob("*.md"):
        names |= set(re.findall(r"scripts/bench/(\w+)\.py", page.read_text()))

    assert [name for name in sorted(names) if not (BENCH / f"{name}.py").is_file()] == []


ALL_HELPS = """
import contextlib, io, runpy, sys
for path in sys.argv[1:]:
    sys.argv = [path, "--help"]
    sys.path[0] = path.rpartition("/")[0]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        runpy.run_path(path, run_name="__main__")
    print(path, "usage:" in shown.getvalue())
"""


@pytest.mark.slow
def test_every_benchmark_says_what_its_options_are() -> None:
    command = [sys.executable, "-c", ALL_HELPS, *map(str, PROGRAMS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"{path} True" for path in PROGRAMS]
