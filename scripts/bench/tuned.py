"""The result of a search, as arguments of `ALS` and as plain values."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from recstream.core.als import scaled
from recstream.core.evaluation import TuningResult
from recstream.core.validation import as_csr_rows


def als_arguments(found: TuningResult, interactions: Any) -> dict[str, Any]:
    """Return the arguments of `ALS` for a matrix of any size."""
    rows = as_csr_rows(interactions, "interactions")
    counts = rows.counts()
    return {
        "n_factors": found.n_factors,
        "iterations": found.iterations,
        **scaled(
            asdict(found.choice.proportions),
            n_items=rows.n_columns,
            mean_user_count=float(counts.sum() / max(1, np.count_nonzero(counts))),
        ),
    }


def as_dict(found: TuningResult) -> dict[str, Any]:
    """Return plain values for JSON; an infinite half-life is 0."""
    half_life = found.choice.history_half_life
    return {
        "n_factors": found.n_factors,
        **found.hyperparameters(),
        "history_half_life": 0.0 if math.isinf(half_life) else half_life,
        "metric": found.metric,
        "score": found.score,
        "gain": found.gain,
        "error": found.error,
    }
