"""Print the quality of lists: of factors and behaviour neighbours on gowalla, then of cold and warm items.

    scripts/bench/quality.py                                # search, train, test; then the tables
    scripts/bench/quality.py --candidates 12 --factors 256  # a shorter search
    scripts/bench/quality.py --only hybrid                  # the tables alone
    scripts/bench/quality.py --only gowalla --no-search --factors 1024 --iterations 3
    scripts/bench/quality.py --only gowalla --no-search --factors 1024 --iterations 3 --seeds 2 --popularity .06
    scripts/bench/quality.py --only gowalla --no-search --validate random --factors 512 --ridge 3

For gowalla the objective is tuned on the training part alone, trained once, and tested, then with
behaviour neighbours (`quality_neighbours.py`). Cold and warm items: `hybrid.py`.
Protocol (LightGCN): rank all items but the user's training items; Recall@20 = hits / |test|;
NDCG@20 with the ideal cut at min(20, |test|); means over users with test items. The search sees
the training part only; the test part is read once, at the end. With ``--validate`` a fifth of the
training part is the test part: a random one, or clusters (`cluster_split.py`).
"""

import argparse
import json
from timeit import default_timer
from typing import Any

import hybrid
import numpy as np
import quality_neighbours
from cluster_split import cluster_split
from datasets import gowalla
from list_metrics import quality
from scipy import sparse
from tuned import als_arguments, as_dict

from recstream.core.als import ALS, Proportions, typical_score
from recstream.core.evaluation import SearchProgress, tune
from recstream.core.evaluation.held_out_lists import split_entries
from recstream.core.evaluation.search import Choice, TuningResult
from recstream.core.popularity import fit_popularity
from recstream.core.search import top_n

K = 20
FACTORS_ALONE = {"behaviour_weight": 0.0, "popularity_weight": 0.0}
EXPONENTS = ((0.5, 0.5), (0.3, 0.3))
"""What a search found on gowalla: docs/explanation/research/tuning.md."""


def report(progress: SearchProgress) -> None:
    """Show a trial."""
    trial = progress.trial
    proportions = trial.choice.proportions
    exponents = [
        round(e, 2) for e in proportions.positive_exponents + proportions.missing_exponents
    ]
    print(
        f"{progress.done:3}/{progress.total} rung {trial.rung} d {trial.n_factors:3} "
        f"U {proportions.unobserved_mass:6.1f} R {proportions.ridge:5.2f} exponents {exponents} "
        f"validation {trial.score:.4f}, best {progress.best.score:.4f}",
        flush=True,
    )


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=36)
    parser.add_argument("--factors", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-search", action="store_true", help="take --mass and --ridge")
    parser.add_argument("--mass", type=float, default=200.0, help="unobserved mass")
    parser.add_argument("--ridge", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, default=1, help="models whose scores are averaged")
    parser.add_argument("--popularity", type=float, default=0.0, help="in typical scores")
    parser.add_argument(
        "--validate", choices=("random", "clusters"), help="do not read the test part"
    )
    parser.add_argument("--only", choices=("gowalla", "hybrid"))
    options = parser.parse_args()
    if options.only != "hybrid":
        of_factors(options)
    if options.only != "gowalla":
        hybrid.main([])


def of_factors(options: argparse.Namespace) -> None:
    """Search, train, test on gowalla."""
    train, test = gowalla()
    generator = np.random.default_rng(options.seed)
    if options.validate == "random":
        train, test, _ = split_entries(train, 0.2, generator)
    elif options.validate == "clusters":
        train, test = cluster_split(train, 0.2, generator)
    begun = default_timer()
    if options.no_search:
        given = Choice(Proportions(options.mass, options.ridge, 1.0, *EXPONENTS))
        found = TuningResult(given, options.factors, options.iterations, "none", 0.0)
    else:
        found = tune(
            train,
            k=K,
            n_factors=options.factors,
            iterations=options.iterations,
            candidates=options.candidates,
            seed=options.seed,
            threads=options.threads,
            max_users=5_000,
            weights=FACTORS_ALONE,
            fixed=FACTORS_ALONE,
            progress=report,
        )
    search_s = default_timer() - begun
    begun = default_timer()
    ids = lists(train, als_arguments(found, train), options)
    train_s = default_timer() - begun
    result = quality(ids, test, K)
    print(json.dumps(as_dict(found)))
    print(
        f"gowalla d {found.n_factors}: Recall@20 {result.recall:.4f} NDCG@20 {result.ndcg:.4f} "
        f"coverage {result.coverage:.3f} Gini {result.gini:.3f}; "
        f"search {search_s:.0f} s, training and lists {train_s:.1f} s",
        flush=True,
    )
    if options.validate or options.seeds > 1 or options.popularity:
        return
    quality_neighbours.report(train, test, found, threads=options.threads, seed=options.seed)


def lists(
    train: sparse.csr_matrix, arguments: dict[str, Any], options: argparse.Namespace
) -> np.ndarray:
    """Return the K best items of each user by the mean score of `seeds` models, and popularity.

    A sum of models is one model with their factors side by side.
    """
    users, items = [], []
    for seed in range(options.seed, options.seed + options.seeds):
        model = ALS(**arguments, seed=seed, threads=options.threads).fit(train)
        unit = np.float32(options.seeds * typical_score(model, train))
        users.append(model.fold_in(train, threads=options.threads) / unit)
        items.append(model.item_factors)
    popular = fit_popularity(train.indices, np.zeros(train.nnz), train.shape[1])
    ranking = top_n(
        np.hstack(users),
        np.hstack(items),
        K,
        exclude=train,
        bias=popular.bias(options.popularity),
        threads=options.threads,
    )
    return ranking.ids


if __name__ == "__main__":
    main()
