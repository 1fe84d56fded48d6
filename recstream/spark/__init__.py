"""ALS on Spark: a table of (user, item, weight) in, the model of `recstream.ALS` out, bit for bit.

Needs the extra ``spark`` on the driver, recstream on the executors, and a folder that all of them see.
Spark moves blocks of rows and repeats tasks that died; the half-steps are those of `recstream.core.als`.
The trainer uses the files of `blocks` and the stages of `driver` for entries that it reads from the log.
"""

from __future__ import annotations

from recstream.spark.blocks import (
    ArrayFile,
    EntryBlock,
    FactorFile,
    FactorPart,
    check_parts,
    create,
    cut,
    default_blocks,
    map_factors,
    map_vector,
    opened,
    read_file,
    write_entries,
    write_file,
    write_rows,
    write_vector,
)
from recstream.spark.dataframe import SparkModel, fit
from recstream.spark.driver import BlockedMatrix, fit_blocks, fit_matrix, run_stage
from recstream.spark.session import start_session

__all__ = [
    "ArrayFile",
    "BlockedMatrix",
    "EntryBlock",
    "FactorFile",
    "FactorPart",
    "SparkModel",
    "check_parts",
    "create",
    "cut",
    "default_blocks",
    "fit",
    "fit_blocks",
    "fit_matrix",
    "map_factors",
    "map_vector",
    "opened",
    "read_file",
    "run_stage",
    "start_session",
    "write_entries",
    "write_file",
    "write_rows",
    "write_vector",
]
