from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from recstream.core.als import reference
from recstream.core.numeric.cholesky import clear, solve_lanes
from recstream.core.numeric.conjugate_gradients import improve
from recstream.core.numeric.jit import compiled, stamp_all
from recstream.core.numeric.neighbour_tables import put_all
from recstream.core.numeric.pool import Pool, pool
from recstream.core.numeric.row_solver import solve_dual
from recstream.core.numeric.simd import HAS_AVX2, LANES
from recstream.errors import InvalidInput
from tests.core.als.als_cases import CASES, OBJECTIVES, solve_users


def _items(matrix, d: int) -> np.ndarray:
    generator = np.random.default_rng(d)
    return (generator.standard_normal((matrix.shape[1], d)) / np.sqrt(d)).astype(np.float32)


def _relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30))


@pytest.mark.parametrize("d", [1, 3, 16, 21, 64])
@pytest.mark.parametrize("case", CASES)
def test_the_exact_solver_agrees_with_the_reference(case, d):
    matrix, objective = CASES[case], OBJECTIVES["separable"]
    items = _items(matrix, d)

    users, _ = solve_users(matrix, items, objective)

    expected = reference.solve_users(reference.weigh(matrix, objective), items.astype(np.float64))
    # EventWeights 10¹² apart leave float32 fewer digits.
    limit = 1e-3 if case == "huge and tiny weights" else 1e-5
    assert _relative_error(users, expected) < limit


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("simd", [True, False])
def test_every_term_of_the_objective_reaches_the_solution(objective, simd):
    matrix, terms = CASES["random"], OBJECTIVES[objective]
    items = _items(matrix, 5)

    users, _ = solve_users(matrix, items, terms, simd=simd)

    expected = reference.solve_users(reference.weigh(matrix, terms), items.astype(np.float64))
    assert _relative_error(users, expected) < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_the_plain_kernels_agree_with_the_vector_kernels(case):
    matrix, objective = CASES[case], OBJECTIVES["separable"]
    items = _items(matrix, 21)

    fast, fast_loss = solve_users(matrix, items, objective, simd=True)
    plain, plain_loss = solve_users(matrix, items, objective, simd=False)

    limit = 1e-3 if case == "huge and tiny weights" else 1e-5
    assert _relative_error(fast, plain) < limit
    assert fast_loss == pytest.approx(plain_loss, rel=1e-4)


@pytest.mark.parametrize("solver", ["exact", "mixed"])
@pytest.mark.parametrize("case", ["random", "longer rows than factors", "one item for all"])
def test_the_loss_of_the_rows_is_the_loss_written_out(case, solver):
    matrix, objective = CASES[case], OBJECTIVES["separable"]
    items = _items(matrix, 5)
    start = np.zeros((matrix.shape[0], 5))

    users, loss = solve_users(matrix, items, objective, solver=solver, start=start)

    weights = reference.weigh(matrix, objective)
    everything = reference.loss(weights, users.astype(np.float64), items.astype(np.float64))
    items_alone = (weights.items * (items.astype(np.float64) ** 2).sum(axis=1)).sum()
    assert loss == pytest.approx(everything - items_alone, rel=1e-5)


def test_conjugate_gradients_reach_the_exact_solution():
    matrix, objective = CASES["longer rows than factors"], OBJECTIVES["separable"]
    items = _items(matrix, 21)
    start = np.zeros((matrix.shape[0], 21))

    near, _ = solve_users(
        matrix, items, objective, solver="mixed", start=start, steps=40, simd=True
    )
    exact, _ = solve_users(matrix, items, objective)

    assert _relative_error(near, exact) < 1e-5


def test_each_step_of_conjugate_gradients_lowers_the_loss():
    matrix, objective = CASES["longer rows than factors"], OBJECTIVES["separable"]
    items = _items(matrix, 21)
    start = np.zeros((matrix.shape[0], 21))

    losses = [
        solve_users(matrix, items, objective, solver="mixed", start=start, steps=steps, simd=True)[
            1
        ]
        for steps in range(1, 8)
    ]

    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[-1]


