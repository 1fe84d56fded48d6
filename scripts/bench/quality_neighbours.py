"""Print what behaviour neighbours add to factors on a matrix without times (`quality.py`).

All entries of a user have one time, so that a history has no order. Their weight is chosen on a fifth of
the training part; the test part is read once. Differences are paired by user.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from list_metrics import hits, ndcg_at, quality, recall_at
from scipy import sparse
from tuned import als_arguments

from recstream.core.als import ALS, typical_score
from recstream.core.evaluation.held_out_lists import split_entries
from recstream.core.evaluation.search import TuningResult
from recstream.core.neighbours import (
    BEHAVIOUR_VERSION,
    BEHAVIOUR_WEIGHT,
    SeedRule,
    fit_behaviour,
    gather,
    seed_weights,
)
from recstream.core.search import top_n
from recstream.core.search.top_n import Ranking

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.5, 5.0, 7.0, 10.0)
K = 20


class Near(NamedTuple):
    """Items with a neighbour score that their user lacks: neighbour scores and ``x·y``, in CSR order."""

    indptr: np.ndarray
    rows: np.ndarray
    total: np.ndarray
    dots: np.ndarray


class Parts(NamedTuple):
    """The best K items by factors, and the items near to histories by version of the neighbours."""

    base: Ranking
    near: Mapping[int, Near]

    def lists(self, weight: float, version: int, factors: float = 1.0) -> np.ndarray:
        """Return the best K items of each user: neighbour scores are not below 0, so no other can be."""
        out = np.full(self.base.ids.shape, -1, np.int32)
        near = self.near[version]
        totals = factors * near.dots + weight * near.total
        for user, (ids, scores) in enumerate(zip(*self.base, strict=True)):
            own = slice(near.indptr[user], near.indptr[user + 1])
            others = ~np.isin(ids, near.rows[own])
            rows = np.concatenate((near.rows[own], ids[others]))
            best = np.argsort(
                -np.concatenate((totals[own], factors * scores[others])), kind="stable"
            )[:K]
            out[user, : len(best)] = rows[best]
        return out


def parts(train: sparse.csr_matrix, options: Mapping[str, Any], asked: np.ndarray) -> Parts:
    """Train on a matrix; neighbour scores are in typical scores."""
    threads = options["threads"]
    model = ALS(**options).fit(train)
    known = train[asked]
    users = model.fold_in(known, threads=threads)
    unit = typical_score(model, train)
    entries, near = train.tocoo(), {}
    for version in range(1, BEHAVIOUR_VERSION + 1):
        table = fit_behaviour(
            entries.row, entries.col, np.zeros(train.nnz), train.shape[1],
            version=version, threads=threads,
        )  # fmt: skip
        rows = np.split(known.indices.astype(np.int32), known.indptr[1:-1])
        rule = SeedRule.of(version)
        seeds = [seed_weights(row, np.ones(len(row), np.float32), rule) for row in rows]
        found = [gather(*each, [(table, unit)]) for each in zip(rows, seeds, strict=True)]
        new = [~np.isin(each.rows, row) for each, row in zip(found, rows, strict=True)]
        columns = [each.rows[keep] for each, keep in zip(found, new, strict=True)]
        near[version] = Near(
            np.cumsum([0, *map(len, columns)]),
            np.concatenate(columns),
            np.concatenate([each.total[keep] for each, keep in zip(found, new, strict=True)]),
            np.concatenate(
                [model.item_factors[at] @ user for at, user in zip(columns, users, strict=True)]
            ),
        )
    return Parts(top_n(users, model.item_factors, K, exclude=known, threads=threads), near)


def report(
    train: sparse.csr_matrix,
    test: sparse.csr_matrix,
    found: TuningResult,
    *,
    threads: int,
    seed: int = 0,
    max_users: int = 5_000,
) -> None:
    """Choose the weight on a fifth of the training part; print a table of the test part."""
    generator = np.random.Generator(np.random.PCG64(seed))
    early, late, _ = split_entries(train, 0.2, generator)
    asked = np.flatnonzero(np.diff(late.indptr))
    if len(asked) > max_users:
        asked = np.sort(generator.choice(asked, max_users, replace=False))
    made = parts(early, {**als_arguments(found, early), "threads": threads, "seed": seed}, asked)
    scores = {
        weight: quality(made.lists(weight, BEHAVIOUR_VERSION), late[asked], K).ndcg
        for weight in WEIGHTS
    }
    chosen = max(scores, key=scores.__getitem__)
    print("validation NDCG@20 by w:", {w: round(score, 4) for w, score in scores.items()})
    asked = np.flatnonzero(np.diff(test.indptr))
    made = parts(train, {**als_arguments(found, train), "threads": threads, "seed": seed}, asked)
    wanted = test[asked]
    n_wanted = np.diff(wanted.indptr)
    base: tuple[np.ndarray, np.ndarray] | None = None
    print(f"| d = {found.n_factors} | Recall@20 | more | NDCG@20 | more |\n|---|---|---|---|---|")
    for name, weight, version, factors in (
        ("factors", 0.0, BEHAVIOUR_VERSION, 1.0),
        ("neighbours alone", 1.0, BEHAVIOUR_VERSION, 0.0),
        (f"both, w {chosen:g} (chosen)", chosen, BEHAVIOUR_VERSION, 1.0),
        (f"both, w {BEHAVIOUR_WEIGHT:g} (default)", BEHAVIOUR_WEIGHT, BEHAVIOUR_VERSION, 1.0),
        (f"both, version 1, w {BEHAVIOUR_WEIGHT:g}", BEHAVIOUR_WEIGHT, 1, 1.0),
    ):
        hit = hits(made.lists(weight, version, factors), wanted)
        values = recall_at(hit, n_wanted, K), ndcg_at(hit, n_wanted, K)
        base = base or values
        cells = []
        for ours, theirs in zip(values, base, strict=True):
            more = ours - theirs
            error = 1.96 * more.std() / np.sqrt(len(more))
            cells.append(f"{ours.mean():.4f} | {more.mean():+.4f} ± {error:.4f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
