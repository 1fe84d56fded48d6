"""The search of a replay configuration on a made-up stream."""

import math

import numpy as np

from scripts.bench.prequential_replay import ReplayConfig, stream_of, tune_stream


def test_a_stream_search_chooses_recency_too() -> None:
    rng = np.random.default_rng(0)
    users = rng.integers(0, 30, 500)
    items = rng.integers(0, 20, 500) * 2 + users % 2
    stream = stream_of(users, items, np.arange(500))
    base = ReplayConfig(n_factors=4, iterations=2, repeat=True)

    found = tune_stream(stream, base, candidates=3, threads=1)

    assert found.beta in base.betas
    assert found.behaviour_weight in base.behaviour_weights
    assert found.config.repeat
    assert math.isfinite(found.config.history_half_life)
