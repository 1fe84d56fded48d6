"""A list has the same bytes in every process: in a worker, in a replay, however many threads BLAS has."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recstream.core.als.model import ALSModel
from recstream.core.als.objective import Objective
from recstream.core.generation.generation import Generation

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "lists_in_a_process.py"
N_ITEMS = 6000
N_FACTORS = 64


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.Generator(np.random.PCG64(0))
    generation = Generation(
        number=3,
        parent=2,
        offsets={"0": 7},
        hyperparameters={},
        seed=1,
        items=[f"p{number}" for number in range(N_ITEMS)],
        bias=rng.random(N_ITEMS, np.float32),
        model=ALSModel(
            rng.standard_normal((N_ITEMS, N_FACTORS), np.float32),
            rng.integers(1, 500, N_ITEMS),
            objective=Objective(),
            mean_user_count=20.0,
        ),
    )
    path = tmp_path_factory.mktemp("artifact") / "generation.npz"
    np.savez(path, **generation.arrays())
    return path


def digest(artifact: Path, threads: int, kernel: str) -> str:
    """Return the digest of the lists that a process makes, BLAS having its threads and its code path."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": str(threads)}
    if kernel:
        environment["OPENBLAS_CORETYPE"] = kernel
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(artifact)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    return done.stdout


def test_the_bytes_of_a_list_do_not_depend_on_what_blas_does(artifact: Path) -> None:
    found = [
        digest(artifact, threads, kernel) for threads, kernel in ((1, ""), (2, ""), (2, "PRESCOTT"))
    ]

    assert len(found[0]) == 128
    assert found == found[:1] * 3
