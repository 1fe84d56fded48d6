"""The figures that the documentation states, on public data."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from scripts.bench.prequential_replay import ReplayConfig, evaluate, stream_of

DATA = Path(os.environ.get("RECSTREAM_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


@pytest.mark.data
@pytest.mark.slow
def test_five_star_ratings_of_ml_100k_are_foreseen_as_often_as_documented() -> None:
    path = DATA / "ml-100k" / "ratings.tsv.gz"
    if not path.exists():
        pytest.skip(f"no {path}; set RECSTREAM_DATA to the folder of public data")
    with gzip.open(path, "rt") as file:
        ratings = np.loadtxt(file, dtype=np.int64)
    users, items, _, times = ratings[ratings[:, 2] == 5].T

    replay = evaluate(stream_of(users, items, times), ReplayConfig())

    assert replay.recall(10) >= 0.165
    assert replay.recall(20) >= 0.26
