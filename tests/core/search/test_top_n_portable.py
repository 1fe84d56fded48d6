"""The same bits from code for an old processor as from code for this one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import hashlib
import numpy as np
from recstream.core.search.top_n import ItemIndex, top_n
rng = np.random.default_rng(11)
digest = hashlib.sha256()
for n_factors in (1, 7, 64):
    index = ItemIndex(rng.normal(size=(3000, n_factors)), rng.normal(size=3000))
    found = top_n(rng.normal(size=(37, n_factors)), index, 25)
    digest.update(found.ids.tobytes() + found.scores.tobytes())
print(digest.hexdigest())
"""


def digest(cache: Path, **cpu: str) -> str:
    """Run the program with kernels compiled for a processor."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), **cpu},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "features"), [("x86-64", "+sse2"), ("haswell", "+avx2,+fma,+f16c")]
)
def test_rankings_have_the_same_bits_on_older_processors(
    tmp_path: Path, name: str, features: str
) -> None:
    here = digest(tmp_path / "here")

    there = digest(tmp_path / name, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)

    assert there == here
