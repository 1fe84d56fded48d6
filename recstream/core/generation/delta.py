"""The arrays of a delta: decoded from the record and checked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.neighbours import WIDTH
from recstream.core.records import DeltaAnnounced
from recstream.errors import ModelMismatch


class DeltaValues(NamedTuple):
    """The arrays of a delta, one row for each item."""

    factors: NDArray[np.float32]
    bias: NDArray[np.float32]
    counts: NDArray[np.int32]
    near: NDArray[np.int32]
    nearness: NDArray[np.float32]

    @classmethod
    def of(cls, delta: DeltaAnnounced, n_factors: int) -> DeltaValues:
        """Decode and check the arrays of a delta.

        Raises
        ------
        ModelMismatch
            A size or a value is wrong.
        """
        n = len(delta.items)
        try:
            factors = np.frombuffer(delta.factors, np.float32)
            bias = np.frombuffer(delta.bias, np.float32)
            counts = np.frombuffer(delta.counts, np.int32)
            near = np.frombuffer(delta.near, np.int32)
            nearness = np.frombuffer(delta.nearness, np.float32)
        except ValueError as error:
            raise ModelMismatch(
                f"delta {delta.delta} of generation {delta.generation} must hold numbers of four "
                f"bytes: {error}"
            ) from error
        if factors.size != n * n_factors or bias.size != n or counts.size != n:
            raise ModelMismatch(
                f"delta {delta.delta} of generation {delta.generation} names {n} items of "
                f"{n_factors} factors, got {factors.size} factors, {bias.size} priors and "
                f"{counts.size} counts"
            )
        if near.size != nearness.size or near.size not in {0, n * WIDTH}:
            raise ModelMismatch(
                f"delta {delta.delta} of generation {delta.generation} must have {n * WIDTH} "
                f"neighbours of its {n} items or none, got {near.size} and {nearness.size} weights"
            )
        if not (np.isfinite(factors).all() and np.isfinite(bias).all() and (counts >= 0).all()):
            raise ModelMismatch(
                f"delta {delta.delta} of generation {delta.generation} must hold finite factors "
                "and priors and counts of at least 0, some are not"
            )
        return cls(
            factors.reshape(n, n_factors),
            bias,
            counts,
            near.reshape(-1, WIDTH),
            nearness.reshape(-1, WIDTH),
        )
