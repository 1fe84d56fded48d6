"""Scenario `fit` from an older generation: seconds to the same loss, cold and warm, on gowalla.

::

    python scripts/bench/warm_start.py
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parent))

from datasets import gowalla

from recstream import ALS, ALSModel
from recstream.core.als import Iteration


def course(
    matrix: sp.csr_matrix, iterations: int, init: ALSModel | None = None, **options: float
) -> list[Iteration]:
    """Train and return what the callback heard of each iteration."""
    steps: list[Iteration] = []
    ALS(64, iterations=iterations, **options).fit(matrix, init=init, callback=steps.append)
    return [step for step in steps if step.number]


def main() -> None:
    """Print a line per way to get from a model of older data to one of all data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--new", type=float, default=0.02, help="share of entries that are new")
    parser.add_argument("--goal", type=int, default=12, help="cold iterations to equal")
    options = parser.parse_args()
    matrix = gowalla()[0]
    generator = np.random.default_rng(0)
    older = matrix.copy()
    older.data[generator.random(matrix.nnz) < options.new] = 0.0
    older.eliminate_zeros()
    parent = ALS(64, iterations=options.goal).fit(older)
    cold = course(matrix, options.goal)
    goal = cold[-1].loss
    seconds = sum(step.seconds for step in cold)
    print(f"{options.new:.0%} of {matrix.nnz} entries are new; loss to reach {goal:.1f}")
    print(f"cold              {len(cold):2} iterations {seconds:6.2f} s")
    for tolerance in (0.0, 1e-5, 1e-4, 1e-3):
        steps = course(matrix, options.goal, parent, tolerance=tolerance)
        enough = [n for n, step in enumerate(steps, 1) if step.loss <= goal * (1 + 1e-6)]
        used = steps[: enough[0] if enough else len(steps)]
        took = sum(step.seconds for step in used)
        skipped = np.mean([step.skipped for step in used]) / sum(matrix.shape)
        reached = "" if enough else f"  stops at {steps[-1].loss:.1f}"
        print(
            f"warm, {tolerance:7.0e}     {len(used):2} iterations {took:6.2f} s "
            f"({took / seconds:.0%}), rows skipped {skipped:.0%}{reached}"
        )


if __name__ == "__main__":
    main()
