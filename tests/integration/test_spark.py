"""Training on a real Spark: the model of one machine, and executors that are killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from click.testing import CliRunner

from recstream.cli import cli
from recstream.core.als import ALS, Iteration
from recstream.errors import InvalidInput
from recstream.spark import fit, fit_matrix
from recstream.trainer.training.backend import InProcessBackend
from tests.trainer.test_gate_and_rollback import tastes
from tests.trainer.training.test_blocked import Shop, digest, trained

pytestmark = pytest.mark.integration

MATRIX = sp.random(400, 300, 0.05, "csr", np.float32, np.random.default_rng(0))


@pytest.fixture(scope="module", params=["local[2]", "local-cluster[2,1,1024]"])
def spark(request: pytest.FixtureRequest) -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    session = (
        sql.SparkSession.builder.master(request.param)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.executor.memory", "1g")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def executors() -> list[int]:
    """Return the process ids of executors that run apart from the driver."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"CoarseGrainedExecutorBackend" in command:
            found.append(int(entry.name))
    return found


def table(spark: Any, folder: Path, weights: Any = None) -> Any:
    entries = MATRIX.tocoo()
    columns = {
        "who": [f"u{row}" for row in entries.row],
        "what": [f"ü/{column}" for column in entries.col],
        "n": entries.data.astype(float) if weights is None else weights,
    }
    pq.write_table(pa.table(columns), folder / "weights.parquet")
    return spark.read.parquet(str(folder / "weights.parquet"))


def by_id(names: list[str]) -> list[int]:
    """Return the numbers in ids in the order of the ids."""
    return [int(name.strip("uü/")) for name in sorted(names)]


def test_a_table_gives_the_model_of_one_machine(spark: Any, tmp_path: Path) -> None:
    found = fit(
        spark,
        table(spark, tmp_path),
        folder=tmp_path / "work",
        user="who",
        item="what",
        weight="n",
        n_blocks=(3, 7),
        n_factors=16,
        iterations=2,
    )
    rows = [row for row in range(400) if MATRIX[row].nnz]
    users, items = by_id([f"u{row}" for row in rows]), by_id([f"ü/{each}" for each in range(300)])
    expected = ALS(16, iterations=2).fit(MATRIX[users][:, items])
    assert found.user_ids.to_pylist() == [f"u{row}" for row in users]
    np.testing.assert_array_equal(found.model.item_factors, expected.item_factors)
    np.testing.assert_array_equal(found.model.user_factors, expected.user_factors)


def test_a_killed_executor_changes_nothing(spark: Any, tmp_path: Path) -> None:
    if not spark.sparkContext.master.startswith("local-cluster"):
        return  # its tasks run in the driver
    killed = []

    def kill(iteration: Iteration) -> None:
        if iteration.number == 1:
            killed.extend(executors()[:1])
            os.kill(killed[0], signal.SIGKILL)

    als = ALS(16, iterations=3)
    found = fit_matrix(spark, als, MATRIX, folder=tmp_path, n_blocks=(5, 4), callback=kill)
    assert killed
    np.testing.assert_array_equal(found.item_factors, als.fit(MATRIX).item_factors)


def test_a_negative_weight_is_refused(spark: Any, tmp_path: Path) -> None:
    frame = table(spark, tmp_path, -np.ones(MATRIX.nnz))
    with pytest.raises(InvalidInput, match=r"finite number of at least 0, got -1"):
        fit(spark, frame, folder=tmp_path / "work", user="who", item="what", weight="n")


def test_the_command_writes_ids_and_factors(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"user": ["a", "a", "b"], "item": ["x", "y", "x"], "weight": [1.0, 2.0, 1.0]}),
        tmp_path / "weights.parquet",
    )
    options = ["--from", str(tmp_path / "weights.parquet"), "--out", str(tmp_path / "model")]
    more = ["--spark-master", "local[1]", "--set", "n_factors=4", "--set", "iterations=1"]
    result = CliRunner().invoke(cli, ["fit", *options, *more])
    assert result.exit_code == 0, result.output
    items = pq.read_table(tmp_path / "model" / "items.parquet")
    assert items.column("id").to_pylist() == ["x", "y"]
    assert len(items.column("factors")[0]) == 4


def test_a_generation_from_checkpoints_and_log_has_the_digest_of_one_machine(
    spark: Any, tmp_path: Path
) -> None:
    shop = Shop(tmp_path)
    try:
        events = tastes()
        shop.feed(events[: len(events) // 2])
        assert shop.tables.checkpoint(0)
        shop.feed(events[len(events) // 2 :])
        job = shop.job()
        assert digest(trained(shop, job, spark)) == digest(InProcessBackend().run(job, print))
    finally:
        shop.tables.world.close()
