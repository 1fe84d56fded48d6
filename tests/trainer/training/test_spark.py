"""Trainings on Spark: the digest of a training in this process, and an end when cancelled."""

from dataclasses import replace
from pathlib import Path

import pytest

from recstream.core.numeric.array_codec import array_digest
from recstream.errors import TrainingDied
from recstream.trainer.training.backend import InProcessBackend
from recstream.trainer.training.job import TrainingJob
from recstream.trainer.training.spark import SparkBackend
from tests.spark.in_process import InProcess
from tests.trainer.training.test_backend import job as job  # noqa: PLC0414 - a fixture


def digest(backend: InProcessBackend | SparkBackend, job: TrainingJob) -> str:
    return array_digest(backend.run(job, lambda _: None).trained.generation.arrays())


def test_the_generation_has_the_digest_of_this_machine(job: TrainingJob, tmp_path: Path) -> None:
    spark = SparkBackend("local", tmp_path / "work", InProcess())
    assert digest(spark, job) == digest(InProcessBackend(), job)
    assert not (tmp_path / "work").exists()


def test_a_warm_start_has_it_too(job: TrainingJob, tmp_path: Path) -> None:
    parent = InProcessBackend().run(job, lambda _: None).trained.generation
    warm = replace(job, parent=parent, number=2)
    spark = SparkBackend("local", tmp_path / "work", InProcess())
    assert digest(spark, warm) == digest(InProcessBackend(), warm)


def test_a_cancelled_training_ends(job: TrainingJob, tmp_path: Path) -> None:
    def cancel(*_: object) -> None:
        backend.cancel()
        raise RuntimeError("job cancelled as part of cancellation of all jobs")

    backend = SparkBackend("local", tmp_path / "work", InProcess(cancel))
    with pytest.raises(TrainingDied, match="cancelled"):
        backend.run(job, lambda _: None)
