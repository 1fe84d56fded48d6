"""Training on a real Spark: the model of one machine, and executors that are killed."""

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
from tests.trainer.training.blocked.test_dataset import Shop, digest, trained

pytestmark = pytest.mark.integration

MATRIX = sp.random(400, 300, 0.05, "csr", np.float32, np.random.default_rng(0))


@pytest.fixture(scope="module", params=["local[2]", "local-cluster[2,1,1024]"])
def spark(request: pytest.FixtureRequest) -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    # Of virtual machines that live for seconds: half of their processor time was compilation.
    os.environ["JAVA_TOOL_OPTIONS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
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


def executors(spark: Any) -> list[int]:
    """Return the process ids of this driver's executors, which run apart from it."""
    port = f":{spark.sparkContext.getConf().get('spark.driver.port')}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"CoarseGrainedExecutorBackend" in command and port in command:
            found.append(int(entry.name))
    return found


def table(spark: Any, folder: Path) -> Any:
    entries = MATRIX.tocoo()
    columns = {
        "who": [f"u{row}" for row in entries.row],
        "what": [f"ü/{column}" for column in entries.col],
        "n": entries.data.astype(float),
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
            killed.extend(executors(spark)[:1])
            os.kill(killed[0], signal.SIGKILL)

    als = ALS(16, iterations=3)
    found = fit_matrix(spark, als, MATRIX, folder=tmp_path, n_blocks=(5, 4), callback=kill)
    assert killed
    np.testing.assert_array_equal(found.item_factors, als.fit(MATRIX).item_factors)


TEXTS = "user string, item string, weight double"


@pytest.mark.parametrize(
    ("rows", "schema", "message"),
    [
        ([("u", "i", -1.0)], TEXTS, "finite number of at least 0, got -1"),
        ([("u", "i", None)], TEXTS, "finite number of at least 0, got NaN or null"),
        ([("u", "i", 1e300)], TEXTS, "finite number of at least 0, got inf"),
        ([("u", "i", 0.0)], TEXTS, "a weight above 0, got none in 1 × 1"),
        ([("u", "i", "2")], "user string, item string, weight string", "numbers, got string"),
        ([(None, "i", 1.0)], TEXTS, "must have a user, got null"),
        ([("u", None, 1.0)], TEXTS, "must have an item, got null"),
        ([(0.5, "i", 1.0)], "user double, item string, weight double", "dates, .* got double"),
        ([([1], "i", 1.0)], "user array<int>, item string, weight double", "got array<int>"),
        ([("u", "i", 1.0), ("u", "i", 2.0)], TEXTS, "stands there twice"),
        ([], TEXTS, "must have a row, got none"),
        ([("u", 1.0)], "user string, weight double", "name .'item'. by user=, item="),
    ],
)
def test_a_table_that_is_no_matrix_is_refused(
    rows: list[Any], schema: str, message: str, spark: Any, tmp_path: Path
) -> None:
    if spark.sparkContext.master.startswith("local-cluster"):
        return  # the driver checks the table
    with pytest.raises(InvalidInput, match=message):
        fit(spark, spark.createDataFrame(rows, schema), folder=tmp_path)


def test_ids_sort_by_their_own_type(spark: Any, tmp_path: Path) -> None:
    rows = [(10, "2", 1), (2, "10", 3)]
    frame = spark.createDataFrame(rows, "`a``b` long, item string, weight int")
    found = fit(spark, frame, folder=tmp_path, user="a`b", n_factors=2, iterations=1)
    assert found.user_ids.to_pylist() == [2, 10]
    assert found.item_ids.to_pylist() == ["10", "2"]


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
