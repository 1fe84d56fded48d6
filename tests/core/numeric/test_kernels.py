import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import recstream.core
from recstream.core.numeric.cholesky import (
    cholesky_solve,
    cholesky_solve_alone,
    clear_square,
    clear_systems,
)
from recstream.core.numeric.conjugate_gradients import cg_steps
from recstream.core.numeric.jit import bind_cache, compiled, sources_digest
from recstream.core.numeric.neighbour_tables import replace_lists
from recstream.core.numeric.pool import Pool, open_pool
from recstream.core.numeric.row_solver import solve_dual
from recstream.core.numeric.simd import LANES
from recstream.errors import InvalidInput
from tests.core.als import reference
from tests.core.als.als_cases import CASES, OBJECTIVES, solve_users

CORE = Path(recstream.core.__file__).parent


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
def test_every_term_of_the_objective_reaches_the_solution(objective):
    matrix, terms = CASES["random"], OBJECTIVES[objective]
    items = _items(matrix, 5)

    users, _ = solve_users(matrix, items, terms)

    expected = reference.solve_users(reference.weigh(matrix, terms), items.astype(np.float64))
    assert _relative_error(users, expected) < 1e-5


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

    near, _ = solve_users(matrix, items, objective, solver="mixed", start=start, steps=40)
    exact, _ = solve_users(matrix, items, objective)

    assert _relative_error(near, exact) < 1e-5


def test_each_step_of_conjugate_gradients_lowers_the_loss():
    matrix, objective = CASES["longer rows than factors"], OBJECTIVES["separable"]
    items = _items(matrix, 21)
    start = np.zeros((matrix.shape[0], 21))

    losses = [
        solve_users(matrix, items, objective, solver="mixed", start=start, steps=steps)[1]
        for steps in range(1, 8)
    ]

    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[-1]


def test_rows_that_are_good_enough_are_left_as_they_are():
    matrix, objective = CASES["longer rows than factors"], OBJECTIVES["separable"]
    items = _items(matrix, 21)
    exact, best = solve_users(matrix, items, objective)

    again, loss = solve_users(matrix, items, objective, solver="mixed", start=exact, tolerance=1e-6)

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
    clear_systems(packed.reshape(-1), right.reshape(-1), n)
    rows, columns = np.tril_indices(n)
    packed[:] = systems[:, rows, columns].T
    right[:] = sides.T

    cholesky_solve(packed.reshape(-1), right.reshape(-1), n)

    expected = np.linalg.solve(systems, sides[..., None])[..., 0]
    np.testing.assert_allclose(right.T, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 15, 16, 17, 33, 64, 70])
def test_a_system_solved_alone_has_the_bits_of_one_side_by_side_with_others(n):
    generator = np.random.default_rng(n)
    near = generator.standard_normal((n, n + 3)).astype(np.float32)
    system, right = np.eye(n, dtype=np.float32) + near @ near.T, near[:, 0].copy()
    packed = np.empty((n * (n + 1) // 2, LANES), np.float32)
    rights = np.empty((n, LANES), np.float32)
    clear_systems(packed.reshape(-1), rights.reshape(-1), n)
    packed[:, 1], rights[:, 1] = system[np.tril_indices(n)], right
    stride = -(-n // LANES) * LANES
    square = np.full((stride, stride), np.nan, np.float32)
    clear_square(square.reshape(-1), stride, n)
    square[np.tril_indices(n)] = system[np.tril_indices(n)]
    alone = np.full(stride, np.nan, np.float32)
    alone[:n] = right

    cholesky_solve(packed.reshape(-1), rights.reshape(-1), n)
    cholesky_solve_alone(square.reshape(-1), stride, alone, n)

    np.testing.assert_allclose(system @ alone[:n], right, rtol=1e-3, atol=1e-3)
    assert alone[:n].tobytes() == rights[:, 1].tobytes()


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
        bind_cache(kernel, sources)
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
        bind_cache(kernel, name.encode())
        assert kernel(getattr(module, name)(21)) == 42


KERNEL_MODULES = sorted(
    str(path.relative_to(CORE))
    for path in CORE.rglob("*.py")
    if b"@compiled" in path.read_bytes() or b"@intrinsic" in path.read_bytes()
)


@pytest.mark.parametrize("module", KERNEL_MODULES)
def test_a_change_of_a_kernel_module_in_any_folder_of_the_core_invalidates_the_cache(
    tmp_path, module
):
    folder = tmp_path / "core"
    shutil.copytree(CORE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    assert sources_digest(folder) == sources_digest(CORE)

    with (folder / module).open("a") as file:
        file.write("# changed\n")

    assert sources_digest(folder) != sources_digest(CORE)


def test_all_kernels_are_kept_under_one_stamp():
    stamps = {
        kernel._cache._cache_file._version[1] for kernel in (solve_dual, cg_steps, replace_lists)
    }

    assert len(stamps) == 1


def test_an_error_in_a_task_comes_out_of_the_pool():
    def fail(task: int) -> None:
        raise ZeroDivisionError(str(task))

    with open_pool(2) as workers, pytest.raises(ZeroDivisionError):
        workers.run(fail, [1, 2, 3])


def test_a_pool_needs_a_thread():
    with pytest.raises(InvalidInput, match="threads must be at least 1, got 0"), open_pool(0):
        pass


def test_a_pool_of_one_thread_starts_none():
    with open_pool(1) as workers:
        assert isinstance(workers, Pool)
        assert workers._executor is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "features"),
    [("haswell", "+avx,+avx2,+fma"), ("nehalem", "+sse4.2"), ("x86-64", "+sse2")],
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
