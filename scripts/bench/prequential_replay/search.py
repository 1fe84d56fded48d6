"""Search a replay configuration by successive halving of prequential replays."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from recstream.core.evaluation import SearchProgress
from recstream.core.evaluation.successive_halving import Choice, Rung, successive_halving

from .config import ReplayConfig
from .evaluate import Stream, evaluate, soft_hits


class StreamTuning(NamedTuple):
    """The best configuration of the last rung, its score, and the weights that were best with it.

    Attributes
    ----------
    score : float
    beta : float
        Weight of popularity in units of `typical_score`.
    behaviour_weight : float
    """

    config: ReplayConfig
    score: float
    beta: float
    behaviour_weight: float


def tune_stream(
    stream: Stream,
    base: ReplayConfig,
    *,
    candidates: int = 27,
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[SearchProgress], object] | None = None,
) -> StreamTuning:
    """Return the best candidate of prequential replays that evaluate the second half of a stream.

    The score is the mean of `soft_hits`. Lower rungs replay a
    shorter part.

    Parameters
    ----------
    stream : Stream
        The training part alone, such as the warm-up.
    base : ReplayConfig
        Parameters that are not searched.
    candidates : int
        Number of candidates on the lowest rung.
    progress : callable, optional
        Called with a `SearchProgress` after every trial.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    weights: dict[Choice, tuple[float, float]] = {}

    def score(choice: Choice, rung: Rung) -> tuple[float, int]:
        config = replace(
            base,
            n_factors=rung.n_factors,
            proportions=choice.proportions,
            history_half_life=choice.history_half_life,
        )
        replay = evaluate(stream, config, warm_up=0.5, stop=rung.stop, threads=threads)
        weights[choice] = replay.beta, replay.behaviour_weight
        counted = replay.ranks[replay.ranks >= 0]
        return (float(soft_hits(counted).mean()) if len(counted) else 0.0), rung.stages[-1]

    rungs = [
        Rung(0, base.n_factors, (base.iterations,), candidates, stop=0.7),
        Rung(1, base.n_factors, (base.iterations,), max(3, candidates // 3)),
    ]
    trials = successive_halving(
        rungs, score, generator, progress, present=base.proportions, moves_half_life=True
    )
    best = trials[-1]
    config = replace(
        base,
        n_factors=best.n_factors,
        iterations=best.iterations,
        proportions=best.choice.proportions,
        history_half_life=best.choice.history_half_life,
    )
    return StreamTuning(config, best.score, *weights[best.choice])
