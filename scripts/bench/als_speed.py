"""Scenario `fit`: seconds per epoch on gowalla, ours beside implicit and irspack.

Every contender runs in turn, round after round, in one process and with as many threads, so that
the ratios mean something on a shared machine; the minimum over all epochs is reported. ::

    python scripts/bench/als_speed.py                       # d = 64, 128, 256, all contenders
    python scripts/bench/als_speed.py --factors 64 --exact  # Cholesky against Cholesky
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # implicit: else its workers compete with BLAS

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parent))

from datasets import gowalla
from results import Row, save

from recstream import ALS
from recstream.core.numeric.simd import LANES

EPOCHS = 3
"""Epochs of one contender before the next has its turn; the first warms up."""

Contender = Callable[[sp.csr_matrix, int, int], list[float]]


def ours(solver: str) -> Contender:
    """Return a contender of this project."""

    def run(matrix: sp.csr_matrix, n_factors: int, threads: int) -> list[float]:
        seconds: list[float] = []
        ALS(n_factors, iterations=EPOCHS, solver=solver, threads=threads).fit(
            matrix, callback=lambda step: seconds.append(step.seconds)
        )
        return seconds[2:]

    return run


def implicit(use_cg: bool) -> Contender:
    """Return implicit's ALS."""

    def run(matrix: sp.csr_matrix, n_factors: int, threads: int) -> list[float]:
        from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415

        seconds: list[float] = []
        model = AlternatingLeastSquares(
            n_factors,
            regularization=10.0,
            alpha=10.0,
            use_cg=use_cg,
            iterations=EPOCHS if use_cg else 1,
            num_threads=threads,
            random_state=1,
        )
        model.fit(matrix, show_progress=False, callback=lambda _, took, __: seconds.append(took))
        return seconds[1:] or seconds

    return run


def irspack(solver: str) -> Contender:
    """Return irspack's iALS."""

    def run(matrix: sp.csr_matrix, n_factors: int, threads: int) -> list[float]:
        from irspack.recommenders.ials import IALSTrainer, str_to_loss_type, str_to_solver_type  # noqa: PLC0415

        trainer = IALSTrainer(
            matrix,
            n_factors,
            alpha0=0.1,
            reg=0.003,
            nu=1.0,
            init_std=0.1,
            solver_type=str_to_solver_type(solver),
            max_cg_steps=3,
            ialspp_subspace_dimension=64,
            loss_type=str_to_loss_type("IALSPP"),
            random_seed=1,
            n_threads=threads,
            prediction_time_max_cg_steps=5,
            prediction_time_ialspp_iteration=5,
        )
        seconds = []
        for _ in range(EPOCHS if solver == "CG" else 1):
            begun = time.perf_counter()
            trainer.run_epoch()
            seconds.append(time.perf_counter() - begun)
        return seconds[1:] or seconds

    return run


FAST: dict[str, Contender] = {
    "ours mixed": ours("mixed"),
    "implicit CG": implicit(True),
    "irspack CG": irspack("CG"),
}
EXACT: dict[str, Contender] = {
    "ours exact": ours("exact"),
    "implicit Cholesky": implicit(False),
    "irspack Cholesky": irspack("CHOLESKY"),
}
TARGETS = {
    64: {"implicit CG": 0.37, "irspack CG": 0.67},
    128: {"implicit CG": 0.37, "irspack CG": 0.48},
    256: {"implicit CG": 0.36, "irspack CG": 0.33},
}


def measure(
    matrix: sp.csr_matrix,
    contenders: dict[str, Contender],
    n_factors: int,
    threads: int,
    rounds: int,
) -> Iterator[tuple[str, float, float]]:
    """Yield each contender's name, least and median seconds per epoch."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            seconds[name] += run(matrix, n_factors, threads)
    for name, taken in seconds.items():
        yield name, min(taken), float(np.median(taken))


def main() -> None:
    """Print a table, or JSON lines with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--factors", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--exact", action="store_true", help="Cholesky instead of CG")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/als_speed.json")
    options = parser.parse_args()
    logging.getLogger("implicit").setLevel(logging.ERROR)
    matrix = gowalla()[0]
    if not options.json:
        print(f"gowalla, {matrix.nnz} entries, {options.threads} threads, ", end="")
        print(f"{LANES} lanes; least (median) seconds per epoch")
    rows = []
    for n_factors in options.factors:
        results = {
            name: (least, median)
            for name, least, median in measure(
                matrix, EXACT if options.exact else FAST, n_factors, options.threads, options.rounds
            )
        }
        own = next(iter(results.values()))[0]
        for name, (least, median) in results.items():
            who = name.replace("ours", "recstream") if name.startswith("ours") else f"Peer: {name}"
            rows.append(Row(least, "s per epoch", f"{who}, gowalla, {n_factors} factors."))
            goal = 1 / (10 if "implicit" in name else 4)
            if not options.exact:
                goal = TARGETS.get(n_factors, {}).get(name, 1.0)
            if options.json:
                print(json.dumps({"scenario": "fit", "d": n_factors, "who": name, "s": least}))
            else:
                verdict = "" if name.startswith("ours") else f"  {own / least:.2f} (≤ {goal:.2f})"
                print(f"d = {n_factors:3}  {name:18} {least:8.3f} ({median:.3f}){verdict}")
    if options.save:
        name = "als_exact" if options.exact else "als_speed"
        save(name, "Training speed" + (", exact solver" if options.exact else ""), rows)


if __name__ == "__main__":
    main()
