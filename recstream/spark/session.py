"""Start Spark, or say what it needs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from recstream.errors import StartupError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def start_session(master: str, name: str) -> SparkSession:
    """Return a Spark session; executors on this machine use this interpreter.

    Raises
    ------
    StartupError
        Spark is not installed.
    """
    try:
        from pyspark.sql import SparkSession  # noqa: PLC0415 - an extra
    except ImportError as error:
        message = 'Spark is missing; install it by pip install "recstream[spark]"'
        raise StartupError(message) from error
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(master).appName(name)
    session: SparkSession = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session
