"""Kernels are loaded from the cache, or compiled by another process while they are interpreted."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from recstream.core.numeric.jit import INTERPRETER, compiled, interpretable
from recstream.process import Kernels, fill_cache, kernels

TRAINING = """
import numpy as np
from recstream.core.columns import IdTable
from recstream.core.content import ContentModel
from recstream.core.popularity import fit_popularity
from recstream.core.records import Item
from recstream.core.als import ALS
from scipy import sparse

ids = [f"i{n}" for n in range(300)]
IdTable(ids).rows_of(ids)
items = [Item(item=each, title=f"{each} salt") for each in ids]
content = ContentModel.fit(items)
features, index = content.features(items), content.index()
index.add(np.arange(300), features)
content.similar(features, index, 9, exclude=np.arange(300))
fit_popularity(np.arange(9), np.arange(9), 300)
ALS(n_factors=16, iterations=1, threads=1).fit(sparse.identity(40, dtype=np.float32, format="csr"))
"""


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Count what loads kernels, with the interpreter's state at each; it is off again afterwards."""
    found: list[bool] = []
    monkeypatch.setattr(kernels, "warm_up", lambda: found.append(INTERPRETER.is_on))
    monkeypatch.setattr(kernels, "warm_up_training", lambda: None)
    monkeypatch.setattr(INTERPRETER, "is_on", False)
    return found


@pytest.mark.parametrize("has_cache", [True, False])
def test_cached_kernels_are_loaded_before_anything_else_as_are_those_without_a_cache(
    loads: list[bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_cache: bool
) -> None:
    (tmp_path / "complete").touch()
    monkeypatch.setattr(kernels, "_marker", lambda: tmp_path / "complete" if has_cache else None)

    Kernels(threading.Event()).start()

    assert loads == [False]


@pytest.mark.parametrize("program", ["pass", "raise SystemExit(1)"])
def test_kernels_that_are_not_cached_are_interpreted_until_another_process_has_compiled_them(
    loads: list[bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    monkeypatch.setattr(kernels, "_marker", lambda: tmp_path / "missing")
    gate = tmp_path / "gate"
    waits = f"import os\nwhile not os.path.exists({str(gate)!r}): pass\n"
    monkeypatch.setattr(kernels, "_PROGRAM", waits + program)
    tried = Kernels(threading.Event())

    tried.start()
    was_on = INTERPRETER.is_on and tried.is_compiling
    gate.touch()
    tried.wait()

    assert was_on
    assert not tried.is_compiling
    assert loads == [False]
    assert not INTERPRETER.is_on


def test_one_process_fills_the_cache_and_the_next_finds_it_filled(
    loads: list[bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kernels, "_marker", lambda: tmp_path / "cache" / "done.complete")

    fill_cache()
    fill_cache()

    assert loads == [False]
    assert (tmp_path / "cache" / "done.complete").exists()


def test_an_interpretable_kernel_runs_as_python_while_it_is_in_no_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @interpretable
    @compiled
    def double(values: np.ndarray) -> None:
        for at in range(len(values)):
            values[at] *= 2

    monkeypatch.setattr(INTERPRETER, "is_on", True)
    monkeypatch.setattr("recstream.core.numeric.jit.is_cached", lambda *_: False)
    numbers = np.arange(3)

    double(numbers)
    interpreted = list(double.signatures)  # type: ignore[attr-defined]
    INTERPRETER.is_on = False
    double(numbers)

    assert numbers.tolist() == [0, 4, 8]
    assert interpreted == []
    assert len(double.signatures) == 1  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_filled_cache_has_the_kernels_that_a_trainer_calls(tmp_path: Path) -> None:
    def run(program: str) -> str:
        environ = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DEBUG_CACHE": "1"}
        return subprocess.run(
            [sys.executable, "-c", program], env=environ, check=True, capture_output=True, text=True
        ).stdout

    run("from recstream.process import fill_cache; fill_cache()")
    found = run(TRAINING)

    assert "data loaded from" in found
    assert [line for line in found.splitlines() if "data saved to" in line] == []


def test_compiling_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """A role that is killed leaves no process that compiles, or waits for another to do so."""
    program = f"""
import threading, time
from pathlib import Path
from recstream.process import Kernels, kernels
kernels._PROGRAM = {kernels._PROGRAM.replace("fill_cache()", "print(flush=True); import time; time.sleep(600)")!r}
kernels._marker = lambda: Path({str(tmp_path / "none")!r})
kernels.subprocess.DEVNULL = None
Kernels(threading.Event()).start()
time.sleep(600)
"""
    role = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert role.stdout is not None
    assert role.stdout.readline() == b"\n"  # it compiles
    role.kill()
    role.wait()

    assert role.stdout.read() == b""  # the last process that could write has ended
    role.stdout.close()
