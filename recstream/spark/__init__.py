"""ALS on Spark: a table of (user, item, weight) in, the model of `recstream.ALS` out, bit for bit.

Needs the extra ``spark`` on the driver, recstream on the executors, and a folder that all of them see.
Spark moves blocks of rows and repeats tasks that died; the half-steps are those of `recstream.core.als`.
The trainer imports the files of `blocks` and the stages of `driver` for entries that it reads from the log.
"""

from recstream.spark.dataframe import SparkModel, fit
from recstream.spark.driver import fit_matrix
from recstream.spark.session import start_session

__all__ = ["SparkModel", "fit", "fit_matrix", "start_session"]