def test_rows_that_are_good_enough_are_left_as_they_are():
    matrix, objective = CASES["longer rows than factors"], OBJECTIVES["separable"]
    items = _items(matrix, 21)
    exact, best = solve_users(matrix, items, objective)

    again, loss = solve_users(
        matrix, items, objective, solver="mixed", start=exact, tolerance=1e-6, simd=True
    )

    assert _relative_error(again, exact) < 1e-6
    assert loss == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 30])
def test_systems_side_by_side_are_solved_as_if_alone(n):
    generator = np.random.default_rng(n)
    roots = generator.standard_normal((LANES, n, n + 2))
    systems = roots @ roots.transpose(0, 2, 1) + np.eye(n)
    sides = generator.standard_normal((LANES, n))
    packed = np.empty((n * (n + 1) // 2, LANES), np.float32)
    right = np.empty((n, LANES), np.float32)
    clear(packed.reshape(-1), right.reshape(-1), n)
    rows, columns = np.tril_indices(n)
    packed[:] = systems[:, rows, columns].T
    right[:] = sides.T

    solve_lanes(packed.reshape(-1), right.reshape(-1), n)

    expected = np.linalg.solve(systems, sides[..., None])[..., 0]
    np.testing.assert_allclose(right.T, expected, rtol=1e-3, atol=1e-4)


def test_a_kernel_without_a_place_for_its_cache_still_runs():
    names: dict[str, object] = {}
    exec("def twice(x):\n    return 2 * x\n", names)  # noqa: S102  (source that no file holds)

    assert compiled(names["twice"])(21) == 42


def test_kept_code_is_fresh_only_while_all_kernels_are_as_they_were(tmp_path):
    """A kernel is compiled into those that call it, in whatever file they are."""
    path = tmp_path / "kernel_of_a_test.py"
    path.write_text("def twice(x):\n    return 2 * x\n")

    def hits(sources: bytes) -> int:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        kernel = numba.njit(module.twice, cache=True)
        stamp_all(kernel, sources)
        assert kernel(21) == 42
        return sum(kernel.stats.cache_hits.values())

    assert hits(b"one") == 0
    assert hits(b"one") == 1
    assert hits(b"another") == 0


def test_code_that_was_kept_for_a_type_that_is_gone_is_compiled_anew(tmp_path, monkeypatch):
    path = tmp_path / "kernel_with_a_type.py"
    for name in ("Pair", "Couple"):
        path.write_text(
            "from typing import NamedTuple\n\n"
            f"class {name}(NamedTuple):\n    x: int\n\n"
            "def twice(one):\n    return 2 * one.x\n"
        )
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        kernel = numba.njit(module.twice, cache=True)
        stamp_all(kernel, name.encode())
        assert kernel(getattr(module, name)(21)) == 42


def test_all_kernels_are_kept_under_one_stamp():
    stamps = {kernel._cache._cache_file._version[1] for kernel in (solve_dual, improve, put_all)}

    assert len(stamps) == 1


def test_an_error_in_a_task_comes_out_of_the_pool():
    def fail(task: int) -> None:
        raise ZeroDivisionError(str(task))

    with pool(2) as workers, pytest.raises(ZeroDivisionError):
        workers.run(fail, [1, 2, 3])


def test_a_pool_needs_a_thread():
    with pytest.raises(InvalidInput, match="threads must be at least 1, got 0"), pool(0):
        pass


def test_a_pool_of_one_thread_starts_none():
    with pool(1) as workers:
        assert isinstance(workers, Pool)
        assert workers._executor is None


@pytest.mark.slow
@pytest.mark.skipif(not HAS_AVX2, reason="needs a processor with AVX2")
@pytest.mark.parametrize(
    ("name", "features"), [("haswell", "+avx,+avx2,+fma"), ("nehalem", "+sse4.2")]
)
def test_kernels_are_right_on_smaller_processors(name, features):
    """The same tests again, compiled for a processor without AVX-512, and for one without AVX2."""
    env = {**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not slow", __file__],
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout[-3000:]
