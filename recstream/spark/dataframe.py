"""Train on a DataFrame of (user, item, weight): number the ids, and cut the entries into blocks.

Spark sorts, joins and shuffles; the driver holds the ids and the counts of both sides, and nothing
of the entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recstream import ALS
from recstream.core.als import ALSModel, Iteration
from recstream.core.numeric.arrays import Int64s
from recstream.core.validation import CSRRows, as_whole
from recstream.errors import InvalidInput
from recstream.spark.blocks import EntryBlock, cut, default_blocks, write_entries
from recstream.spark.driver import SIDES, BlockedMatrix, fit_blocks

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class SparkModel:
    """A model and the ids of its rows.

    Attributes
    ----------
    user_ids, item_ids : pyarrow.Array
        Ascending; row i of the factors belongs to id i.
    """

    model: ALSModel
    user_ids: pa.Array
    item_ids: pa.Array

    def write(self, folder: str | Path) -> None:
        """Write ``users.parquet`` and ``items.parquet`` (id, factors) and ``model.npz``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for side, ids, factors in (
            ("users", self.user_ids, self.model.user_factors),
            ("items", self.item_ids, self.model.item_factors),
        ):
            values = pa.array(np.ascontiguousarray(factors).reshape(-1))
            lists = pa.FixedSizeListArray.from_arrays(values, self.model.n_factors)
            pq.write_table(pa.table({"id": ids, "factors": lists}), folder / f"{side}.parquet")
        with (folder / "model.npz").open("wb") as stream:
            self.model.save(stream)


def fit(
    spark: SparkSession,
    dataframe: DataFrame,
    *,
    folder: str | Path,
    user: str = "user",
    item: str = "item",
    weight: str = "weight",
    n_blocks: tuple[int, int] | None = None,
    callback: Callable[[Iteration], object] | None = None,
    **als_arguments: Any,
) -> SparkModel:
    """Train ALS on a table of weights; see `recstream.ALS` for the other arguments.

    Parameters
    ----------
    dataframe : DataFrame
        One row a (user, item) pair, with the columns that the next three arguments name.
    folder : str or Path
        For blocks and factors; driver and executors see it under the same name.
    user, item, weight : str
        Names of columns: ids that are texts, whole numbers, dates, times or bytes, and a weight,
        which is a number of at least 0.
    n_blocks : (int, int), optional
        Numbers of blocks of users and of items; by default by the number of entries and of
        processors.
    callback : callable, optional
        Receives an `Iteration` after each.

    Returns
    -------
    SparkModel
        Equal to that of ``ALS(...).fit`` on the matrix whose rows and columns are the sorted ids.

    Raises
    ------
    InvalidInput
        A missing column or one of another type, no rows, an id that is null, a pair that stands
        there twice, or a weight that is negative, not a number or missing.
    """
    als = ALS(**als_arguments)
    names = (user, item, weight)
    _check_columns(dataframe, names)
    if n_blocks is not None:
        n_blocks = (as_whole(n_blocks[0], "n_blocks", 1), as_whole(n_blocks[1], "n_blocks", 1))
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    quoted = [name.replace("`", "``") for name in names]
    columns = dataframe.select(*(f"`{name}`" for name in quoted)).toDF("uid", "iid", "w")
    ids = {
        side: _number(columns, column, folder / f"{side}-ids.parquet")
        for side, column in (("users", "uid"), ("items", "iid"))
    }
    entries = columns
    for side, column, row in (("users", "uid", "u"), ("items", "iid", "i")):
        index = spark.read.parquet(str(folder / f"{side}-ids.parquet"))
        entries = entries.join(index.withColumnRenamed("row", row), column)
    entries = entries.selectExpr("u", "i", "cast(w as float) as w").persist()
    try:
        blocks, counts = {}, {}
        if n_blocks is None:
            parallelism = spark.sparkContext.defaultParallelism
            n_blocks = (default_blocks(entries.count(), parallelism),) * 2
        for side, row, column, n in zip(SIDES, "ui", "iu", n_blocks, strict=True):
            n_entries, counts[side] = _counts(entries, row, len(ids[side]))
            other = len(ids["items" if side == "users" else "users"])
            blocks[side] = _write_blocks(entries, (row, column), cut(n_entries, n), other, folder)
    finally:
        entries.unpersist()
    model = fit_blocks(spark, als, BlockedMatrix(folder, blocks, counts), callback=callback)
    return SparkModel(model, ids["users"], ids["items"])


