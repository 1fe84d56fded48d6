"""Scenario `spark`: training on Spark, beside MLlib's ALS in the same session and `ALS.fit` in one process.

Seconds per epoch are a quarter of the time of five epochs less that of one: the start of Spark and the
shuffle cancel out. Recall@20 is on gowalla's test part. MLlib's objective is another one (uniform
weight of missing entries), so each uses parameters that suit it. ::

    python scripts/bench/spark.py --save                       # gowalla
    python scripts/bench/spark.py --synthetic 20000000 --save  # as many entries as well
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parent))

from datasets import gowalla
from results import Row, save

from recstream import ALS
from recstream.spark import fit

FACTORS = 64
TOP = 20


def session(master: str) -> Any:
    """Start Spark with enough memory for MLlib, which keeps entries and factors in the JVM."""
    from pyspark.sql import SparkSession  # noqa: PLC0415

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    spark = (
        SparkSession.builder.master(master)
        .config("spark.driver.memory", "6g")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "8")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def resident(pid: int) -> int:
    """Return the bytes of a process that no file backs."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in text.splitlines() if line[:7] == "RssAnon")


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, directly or not."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        more = [
            each
            for task in Path(f"/proc/{pid}/task").iterdir()
            for each in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    children = {int(each) for each in (*found, *more)}
    return [each for child in children for each in (child, *descendants(child))]


@contextmanager
def peak() -> Iterator[Callable[[], float]]:
    """Sample the memory of Spark's processes; give the highest sum in GB."""
    highest = 0
    ended = threading.Event()

    def sample() -> None:
        nonlocal highest
        while not ended.wait(0.2):
            highest = max(highest, sum(resident(pid) for pid in descendants(os.getpid())))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: highest / 1e9
    finally:
        ended.set()
        thread.join()


def synthetic(n_entries: int) -> sp.csr_matrix:
    """Return a matrix whose items are as popular as those of shops: Zipf with exponent 0.8."""
    generator = np.random.default_rng(0)
    n_users, n_items = n_entries // 20, max(1000, n_entries // 200)
    popularity = np.arange(1, n_items + 1) ** -0.8
    items = generator.choice(n_items, n_entries, p=popularity / popularity.sum())
    users = generator.integers(n_users, size=n_entries)
    matrix = sp.csr_matrix((np.ones(n_entries, np.float32), (users, items)), (n_users, n_items))
    matrix.data[:] = 1
    return matrix


def recall(
    users: np.ndarray, items: np.ndarray, train: sp.csr_matrix, test: sp.csr_matrix
) -> float:
    """Return the mean Recall@20 of users with test items; their training items are not listed."""
    found = []
    for start in range(0, train.shape[0], 1000):
        scores = users[start : start + 1000] @ items.T
        scores[train[start : start + 1000].nonzero()] = -np.inf
        top = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
        for row, listed in enumerate(top, start):
            relevant = test.indices[test.indptr[row] : test.indptr[row + 1]]
            if len(relevant):
                found.append(len(np.intersect1d(listed, relevant)) / len(relevant))
    return float(np.mean(found))


def timed(run: Callable[[int], Any]) -> tuple[float, Any]:
    """Return seconds per epoch, and the result of five epochs; the first run warms up."""
    seconds = []
    for epochs in (1, 1, 5):
        begun = time.perf_counter()
        result = run(epochs)
        seconds.append(time.perf_counter() - begun)
    return (seconds[2] - seconds[1]) / 4, result


def ours(spark: Any, frame: Any, blocks: int, options: dict[str, Any]) -> Callable[[int], Any]:
    """Return a run of recstream on Spark, in a folder of its own."""

    def run(epochs: int) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            arguments = {"n_factors": FACTORS, "iterations": epochs, **options}
            made = fit(spark, frame, folder=folder, n_blocks=(blocks, blocks), **arguments)
        return np.asarray(made.model.user_factors), np.asarray(made.model.item_factors)

    return run


def mllib(frame: Any, blocks: int) -> Callable[[int], Any]:
    """Return a run of MLlib's ALS."""
    from pyspark.ml import recommendation  # noqa: PLC0415

    def run(epochs: int) -> Any:
        model = recommendation.ALS(
            rank=FACTORS,
            maxIter=epochs,
            implicitPrefs=True,
            alpha=10.0,
            regParam=0.01,
            numUserBlocks=blocks,
            numItemBlocks=blocks,
            userCol="user",
            itemCol="item",
            ratingCol="weight",
            seed=0,
        ).fit(frame)
        sides = []
        for factors in (model.userFactors, model.itemFactors):
            table = factors.sort("id").toArrow()
            rows = np.zeros((table.column("id")[-1].as_py() + 1, FACTORS), np.float32)
            flat = table.column("features").combine_chunks().flatten().to_numpy()
            rows[table.column("id").to_numpy()] = flat.reshape(-1, FACTORS)
            sides.append(rows)
        return sides

    return run


def alone(matrix: sp.csr_matrix, options: dict[str, Any]) -> float:
    """Return seconds per epoch of `ALS.fit`."""
    steps: list[float] = []
    trainer = ALS(FACTORS, iterations=3, threads=2, **options)
    trainer.fit(matrix, callback=lambda step: steps.append(step.seconds))
    return min(steps[2:])


def main() -> None:
    """Print a line a measurement; with ``--save``, write docs/benchmarks/spark.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--synthetic", type=int, default=0, metavar="ENTRIES")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    spark = session(options.master)
    rows: list[Row] = []

    def say(value: float, unit: str, what: str) -> None:
        rows.append(Row(value, unit, what))
        print(f"{value:10.4g} {unit:12} {what}")

    train, test = gowalla()[:2]
    arguments = {"unobserved_weight": 0.1, "regularization": 0.03}
    sets = [("gowalla", train, test)]
    if options.synthetic:
        sets.append((f"{options.synthetic:,} made-up entries", synthetic(options.synthetic), None))
    for name, matrix, held in sets:
        entries = matrix.tocoo()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.parquet"
            columns = {"user": entries.row, "item": entries.col, "weight": entries.data}
            pq.write_table(pa.table(columns), path)
            frame = spark.read.parquet(str(path)).persist()
            frame.count()
            runs = {
                "recstream on Spark": ours(spark, frame, options.blocks, arguments),
                "Peer: MLlib": mllib(frame, options.blocks),
            }
            for who, run in runs.items():
                with peak() as highest:
                    seconds, (users, items) = timed(run)
                    say(seconds, "s per epoch", f"{who}, {name}, {FACTORS} factors.")
                    say(highest(), "GB", f"{who}, {name}: highest memory of Spark's processes.")
                if held is not None:
                    value = recall(users, items, train, held)
                    say(value, "recall@20", f"{who}, {name}, after five epochs.")
            frame.unpersist()
        say(alone(matrix, arguments), "s per epoch", f"recstream in one process, {name}.")
    spark.stop()
    if options.save:
        save("spark", "Training on Spark", rows)


if __name__ == "__main__":
    main()
