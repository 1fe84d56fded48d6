"""Hyper-parameter search on held-out events, by successive halving.

Many candidates are tried at low cost: few factors, few iterations. The better third and variations of
the best are tried again at higher cost, rung by rung. Candidates are proportions
(`recstream.core.als.scaling`), which do not depend on the size of the data.

`tune` holds out entries of a matrix, at random or by time. Pass the training part alone; keep the test
part out.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from recstream.core.als import ALS
from recstream.core.evaluation.metrics import quality
from recstream.core.evaluation.successive_halving import (
    Choice,
    Rung,
    SearchProgress,
    Trial,
    successive_halving,
)
from recstream.core.search import ItemIndex, top_n
from recstream.core.validation import as_csr_rows
from recstream.errors import InvalidInput


@dataclass(frozen=True)
class TuningResult:
    """The best candidate of the last rung, and all trials.

    Attributes
    ----------
    metric : str
        Name of the metric of `score`, on the held-out part.
    score : float
    """

    choice: Choice
    n_factors: int
    iterations: int
    metric: str
    score: float
    trials: tuple[Trial, ...] = field(default=(), repr=False)

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

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for TOML or JSON; an infinite half-life is 0."""
        half_life = self.choice.history_half_life
        return {
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


def split_entries(
    interactions: Any, part: float, generator: np.random.Generator, at: Any = None
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Split a matrix into a training and a test matrix.

    Parameters
    ----------
    interactions : scipy sparse, (n, m)
    part : float
        Part of each user's entries to hold out; a user keeps at least one entry.
    generator : numpy.random.Generator
        Chooses the entries if no times are given.
    at : (nnz,) sortable, optional
        Times of the entries in CSR order; the newest are held out.
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
    progress: Callable[[SearchProgress], object] | None = None,
) -> TuningResult:
    """Return the proportions with the best NDCG@k of held-out entries.

    Parameters
    ----------
    interactions : scipy sparse, (n, m)
        The training part alone.
    at : (nnz,) sortable, optional
        Times of the entries in CSR order; with them the newest fifth of each user is held out,
        otherwise a random fifth.
    n_factors, iterations : int
        Values of the last rung; lower rungs use a quarter and a half of the factors, and half the
        iterations.
    candidates : int
        Number of candidates on the lowest rung.
    progress : callable, optional
        Called with a `SearchProgress` after every trial.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    train, test = split_entries(interactions, 0.2, generator, at)
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
    trials = successive_halving(rungs, score, generator, progress, moves_half_life=False)
    best = trials[-1]
    return TuningResult(
        best.choice, best.n_factors, best.iterations, f"ndcg@{k}", best.score, tuple(trials)
    )
