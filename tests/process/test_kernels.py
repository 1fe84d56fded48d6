"""Kernels are loaded from the cache, or compiled by another process while they are interpreted."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from recstream.core.numeric.jit import INTERPRETER, compiled, interpretable
from recstream.process import Kernels, fill_cache, kernels


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Count what loads kernels, with the interpreter's state at each; it is off again afterwards."""
    found: list[bool] = []
    monkeypatch.setattr(kernels, "warm_up", lambda: found.append(INTERPRETER.is_on))
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
    monkeypatch.setattr(kernels, "_PROGRAM", f"import sys; sys.stdin.read(); {program}")
    tried = Kernels(threading.Event())

    tried.start()
    was_on = INTERPRETER.is_on
    tried.wait()

    assert was_on
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
