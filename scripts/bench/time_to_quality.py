"""Recall@20 on gowalla against seconds of training: ours, implicit and irspack.

Each contender's hyper-parameters are chosen by the same small search on the same validation
split (a fifth of each user's training items), then it trains on everything, and its lists are
checked against the test items after each epoch. Evaluation is not timed.

::

    python scripts/bench/time_to_quality.py --factors 128
    python scripts/bench/time_to_quality.py --plot docs/images/time-to-quality.svg
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # implicit: else its workers compete with BLAS

import argparse
import itertools
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parent))

from datasets import gowalla
from list_metrics import hits, recall_at

from recstream.core.als import ALS
from recstream.core.search import top_n

THREADS = 2
EPOCHS = 8
Options = dict[str, float]
Moment = tuple[float, np.ndarray, np.ndarray]
"""Seconds so far, user factors and item factors."""
Contender = Callable[[sp.csr_matrix, int, int, Options], Iterator[Moment]]


def ours(matrix: sp.csr_matrix, n_factors: int, epochs: int, options: Options) -> Iterator[Moment]:
    """Train for 1, 2, … epochs, each from the start: a model is what `fit` returns."""
    for iterations in range(1, epochs + 1):
        begun = time.perf_counter()
        model = ALS(n_factors, iterations=iterations, threads=THREADS, **options).fit(matrix)
        yield time.perf_counter() - begun, model.user_factors, model.item_factors


def implicit(
    matrix: sp.csr_matrix, n_factors: int, epochs: int, options: Options
) -> Iterator[Moment]:
    """Train implicit's ALS an epoch at a time; it goes on from the factors it has."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415

    model = AlternatingLeastSquares(
        n_factors, iterations=1, num_threads=THREADS, random_state=1, **options
    )
    seconds = 0.0
    for _ in range(epochs):
        begun = time.perf_counter()
        model.fit(matrix, show_progress=False)
        seconds += time.perf_counter() - begun
        yield seconds, model.user_factors, model.item_factors


def irspack(
    matrix: sp.csr_matrix, n_factors: int, epochs: int, options: Options
) -> Iterator[Moment]:
    """Train irspack's iALS an epoch at a time."""
    from irspack.recommenders.ials import IALSTrainer, str_to_loss_type, str_to_solver_type  # noqa: PLC0415

    begun = time.perf_counter()
    trainer = IALSTrainer(
        matrix,
        n_factors,
        nu=1.0,
        init_std=0.1,
        solver_type=str_to_solver_type("CG"),
        max_cg_steps=3,
        ialspp_subspace_dimension=64,
        loss_type=str_to_loss_type("IALSPP"),
        random_seed=1,
        n_threads=THREADS,
        prediction_time_max_cg_steps=5,
        prediction_time_ialspp_iteration=5,
        **options,
    )
    seconds = time.perf_counter() - begun
    for _ in range(epochs):
        begun = time.perf_counter()
        trainer.run_epoch()
        seconds += time.perf_counter() - begun
        yield seconds, trainer.core_trainer.user, trainer.core_trainer.item


CONTENDERS: dict[str, tuple[Contender, dict[str, tuple[float, ...]]]] = {
    "ours": (ours, {"unobserved_weight": (0.05, 0.1, 0.2), "regularization": (0.03, 0.1)}),
    "implicit": (implicit, {"alpha": (5.0, 15.0, 40.0), "regularization": (1.0, 10.0)}),
    "irspack": (irspack, {"alpha0": (0.03, 0.1, 0.3), "reg": (0.001, 0.003)}),
}


def recall(
    users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix, wanted: sp.csr_matrix
) -> float:
    """Return Recall@20 over the users that want something."""
    some = np.flatnonzero(np.diff(wanted.indptr))
    ids, _ = top_n(
        np.ascontiguousarray(users[some], np.float32),
        np.ascontiguousarray(items, np.float32),
        20,
        exclude=seen[some],
    )
    wanted = wanted[some]
    return float(recall_at(hits(ids, wanted), np.diff(wanted.indptr), 20).mean())


def split(matrix: sp.csr_matrix, seed: int = 0) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Hold a fifth of each user's items out of a training matrix."""
    generator = np.random.default_rng(seed)
    lengths = np.diff(matrix.indptr)
    row = np.repeat(np.arange(matrix.shape[0]), lengths)
    order = np.lexsort((generator.random(matrix.nnz), row))
    place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], lengths)
    held = np.zeros(matrix.nnz, bool)
    held[order[place < np.round(0.2 * lengths[row])]] = True
    parts = []
    for chosen in (~held, held):
        part = matrix.copy()
        part.data = np.where(chosen, part.data, 0).astype(np.float32)
        part.eliminate_zeros()
        parts.append(part)
    return parts[0], parts[1]


def choose(name: str, train: sp.csr_matrix, n_factors: int) -> Options:
    """Return the options of a contender that are best on a validation split."""
    run, grid = CONTENDERS[name]
    kept, held = split(train)
    few = sp.csr_matrix(
        (np.random.default_rng(1).random(len(held.indptr) - 1) < 0.2).astype(np.float32)
    )
    held = held.multiply(few.T).tocsr()
    held.eliminate_zeros()
    best: tuple[float, Options] = (-1.0, {})
    for values in itertools.product(*grid.values()):
        options = dict(zip(grid, values, strict=True))
        *_, (_, users, items) = run(kept, n_factors, EPOCHS, options)
        best = max(best, (recall(users, items, kept, held), options), key=lambda pair: pair[0])
    return best[1]


def main() -> None:
    """Print each contender's choice and its recall after each epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--plot", type=Path, help="where to draw the curves")
    options = parser.parse_args()
    logging.getLogger("implicit").setLevel(logging.ERROR)
    train, test = gowalla()
    test.resize(train.shape)
    curves: dict[str, list[tuple[float, float]]] = {}
    for name, (run, _) in CONTENDERS.items():
        chosen = choose(name, train, options.factors)
        print(f"{name}, d = {options.factors}, chosen on validation: {chosen}")
        curves[name] = []
        for seconds, users, items in run(train, options.factors, EPOCHS, chosen):
            curves[name].append((seconds, recall(users, items, train, test)))
            print(f"  {seconds:7.2f} s  Recall@20 {curves[name][-1][1]:.4f}", flush=True)
    if options.plot:
        draw(curves, options.factors, options.plot)


def draw(curves: dict[str, list[tuple[float, float]]], n_factors: int, path: Path) -> None:
    """Draw recall against seconds."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(
        xscale="log",
        xlabel="seconds of training, two threads",
        ylabel="Recall@20",
        title=f"gowalla, {n_factors} factors",
    )
    axes.legend()
    figure.savefig(path, bbox_inches="tight")


if __name__ == "__main__":
    main()
