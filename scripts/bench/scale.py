"""Scenario `fit` at size: 100 million synthetic entries in memory, time and peak memory.

::

python scripts/bench/scale.py                 # 1M users × 200k items × 100 each, d = 64
python scripts/bench/scale.py --users 100000  # a tenth of it
"""

import argparse
import resource
import sys
from pathlib import Path

import numba
import numpy as np
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parent))

from datasets import gowalla
from results import Row, save

from recstream import ALS


@numba.njit(cache=True)
def _fill(indices: np.ndarray, n_users: int, each: int, n_items: int, seed: int) -> None:
    """Give every user `each` distinct items in ascending order, low rows more often."""
    np.random.seed(seed)  # noqa: NPY002  (numba's own generator)
    for user in range(n_users):
        last = -1
        for place in range(each):
            at = (place + np.random.random()) / each  # noqa: NPY002
            item = max(last + 1, int(at * at * (n_items - each)))
            indices[user * each + place] = item
            last = item


def synthetic(n_users: int, n_items: int, each: int, seed: int = 0) -> sp.csr_matrix:
    """Return a matrix of ones whose items' counts fall off as a power of their rank."""
    indices = np.empty(n_users * each, np.int32)
    _fill(indices, n_users, each, n_items, seed)
    indptr = np.arange(n_users + 1, dtype=np.int64) * each
    matrix = sp.csr_matrix(
        (np.ones(len(indices), np.float32), indices, indptr), shape=(n_users, n_items)
    )
    matrix.has_canonical_format = True
    return matrix


def _peak_bytes() -> int:
    """Return the most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Print seconds per epoch and entry, and peak memory beside what must be there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--each", type=int, default=100)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/scale.json")
    options = parser.parse_args()

    def epoch(matrix: sp.csr_matrix, iterations: int) -> float:
        seconds: list[float] = []
        ALS(options.factors, iterations=iterations, threads=options.threads).fit(
            matrix, callback=lambda step: seconds.append(step.seconds) if step.number else None
        )
        return min(seconds[1:] or seconds)

    small = gowalla()[0]
    small_ns = epoch(small, 4) / small.nnz * 1e9
    before = _peak_bytes()
    matrix = synthetic(options.users, options.items, options.each)
    held = sum(part.nbytes for part in (matrix.data, matrix.indices, matrix.indptr))
    factors = (options.users + options.items) * options.factors * 4
    seconds = epoch(matrix, options.iterations)
    again = epoch(small, 4) / small.nnz * 1e9
    peak = _peak_bytes() - before
    per_entry = seconds / matrix.nnz * 1e9
    print(f"{matrix.shape[0]} × {matrix.shape[1]}, {matrix.nnz} entries, d = {options.factors}")
    print(f"epoch {seconds:.2f} s, {per_entry:.0f} ns an entry; ", end="")
    print(f"gowalla before {small_ns:.0f}, after {again:.0f}; ", end="")
    print(f"ratio {per_entry / min(small_ns, again):.2f} (≤ 1.30)")
    print(f"peak {peak / 1e9:.2f} GB over the interpreter's {before / 1e9:.2f}; ", end="")
    print(f"factors {factors / 1e9:.2f}, matrix {held / 1e9:.2f}, by row and by column ", end="")
    print(
        f"{2 * held / 1e9:.2f}: ×{peak / (factors + 2 * held):.2f} of factors and both (≤ 1.30), "
    )
    print(f"×{peak / (factors + held):.2f} of factors and the caller's matrix alone")
    if options.save:
        size = (
            f"{options.users:,} users, {options.items:,} items, {matrix.nnz:,} entries, "
            f"{options.factors} factors, {options.threads} threads."
        )
        rows = [
            Row(seconds, "s per epoch", size),
            Row(per_entry, "ns per entry", "The same, per entry."),
            Row(per_entry / min(small_ns, again), "times", "Cost per entry relative to gowalla."),
            Row(peak / 1e9, "GB", "Peak memory."),
        ]
        save("scale", "Training at scale", rows)


if __name__ == "__main__":
    main()