def _check_columns(dataframe: DataFrame, names: tuple[str, str, str]) -> None:
    """Raise `InvalidInput` unless the columns exist and have types that can be used."""
    from pyspark.sql import types  # noqa: PLC0415 - an extra

    if missing := [name for name in names if name not in dataframe.columns]:
        raise InvalidInput(
            f"dataframe must have the columns {list(names)}, got {dataframe.columns}; "
            f"name {missing} by user=, item= and weight="
        )
    if len(set(names)) < len(names):
        raise InvalidInput(f"user, item and weight must be three columns, got {list(names)}")
    found = [dataframe.schema[name].dataType for name in names]
    for name, kind in zip(names[:2], found, strict=False):
        if not isinstance(kind, types.AtomicType) or isinstance(kind, types.FractionalType):
            raise InvalidInput(
                f"column {name!r} must hold texts, whole numbers, dates, times or bytes, "
                f"got {kind.simpleString()}; cast it before"
            )
    if not isinstance(found[2], types.NumericType):
        raise InvalidInput(
            f"column {names[2]!r} must hold numbers, got {found[2].simpleString()}; cast it before"
        )


def _number(columns: DataFrame, column: str, path: Path) -> pa.Array:
    """Return the sorted ids of a column, and write them with their rows for the join."""
    ids = columns.select(column).distinct().sort(column).toArrow().column(0).combine_chunks()
    if ids.null_count:
        side = "a user" if column == "uid" else "an item"
        raise InvalidInput(f"every row must have {side}, got null")
    if not len(ids):
        raise InvalidInput("dataframe must have a row, got none")
    part = path.with_suffix(".part")
    pq.write_table(pa.table({column: ids, "row": pa.array(np.arange(len(ids)))}), part)
    part.replace(path)
    return ids


def _counts(entries: DataFrame, row: str, n_rows: int) -> tuple[Int64s, Int64s]:
    """Return the number of entries and of positive entries of each row."""
    from pyspark.sql import functions  # noqa: PLC0415 - an extra

    both = [functions.expr(each) for each in ("count(*)", "count(if(w > 0, 1, null))")]
    grouped = entries.groupBy(row).agg(*both).toArrow()
    found = np.zeros((2, n_rows), np.int64)
    for counts, column in zip(found, grouped.columns[1:], strict=True):
        counts[grouped.column(0).to_numpy()] = column.to_numpy()
    return found[0], found[1]


def _write_blocks(
    entries: DataFrame,
    names: tuple[str, str],
    ranges: list[tuple[int, int]],
    n_columns: int,
    folder: Path,
) -> list[EntryBlock]:
    """Write a block file for each range of rows: one shuffle by block."""
    starts = np.array([start for start, _ in ranges])

    def with_block(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = batch.column(names[0]).to_numpy()
            block = np.searchsorted(starts, rows, side="right") - 1
            arrays = [pa.array(block), *(batch.column(name) for name in (*names, "w"))]
            yield pa.RecordBatch.from_arrays(arrays, ["block", "row", "col", "w"])

    def write(table: pa.Table) -> pa.Table:
        start, stop = ranges[table.column("block")[0].as_py()]
        try:
            block = write_entries(folder, _rows(table, start, stop, n_columns), start)
            answer = msgspec.json.encode(block).decode()
        except InvalidInput as error:
            answer = f"!{error}"
        return pa.table({"answer": [answer]})

    blocked = entries.mapInArrow(with_block, "block long, row long, col long, w float")
    answers = blocked.groupBy("block").applyInArrow(write, "answer string").toArrow()
    found = answers.column(0).to_pylist()
    if faults := sorted(each[1:] for each in found if each.startswith("!")):
        raise InvalidInput(faults[0])
    blocks = [msgspec.json.decode(each, type=EntryBlock) for each in found]
    return sorted(blocks, key=lambda block: block.start)


def _rows(table: pa.Table, start: int, stop: int, n_columns: int) -> CSRRows:
    """Return the entries of a block as rows from `start` to before `stop`, in order."""
    rows, columns = (table.column(name).to_numpy() for name in ("row", "col"))
    weights = table.column("w").to_numpy()
    order = np.lexsort((columns, rows))
    rows, columns, weights = rows[order], columns[order], weights[order]
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        bad = weights[~(np.isfinite(weights) & (weights >= 0))][0]
        found = "NaN or null" if np.isnan(bad) else bad
        raise InvalidInput(f"weight must be a finite number of at least 0, got {found}")
    if ((rows[1:] == rows[:-1]) & (columns[1:] == columns[:-1])).any():
        raise InvalidInput(
            "a pair of user and item stands there twice; sum or choose its weights before"
        )
    indptr = np.searchsorted(rows, np.arange(start, stop + 1))
    return CSRRows(indptr, columns.astype(np.int32), weights.astype(np.float32), n_columns)
