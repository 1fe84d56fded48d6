r"""Measure exact top-10 over 10k to 5M items on one core, beside BLAS and the memory's speed.

    scripts/bench/top_n.py                # 10k, 100k and 1M items of 50 factors
    scripts/bench/top_n.py --items 5000000
    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx2,+fma NUMBA_CACHE_DIR=/tmp/avx2 \
        scripts/bench/top_n.py            # code for a processor without AVX-512

Three rounds take turns; the median counts. "sgemm + partition" scores everything with BLAS and
takes the ten best with numpy, which is what a server without an index does. The limits: one sgemm
over the same batch without looking at the result, and one pass of a sum over the float32 factors.
"""

import argparse
import json
from collections.abc import Callable
from statistics import median
from timeit import default_timer

import numpy as np
from results import Row, save
from threadpoolctl import threadpool_limits

from recstream.core.search import ItemIndex, top_n

N_FACTORS = 50
BATCH = 256


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begun = default_timer()
    work()
    return default_timer() - begun


def measure(n_items: int, rounds: int) -> dict[str, float]:
    """Return the figures for one catalogue size."""
    generator = np.random.default_rng(7)
    items = generator.standard_normal((n_items, N_FACTORS), np.float32)
    users = generator.standard_normal((BATCH, N_FACTORS), np.float32)
    build = default_timer()
    index = ItemIndex(items)
    build = default_timer() - build
    few = np.sort(generator.choice(n_items, 100, replace=False))
    part = max(1, min(BATCH, 64_000_000 // n_items))

    def partition() -> np.ndarray:
        return np.argpartition(-(users[:part] @ items.T), 10, axis=1)[:, :10]

    times: dict[str, list[float]] = {}
    top_n(users[:1], index, 10)
    for _ in range(rounds):
        for name, work in {
            "batch": lambda: top_n(users, index, 10),
            "alone": lambda: top_n(users[:1], index, 10, threads=1),
            "two threads": lambda: top_n(users[:1], index, 10, threads=2),
            "sgemm + partition": partition,
            "sgemm": lambda: users[:part] @ items.T,
            "one pass": items.sum,
            "delta of 100": lambda: index.update(few, items[few]),
        }.items():
            times.setdefault(name, []).append(seconds(work))
    middle = {name: median(values) for name, values in times.items()}
    return {
        "items": n_items,
        "requests_per_s": BATCH / middle["batch"],
        "alone_ms": 1e3 * middle["alone"],
        "alone_two_threads_ms": 1e3 * middle["two threads"],
        "partition_requests_per_s": part / middle["sgemm + partition"],
        "sgemm_requests_per_s": part / middle["sgemm"],
        "one_pass_ms": 1e3 * middle["one pass"],
        "delta_of_100_ms": 1e3 * middle["delta of 100"],
        "build_s": build,
        "memory_over_factors": index.size_bytes / items.nbytes,
    }


def main() -> None:
    """Print one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/top_n.json")
    options = parser.parse_args()
    rows = []
    with threadpool_limits(1):
        for n_items in options.items:
            figures = measure(n_items, options.rounds)
            size = f"{n_items:,} items, {N_FACTORS} factors, one core"
            rows[:0] = [
                Row(figures["requests_per_s"], "requests/s", f"{size}, batches of {BATCH}."),
                Row(figures["alone_ms"], "ms", f"One request alone, {n_items:,} items."),
                Row(
                    figures["partition_requests_per_s"],
                    "requests/s",
                    f"Peer: sgemm and numpy partition, {n_items:,} items.",
                ),
                Row(
                    figures["sgemm_requests_per_s"],
                    "requests/s",
                    f"sgemm alone, {n_items:,} items.",
                ),
                Row(figures["one_pass_ms"], "ms", f"One pass over the factors, {n_items:,} items."),
            ]
            if options.json:
                print(json.dumps(figures), flush=True)
            else:
                print(
                    "  ".join(f"{name} {value:,.4g}" for name, value in figures.items()), flush=True
                )
    if options.save:
        save("top_n", "Exact top 10", rows)


if __name__ == "__main__":
    main()
