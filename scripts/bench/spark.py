"""Scenario `spark`: training on Spark, MLlib's ALS in the same session, `ALS.fit` in one process.

Seconds per epoch are those of the fastest of five; of MLlib, which does not report them, a quarter
of the time of five epochs less that of one. Memory is that of each executor and of the driver,
without pages that files back. Recall@20 is on gowalla's test part. MLlib's objective is another one
(uniform weight of missing entries), so each uses parameters that suit it. ::

    python scripts/bench/spark.py --save                       # gowalla
    python scripts/bench/spark.py --synthetic 20000000 --save  # as many entries as well
"""

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
from recstream.spark import driver, fit
from recstream.spark.driver import run_stage

FACTORS = 64
TOP = 20
PYTHON = ", its Python"


def session(master: str) -> Any:
    """Start Spark with enough memory for MLlib, which keeps entries and factors in the JVM."""
    from pyspark.sql import SparkSession  # noqa: PLC0415

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    spark = (
        SparkSession.builder.master(master)
        .config("spark.driver.memory", "3g")
        .config("spark.executor.memory", "3g")
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


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    try:
        found = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
    return [int(each) for text in found for each in text.split()]


def part_of(pid: int) -> str:
    """Return which part of Spark a process is: driver, an executor, or the Python of one."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    if b"org.apache.spark.executor.CoarseGrainedExecutorBackend" in command:
        return f"executor {command[command.index(b'--executor-id') + 1].decode()}"
    if b"pyspark.daemon" in command:
        return PYTHON
    return "the driver's JVM" if command[0].endswith(b"java") else ""


def memory_by_part(pid: int, part: str = "the driver's Python") -> dict[str, int]:
    """Return the bytes of a process and its descendants, by the part of Spark, without masters."""
    found = {part: resident(pid)}
    for child in children(pid):
        own = part_of(child)
        named = f"{part.removesuffix(PYTHON)}{PYTHON}" if own == PYTHON else own or part
        for name, size in memory_by_part(child, named).items():
            found[name] = found.get(name, 0) + size
    return found


@contextmanager
def peak() -> Iterator[Callable[[], dict[str, float]]]:
    """Sample the memory of Spark's processes; give the highest of each part in GB."""
    highest: dict[str, int] = {}
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.2):
            found = memory_by_part(os.getpid())
            for name, size in {**found, "all parts": sum(found.values())}.items():
                highest[name] = max(highest.get(name, 0), size)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: {name: size / 1e9 for name, size in sorted(highest.items())}
    finally:
        ended.set()
        thread.join()


class Stages:
    """Seconds of a run: before the first epoch, of epochs, of Spark stages, after the last."""

    def __init__(self) -> None:
        self._begun = self._last = time.perf_counter()
        self.before_s = self.on_spark_s = self.after_s = 0.0
        self.epochs_s: list[float] = []

    def report(self, iteration: Any) -> None:
        """Note an epoch that has ended; numbers below 1 are none."""
        if iteration.number == 1:
            self.before_s = time.perf_counter() - self._begun - iteration.seconds
        if iteration.number >= 1:
            self.epochs_s.append(iteration.seconds)
            self._last = time.perf_counter()

    def stage(self, *arguments: Any) -> Any:
        """Run a stage of Spark as the driver does."""
        begun = time.perf_counter()
        found = run_stage(*arguments)
        self.on_spark_s += time.perf_counter() - begun
        return found

    def end(self) -> None:
        """Note that the model is there."""
        self.after_s = time.perf_counter() - self._last

    def rows(self) -> Iterator[tuple[float, str]]:
        """Yield what a run of five epochs took besides the epochs."""
        yield self.before_s, "before the first epoch"
        if self.on_spark_s:
            yield self.on_spark_s / len(self.epochs_s), "in Spark's stages, of an epoch"
        yield self.after_s, "after the last epoch, until the model is there"


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


def timed(run: Callable[[int], Any], *, is_warm: bool) -> tuple[float, Any]:
    """Return seconds per epoch, and the result of five epochs; a run before warms up, if none did.

    Of a peer, which reports no epochs, they are the difference to a run of one epoch.
    """
    if not is_warm:
        run(1)
    begun = time.perf_counter()
    result = run(5)
    seconds = time.perf_counter() - begun
    if stages := result[-1]:
        return min(stages.epochs_s), result
    begun = time.perf_counter()
    run(1)
    return (seconds - (time.perf_counter() - begun)) / 4, result


def ours(spark: Any, frame: Any, blocks: int, options: dict[str, Any]) -> Callable[[int], Any]:
    """Return a run of recstream on Spark, in a folder of its own: factors, and its stages."""

    def run(epochs: int) -> Any:
        stages = Stages()
        driver.run_stage = stages.stage  # type: ignore[assignment]
        with tempfile.TemporaryDirectory() as folder:
            arguments = {"n_factors": FACTORS, "iterations": epochs, **options}
            arguments |= {"callback": stages.report, "n_blocks": (blocks, blocks)}
            made = fit(spark, frame, folder=folder, **arguments)
            stages.end()
            return np.array(made.model.user_factors), np.array(made.model.item_factors), stages

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
        return *sides, None

    return run


def alone(matrix: sp.csr_matrix, options: dict[str, Any]) -> Stages:
    """Return what `ALS.fit` takes; the first run warms up."""
    stages = Stages()
    for epochs in (1, 5):
        stages = Stages()
        ALS(FACTORS, iterations=epochs, threads=2, **options).fit(matrix, callback=stages.report)
        stages.end()
    return stages


def main() -> None:
    """Print a line a measurement; with ``--save``, write docs/benchmarks/spark.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--master", default="local-cluster[2,1,3072]")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--synthetic", type=int, default=0, metavar="ENTRIES")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    spark = session(options.master)
    rows: list[Row] = []

    def say(value: float, unit: str, what: str) -> None:
        rows.append(Row(float(f"{value:.4g}"), unit, what))
        print(f"{value:10.4g} {unit:12} {what}", flush=True)

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
                    is_warm = name != "gowalla"
                    seconds, (users, items, stages) = timed(run, is_warm=is_warm)
                    say(seconds, "s per epoch", f"{who}, {name}, {FACTORS} factors.")
                    for each, what in stages.rows() if stages else ():
                        say(each, "s", f"{who}, {name}: {what}.")
                    for part, size in highest().items():
                        say(size, "GB", f"{who}, {name}: highest memory of {part}.")
                if held is not None:
                    value = recall(users, items, train, held)
                    say(value, "recall@20", f"{who}, {name}, after five epochs.")
            frame.unpersist()
        who = "recstream in one process"
        stages = alone(matrix, arguments)
        say(min(stages.epochs_s), "s per epoch", f"{who}, {name}.")
        for each, what in stages.rows():
            say(each, "s", f"{who}, {name}: {what}.")
    spark.stop()
    if options.save:
        save("spark", "Training on Spark", rows)


if __name__ == "__main__":
    main()
