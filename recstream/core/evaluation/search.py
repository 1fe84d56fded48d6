"""Beside the flow: choosing hyper-parameters on events held out, by successive halving.

Many candidates are tried cheaply (few factors, few iterations or a short part of the stream), the
better third is tried again at a higher price together with neighbours of the best, and so on up a
ladder of *rungs*. Candidates speak of proportions (`recstream.core.als.scaling`), which mean the same at
every size, so what wins on a low rung is a good guess for the next.

`tune` holds out entries of a matrix, by user or by time; `tune_stream` replays a stream
prequentially, which also weighs recency. Neither sees anything but what it is given: pass the
training part, keep the test part away.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from recstream.core.als import ALS, Proportions
from recstream.core.evaluation.metrics import quality
from recstream.core.evaluation.prequential import Stream, evaluate, soft_hits
from recstream.core.evaluation.replay_config import Recipe
from recstream.core.evaluation.successive_halving import (
    Choice,
    Progress,
    Rung,
    Trial,
    as_pair,
    climb,
)
from recstream.core.search import ItemIndex, top_n
from recstream.core.validation import as_csr_rows
from recstream.errors import InvalidInput

__all__ = ["Choice", "Progress", "Trial", "TuningResult", "hold_out", "tune", "tune_stream"]


@dataclass(frozen=True)
class TuningResult:
    """The winner of the last rung, with all that was tried.

    Attributes
    ----------
    choice : Choice
    n_factors, iterations : int
    metric : str
        What `score` is, on the held-out part.
    score : float
    beta : float or None
        Worth of popularity in units of `typical_score`; only `tune_stream` chooses it.
    trials : tuple of Trial
    behaviour_weight : float or None
        Worth of behaviour neighbours, likewise.
    """

    choice: Choice
    n_factors: int
    iterations: int
    metric: str
    score: float
    beta: float | None = None
    trials: tuple[Trial, ...] = field(default=(), repr=False)
    behaviour_weight: float | None = None

    def als_arguments(self, interactions: Any) -> dict[str, Any]:
        """Return the arguments of `ALS` for a matrix of any size."""
        rows = as_csr_rows(interactions, "interactions")
        counts = rows.counts()
        objective = self.choice.proportions.objective(
            n_items=rows.n_columns,
            mean_user_count=float(counts.sum() / max(1, np.count_nonzero(counts))),
        )
        return {
            "n_factors": self.n_factors,
            "iterations": self.iterations,
            **{name: getattr(objective, name) for name in objective.as_dict()},
        }

    def recipe(self, base: Recipe) -> Recipe:
        """Return the recipe that was found, other choices as in `base`."""
        return replace(
            base,
            n_factors=self.n_factors,
            iterations=self.iterations,
            proportions=self.choice.proportions,
            history_half_life=self.choice.history_half_life,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for TOML or JSON; an infinite half-life is 0."""
        half_life = self.choice.history_half_life
        plain: dict[str, Any] = {
            "n_factors": self.n_factors,
            "iterations": self.iterations,
            **{
                name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self.choice.proportions).items()
            },
            "history_half_life": 0.0 if math.isinf(half_life) else half_life,
            "metric": self.metric,
            "score": self.score,
        }
        chosen = {"beta": self.beta, "behaviour_weight": self.behaviour_weight}
        return plain | {name: worth for name, worth in chosen.items() if worth is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TuningResult:
        """Return the result that `as_dict` described, without its trials."""
        names = set(cls(Choice(), 1, 1, "", 0.0).as_dict())
        if wrong := (set(values) ^ names) - {"beta", "behaviour_weight"}:
            msg = f"a tuning result must have the fields {sorted(names)}, got {sorted(wrong)} amiss"
            raise InvalidInput(msg)
        proportions = Proportions(
            unobserved_mass=values["unobserved_mass"],
            ridge=values["ridge"],
            regularization_exponent=values["regularization_exponent"],
            positive_exponents=as_pair(values["positive_exponents"]),
            missing_exponents=as_pair(values["missing_exponents"]),
        )
        return cls(
            Choice(proportions, values["history_half_life"] or math.inf),
            values["n_factors"],
            values["iterations"],
            values["metric"],
            values["score"],
            values.get("beta"),
            behaviour_weight=values.get("behaviour_weight"),
        )


def hold_out(
    interactions: Any, part: float, generator: np.random.Generator, at: Any = None
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Split a matrix into one to train on and one to check with.

    Parameters
    ----------
    interactions : scipy sparse, (n, m)
    part : float
        Of each user's entries, to be held out; a user with one entry keeps it.
    generator : numpy.random.Generator
        Chooses them, where no times are given.
    at : (nnz,) sortable, optional
        Times of the entries in CSR order: then the newest are held out.
    """
    if not 0.0 < part < 1.0:
        msg = f"part must lie between 0 and 1, got {part}"
        raise InvalidInput(msg)
    rows = as_csr_rows(interactions, "interactions")
    counts = np.diff(rows.indptr)
    owners = np.repeat(np.arange(len(rows)), counts)
    order = generator.random(len(owners)) if at is None else np.asarray(at)
    if order.shape != owners.shape:
        msg = f"at must have one time for each of {len(owners)} entries, got {order.shape}"
        raise InvalidInput(msg)
    newest_first = np.lexsort((np.arange(len(owners)), order, owners))[::-1]
    place = np.empty(len(owners), np.int64)
    ends = len(owners) - rows.indptr[1:]
    place[newest_first] = np.arange(len(owners)) - ends[owners[newest_first]]
    held = place < np.minimum(np.ceil(part * counts), counts - 1)[owners]
    shape = (len(rows), rows.n_columns)
    train, test = (
        sparse.csr_matrix((rows.weights[w], (owners[w], rows.indices[w])), shape=shape)
        for w in (~held, held)
    )
    return train, test


def tune(
    interactions: Any,
    *,
    at: Any = None,
    k: int = 20,
    n_factors: int = 128,
    iterations: int = 8,
    candidates: int = 36,
    seed: int = 0,
    threads: int | None = None,
    max_users: int = 10_000,
    progress: Callable[[Progress], object] | None = None,
) -> TuningResult:
    """Return the proportions that rank held-out entries best, by NDCG@k.

    Parameters
    ----------
    interactions : scipy sparse, (n, m)
        The training part alone.
    at : (nnz,) sortable, optional
        Times of the entries in CSR order; with them the newest fifth of each user is held out,
        otherwise a random fifth.
    k : int
    n_factors, iterations : int
        Of the last rung and, at most, of the result; lower rungs take a quarter and a half of
        the factors, and half the iterations.
    candidates : int
        On the lowest rung.
    seed, threads : int
    max_users : int
        Users to check with, at most.
    progress : callable, optional
        Called with a `Progress` after every trial.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    train, test = hold_out(interactions, 0.2, generator, at)
    asked = np.flatnonzero(np.diff(test.indptr))
    if not len(asked):
        msg = "interactions must have a user with two entries to hold one out, got none"
        raise InvalidInput(msg)
    if len(asked) > max_users:
        asked = np.sort(generator.choice(asked, max_users, replace=False))
    known, wanted = train[asked], test[asked]
    mean_count = train.nnz / max(1, int(np.count_nonzero(np.diff(train.indptr))))

    def score(choice: Choice, rung: Rung) -> tuple[float, int]:
        objective = choice.proportions.objective(n_items=train.shape[1], mean_user_count=mean_count)
        best, model, spent = (-math.inf, 0), None, 0
        for stage in rung.stages:
            model = ALS(
                rung.n_factors,
                iterations=stage - spent,
                seed=seed,
                threads=threads,
                regularization=objective.regularization,
                unobserved_weight=objective.unobserved_weight,
                regularization_exponent=objective.regularization_exponent,
                positive_exponents=objective.positive_exponents,
                missing_exponents=objective.missing_exponents,
            ).fit(train, init=model)
            spent = stage
            users = model.fold_in(known, threads=threads or 1)
            ids, _ = top_n(users, ItemIndex(model.item_factors), k, exclude=known, threads=threads)
            best = max(best, (quality(ids, wanted, k).ndcg, stage), key=lambda pair: pair[0])
        return best

    short = max(2, iterations // 2)
    rungs = [
        Rung(0, max(8, n_factors // 4), (short,), candidates),
        Rung(1, max(8, n_factors // 2), (short,), max(4, candidates // 3)),
        Rung(
            2,
            n_factors,
            tuple(sorted({short, iterations})),
            max(2, candidates // 9),
            with_starts=True,
        ),
    ]
    trials = climb(rungs, score, generator, progress, moves_half_life=False)
    best = trials[-1]
    return TuningResult(
        best.choice, best.n_factors, best.iterations, f"ndcg@{k}", best.score, None, tuple(trials)
    )


def tune_stream(
    stream: Stream,
    base: Recipe,
    *,
    candidates: int = 27,
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> TuningResult:
    """Return the choices under which lists were best, replaying a stream from its half on.

    The score is the mean of `recstream.core.evaluation.prequential.soft_hits`. Lower rungs replay a shorter
    part. Pass the part of the stream that may be learned from, such as its warm-up.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    worths: dict[Choice, tuple[float, float]] = {}

    def score(choice: Choice, rung: Rung) -> tuple[float, int]:
        recipe = replace(
            base,
            n_factors=rung.n_factors,
            proportions=choice.proportions,
            history_half_life=choice.history_half_life,
        )
        replay = evaluate(stream, recipe, warm_up=0.5, stop=rung.stop, threads=threads)
        worths[choice] = replay.beta, replay.behaviour_weight
        counted = replay.ranks[replay.ranks >= 0]
        return (float(soft_hits(counted).mean()) if len(counted) else 0.0), rung.stages[-1]

    rungs = [
        Rung(0, base.n_factors, (base.iterations,), candidates, stop=0.7),
        Rung(1, base.n_factors, (base.iterations,), max(3, candidates // 3)),
    ]
    trials = climb(rungs, score, generator, progress, moves_half_life=True)
    best = trials[-1]
    return TuningResult(
        best.choice,
        best.n_factors,
        best.iterations,
        "soft hits",
        best.score,
        worths[best.choice][0],
        tuple(trials),
        worths[best.choice][1],
    )
