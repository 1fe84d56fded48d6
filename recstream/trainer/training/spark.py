"""Train the factors of a generation on Spark; the trainer's process does the rest of the job.

The result has the digest of a training on one machine: see `recstream.spark`.
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recstream.errors import TrainingDied
from recstream.settings import Settings
from recstream.spark import fit_matrix, start_session
from recstream.trainer.training.blocked import BlockedDataset, read_dataset
from recstream.trainer.training.dataset import build_dataset
from recstream.trainer.training.job import (
    OnIteration,
    TrainingJob,
    TrainingResult,
    held_out_of,
    run_job,
    train_and_evaluate,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkBackend:
    """Runs a job whose factors are trained on Spark. See `TrainingBackend`.

    Parameters
    ----------
    master : str
        ``spark://host:7077``, ``k8s://…`` or ``local[2]``.
    folder : Path
        Seen by the trainer and the executors under the same name. A training that was interrupted goes
        on from its last half-step there.
    session : SparkSession, optional
        By default one is started at the first job, and kept.
    settings : Settings, optional
        Tasks read the histories from checkpoints and the changelog that these name. By default this
        process makes the matrix.
    """

    def __init__(
        self,
        master: str,
        folder: Path,
        session: SparkSession | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._master, self._folder, self._settings = master, folder.absolute(), settings
        self._session = session
        self._is_cancelled = threading.Event()

    def run(self, job: TrainingJob, progress: OnIteration) -> TrainingResult:
        """Return the result of a job."""
        self._is_cancelled.clear()
        session = self._session = self._session or start_session(self._master, "recstream trainer")
        try:
            result = self._run(session, job, progress)
        except Exception as error:
            if self._is_cancelled.is_set():
                raise TrainingDied("the training was cancelled") from error
            raise
        shutil.rmtree(self._folder, ignore_errors=True)
        return result

    def _run(
        self, session: SparkSession, job: TrainingJob, progress: OnIteration
    ) -> TrainingResult:
        if self._settings is None:
            fit = partial(fit_matrix, session, folder=self._folder)
            return run_job(job, progress, partial(build_dataset, estimate=fit))
        read = partial(read_dataset, session, self._folder, self._settings)
        made: list[BlockedDataset] = []

        def build(*arguments: Any, **named: Any) -> BlockedDataset:
            made.append(read(*arguments, **named))
            return made[0]

        trained, gate_result = train_and_evaluate(job, progress, build)
        trained = replace(trained, users=job.snapshot.histories.sorted_rows())
        return TrainingResult(trained, gate_result, held_out_of(trained.held, made[0].originals))

    def cancel(self) -> None:
        """End Spark's tasks; `run` in another thread then raises."""
        self._is_cancelled.set()
        if self._session is not None:
            self._session.sparkContext.cancelAllJobs()

    def pause_while_behind(self, is_behind: bool) -> None:
        """Return at once: the work is on other machines."""
