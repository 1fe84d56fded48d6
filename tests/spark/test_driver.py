"""Training by blocks: the model of `ALS.fit`, whatever the blocks, and also after faults."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recstream.core.als import ALS, ALSModel
from recstream.errors import ArtifactCorrupt, InvalidInput, TrainingFailed
from recstream.spark import fit_matrix
from recstream.spark.blocks import read_file
from tests.core.als.als_cases import CASES
from tests.spark.in_process import InProcess

RANDOM = CASES["random"]


@pytest.fixture(autouse=True)
def every_task_in_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recstream.spark.driver.SMALL_BYTES", 0)


def als(**changed: Any) -> ALS:
    return ALS(**{"n_factors": 20, "iterations": 2, "seed": 5, **changed})


def assert_same(found: ALSModel, expected: ALSModel) -> None:
    for name in ("item_factors", "user_factors", "spectrum", "item_counts", "user_counts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert found.missing_total == expected.missing_total
    assert found.mean_user_count == expected.mean_user_count


@pytest.mark.parametrize("name", CASES)
def test_gives_the_model_of_one_machine(name: str, tmp_path: Path) -> None:
    found = fit_matrix(InProcess(), als(), CASES[name], folder=tmp_path, n_blocks=(3, 2))
    assert_same(found, als().fit(CASES[name]))


def test_the_driver_does_small_stages_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recstream.spark.driver.SMALL_BYTES", 1 << 20)
    spark = InProcess()
    assert_same(fit_matrix(spark, als(), RANDOM, folder=tmp_path), als().fit(RANDOM))
    assert spark.stages == 4  # the half-steps


@pytest.mark.slow
@settings(max_examples=20)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["mixed", "exact"]))
def test_any_number_of_blocks_gives_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, users: int, items: int, solver: str
) -> None:
    trainer = als(solver=solver, iterations=1, positive_exponents=(0.3, 0.2))
    folder = tmp_path_factory.mktemp("blocks")
    found = fit_matrix(InProcess(), trainer, RANDOM, folder=folder, n_blocks=(users, items))
    assert_same(found, trainer.fit(RANDOM))


def test_a_warm_start_gives_the_same_bits(tmp_path: Path) -> None:
    before = als().fit(RANDOM[:40, :30])
    trainer = als(tolerance=0.01)
    found = fit_matrix(InProcess(), trainer, RANDOM, folder=tmp_path, n_blocks=(4, 3), init=before)
    assert_same(found, trainer.fit(RANDOM, init=before))


def test_reports_every_iteration_with_the_loss_of_one_machine(tmp_path: Path) -> None:
    found: list[Any] = []
    expected: list[Any] = []
    fit_matrix(InProcess(), als(), RANDOM, folder=tmp_path, callback=found.append)
    als().fit(RANDOM, callback=expected.append)
    expected = [each for each in expected if each.number]
    assert [each.number for each in found] == [1, 2]
    np.testing.assert_allclose(
        [each.loss for each in found], [each.loss for each in expected], rtol=1e-6
    )


@pytest.mark.parametrize("stage", [1, 2, 3, 5, 8, 12, 13])
def test_a_training_continues_from_the_last_half_step_after_the_driver_died(
    stage: int, tmp_path: Path
) -> None:
    def die(number: int, _tasks: list[bytes]) -> None:
        if number == stage:
            raise RuntimeError("executors are gone")

    first = InProcess(die)
    with pytest.raises(TrainingFailed, match="continues from there"):
        fit_matrix(first, als(), RANDOM, folder=tmp_path)
    second = InProcess()
    assert_same(fit_matrix(second, als(), RANDOM, folder=tmp_path), als().fit(RANDOM))
    stages = 2 * 2 * 3 + 3  # of two iterations, and of the last rotation
    assert second.stages == stages - (stage - 1) // 3 * 3


def test_a_task_that_runs_twice_changes_nothing(tmp_path: Path) -> None:
    class Twice(InProcess):
        def collect(self) -> list[bytes]:
            super().collect()
            return super().collect()

    assert_same(fit_matrix(Twice(), als(), RANDOM, folder=tmp_path), als().fit(RANDOM))


@pytest.mark.parametrize("pattern", ["*.npz", "training-*/users-2.f32", "training-*/items-2.f32"])
def test_a_damaged_file_is_a_named_error(pattern: str, tmp_path: Path) -> None:
    def damage(number: int, _tasks: list[bytes]) -> None:
        if number == 7:  # the first of the third half-step
            path = min(tmp_path.glob(pattern))
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)

    with pytest.raises(ArtifactCorrupt, match=r"npz|f32"):
        fit_matrix(InProcess(damage), als(iterations=3), RANDOM, folder=tmp_path)


def test_other_parameters_start_anew(tmp_path: Path) -> None:
    fit_matrix(InProcess(), als(), RANDOM, folder=tmp_path)
    other = als(seed=6)
    assert_same(fit_matrix(InProcess(), other, RANDOM, folder=tmp_path), other.fit(RANDOM))


def test_a_matrix_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="a weight above 0, got none in 57 × 41"):
        fit_matrix(InProcess(), als(), RANDOM * 0, folder=tmp_path)


def test_a_skewed_matrix_gives_the_bits_of_one_machine_and_no_task_above_two_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recstream.spark.blocks.BLOCK_ENTRIES", 100)
    skewed = sparse.lil_matrix(RANDOM)
    skewed[:, 0], skewed[3] = 2.0, 1.0  # everybody has item 0; user 3 has all items
    matrix = skewed.tocsr()
    sizes: list[int] = []

    def measure(_: int, tasks: list[bytes]) -> None:
        for task in map(msgspec.json.decode, tasks):
            if task["type"] == "SolveTask":
                start, stop, name = task["block"]
                rows = read_file(tmp_path, name)
                sizes.append(1 if stop - start == 1 else len(rows["indices"]))

    assert_same(fit_matrix(InProcess(measure), als(), matrix, folder=tmp_path), als().fit(matrix))
    assert max(sizes) <= 2 * 100


def test_a_lost_block_file_is_a_named_error(tmp_path: Path) -> None:
    def lose(number: int, _tasks: list[bytes]) -> None:
        if number == 4:
            min(tmp_path.glob("*.npz")).unlink()

    with pytest.raises(ArtifactCorrupt, match="npz is missing"):
        fit_matrix(InProcess(lose), als(), RANDOM, folder=tmp_path)
