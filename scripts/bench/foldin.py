"""Scenario `fold_in`: microseconds per user and per item, in batches and alone, with its quality.

::

python scripts/bench/foldin.py
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parent))

from datasets import gowalla
from list_metrics import hits, recall_at
from results import Row, save

from recstream.core.als import ALS, ALSModel

N_FACTORS = 64
LONGEST = 50
BATCH = 256


def microseconds(work: Callable[[], object], repeats: int = 50) -> tuple[float, float]:
    """Return median and p99 of the time that some work takes, after one warm-up."""
    work()
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1e6)
    return float(np.median(taken)), float(np.percentile(taken, 99))


def recall(model: ALSModel, users: np.ndarray, seen: sp.csr_matrix, test: sp.csr_matrix) -> float:
    """Return Recall@20 over users with test items."""
    ids, _ = model.recommend(users, 20, exclude=seen)
    return float(recall_at(hits(ids, test), np.diff(test.indptr), 20).mean())


def main() -> None:
    """Print times, then the recall of folded-in users beside a training that had them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/foldin.json")
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    rows = []
    train, test = gowalla()
    model = ALS(N_FACTORS, iterations=8).fit(train)
    short = np.flatnonzero(np.diff(train.indptr) <= LONGEST)
    batch = train[generator.choice(short, BATCH, replace=False)]
    alone = [train[user] for user in generator.choice(short, 200, replace=False)]
    columns = train.T.tocsr()
    items = np.flatnonzero(np.diff(columns.indptr) <= LONGEST)
    item_batch = columns[generator.choice(items, BATCH, replace=False)]

    median, worst = microseconds(lambda: model.fold_in(batch))
    rows.append(Row(median / BATCH, "µs", f"A user in batches of {BATCH}, {N_FACTORS} factors."))
    print(
        f"users, batches of {BATCH}: {median / BATCH:.1f} µs each (p99 {worst / BATCH:.1f}; ≤ 20)"
    )
    median, worst = microseconds(lambda: model.fold_in_items(item_batch))
    rows.append(Row(median / BATCH, "µs", f"An item in batches of {BATCH}."))
    print(
        f"items, batches of {BATCH}: {median / BATCH:.1f} µs each (p99 {worst / BATCH:.1f}; ≤ 20)"
    )
    each = [microseconds(lambda row=row: model.fold_in(row), 5)[0] for row in alone]
    rows.append(Row(float(np.median(each)), "µs", "One user alone, Python included."))
    print(
        f"one user alone: {np.median(each):.0f} µs (p99 {np.percentile(each, 99):.0f}; ≤ 150), Python included"
    )
    shown, _ = model.recommend(model.fold_in(alone[0]), 20)
    median, _ = microseconds(lambda: model.explain_list(alone[0], shown[0]))
    rows.append(
        Row(median, "µs", f"Explaining a list of 20 from a history of {alone[0].nnz} entries.")
    )
    print(f"explaining a list of 20: {median:.0f} µs for a history of {alone[0].nnz}")

    # A tenth of the users is kept from the training, then folded in.
    test.resize(train.shape)
    everyone = np.arange(train.shape[0])
    late = (generator.random(len(everyone)) < 0.1) & (np.diff(test.indptr) > 0)
    early = train.multiply(sp.csr_matrix(~late).T.astype(np.float32)).tocsr()
    early.eliminate_zeros()
    without = ALS(N_FACTORS, iterations=8).fit(early)
    refitted = recall(model, model.user_factors[late], train[late], test[late])
    folded = recall(without, without.fold_in(train[late]), train[late], test[late])
    print(
        f"Recall@20 of {late.sum()} users: trained with {refitted:.4f}, folded in {folded:.4f}, ",
        end="",
    )
    print(f"{folded / refitted - 1:+.2%} (≥ -1 %)")
    rows += [
        Row(folded, "Recall@20", f"{late.sum():,} users folded in."),
        Row(refitted, "Recall@20", "The same users in the training."),
    ]
    if options.save:
        save("foldin", "Fold-in", rows)


if __name__ == "__main__":
    main()
