"""Trainings with entries in files: the generation of one machine, bit for bit, or an error."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from recstream.checkpoints import Checkpoints, open_checkpoints
from recstream.core.numeric.array_codec import array_digest
from recstream.errors import ArtifactCorrupt, TrainingFailed
from recstream.settings import Settings, with_secrets, without_secrets
from recstream.trainer.training.backend import InProcessBackend
from recstream.trainer.training.dataset import TrainingSnapshot
from recstream.trainer.training.job import TrainingJob, TrainingResult
from recstream.trainer.training.spark import SparkBackend
from recstream.trainer.training.train import hyperparameters
from tests.checkpoints.conftest import Tables
from tests.spark.in_process import InProcess
from tests.trainer.trainer_world import follow, snapshot_of
from tests.trainer.training.test_backend import product, tastes
from tests.worker.worker_world import GROUP, PARTITIONS, event, single


class Shop:
    """A log with checkpoints of a part of it, and a job for all of it."""

    def __init__(self, path: Path) -> None:
        self.tables = Tables(path)
        self.settings = Settings(
            data_dir=str(path), broker=f"embedded://{path / 'log.db'}", app_id=GROUP,
            partitions=PARTITIONS, n_factors=4, iterations=2, threads=1,
        )  # fmt: skip
        self.tables.checkpoints = Checkpoints(
            self.tables.log, open_checkpoints(self.tables.log, self.settings).store
        )

    def feed(self, events: Any) -> None:
        self.tables.world.feed([single(each) for each in events], step=50)
        self.tables.feed(0)

    def job(self, **more: Any) -> TrainingJob:
        known = snapshot_of(follow(self.tables.world))
        catalogue = {f"p{n}": product(n) for n in range(30)}
        snapshot = TrainingSnapshot(
            known.histories, known.offsets, known.n_events, catalogue, catalogue_offset=30
        )
        return TrainingJob(snapshot, None, 1, {**hyperparameters(self.settings), **more}, 0)


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    shop = Shop(tmp_path)
    events = tastes()
    shop.feed(events[: len(events) // 2])
    assert shop.tables.checkpoint(0)
    assert shop.tables.checkpoint(1)
    shop.feed(events[len(events) // 2 :])
    yield shop
    shop.tables.world.close()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recstream.trainer.training.blocked.parts.PART_ENTRIES", 200)
    monkeypatch.setattr("recstream.trainer.training.blocked.dataset.CHUNK", 50)


def trained(shop: Shop, job: TrainingJob, spark: Any = None) -> TrainingResult:
    folder = Path(shop.settings.data_dir) / "spark"
    backend = SparkBackend("local", folder, spark or InProcess(), shop.settings)
    return backend.run(job, lambda _: None)


def digest(result: TrainingResult) -> str:
    return array_digest(result.trained.generation.arrays())


def test_checkpoints_and_the_tail_give_the_generation_of_this_machine(shop: Shop) -> None:
    job = shop.job()
    here, there = InProcessBackend().run(job, print), trained(shop, job)
    assert digest(there) == digest(here)
    assert there.held_out == here.held_out
    assert here.held_out.touches
    assert (there.trained.matrix != here.trained.matrix).nnz == 0
    assert there.trained.users.tolist() == here.trained.users.tolist()
    assert there.trained.loss == pytest.approx(here.trained.loss, rel=1e-6)


def test_a_warm_start_gives_it_too_and_the_same_gate_result(shop: Shop) -> None:
    parent = InProcessBackend().run(shop.job(), print).trained.generation
    shop.feed([event(900_000 + n, f"u{n % 7}", "a-new-item") for n in range(9)])
    job = replace(shop.job(), parent=parent, number=2)
    here, there = InProcessBackend().run(job, print), trained(shop, job)
    assert digest(there) == digest(here)
    assert there.gate_result == here.gate_result is not None


def test_without_checkpoints_the_changelog_is_read(shop: Shop) -> None:
    for manifest in shop.tables.checkpoints.all():
        shop.tables.checkpoints.store.delete(manifest.name)
    job = shop.job()
    assert digest(trained(shop, job)) == digest(InProcessBackend().run(job, print))


def test_later_events_do_not_change_a_snapshot(shop: Shop) -> None:
    job = shop.job()
    shop.feed([event(800_000 + n, f"u{n}", "late") for n in range(30)])
    for partition in range(PARTITIONS):
        assert shop.tables.checkpoint(partition)
    assert digest(trained(shop, job)) == digest(InProcessBackend().run(job, print))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in (len(content) // 4, 3 * len(content) // 4):  # segments by user, and by item
        content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("pattern", "stage", "how"),
    [
        ("*.npz", 2, flip),
        ("*.segments", 3, Path.unlink),
        ("*.segments", 4, flip),
        ("histories-items", 9, flip),
    ],
)
def test_a_damaged_or_lost_file_is_a_named_error(
    shop: Shop, pattern: str, stage: int, how: Callable[[Path], object]
) -> None:
    def damage(number: int, _tasks: list[bytes]) -> None:
        if number == stage:
            how(min((Path(shop.settings.data_dir) / "spark").glob(pattern)))

    with pytest.raises(ArtifactCorrupt, match=r"npz|segments|histories-items"):
        trained(shop, shop.job(), InProcess(damage))


def test_a_snapshot_that_the_changelog_does_not_give_is_refused(shop: Shop) -> None:
    job = shop.job()
    offsets = {each: offset + 5 for each, offset in job.snapshot.offsets.items()}
    other = replace(job, snapshot=replace(job.snapshot, offsets=offsets))
    with pytest.raises(TrainingFailed, match="must be as of offset"):
        trained(shop, other)


def test_tasks_hold_no_secrets_and_executors_take_theirs(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    shop.settings = msgspec.structs.replace(shop.settings, kafka_sasl_password="hunter2")  # noqa: S106
    trained(shop, shop.job(), InProcess(lambda _, tasks: seen.extend(tasks)))
    assert not any(b"hunter2" in task for task in seen)
    monkeypatch.setenv("RECSTREAM_KAFKA_SASL_PASSWORD", "own")
    assert with_secrets(without_secrets(shop.settings)).kafka_sasl_password == "own"  # noqa: S105


@pytest.mark.slow
def test_a_head_item_and_a_heavy_user_are_blocks_of_their_own(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recstream.spark.blocks.BLOCK_ENTRIES", 60)
    events = [event(700_000 + n, f"u{n}", "head") for n in range(90)]
    events += [event(710_000 + n, "heavy", f"p{n}") for n in range(90)]
    shop.feed(events)
    job, tasks = shop.job(), list[dict[str, Any]]()
    spark = InProcess(lambda _, found: tasks.extend(map(msgspec.json.decode, found)))
    assert digest(trained(shop, job, spark)) == digest(InProcessBackend().run(job, print))
    merges = [each for each in tasks if each["type"].startswith("Merge")]
    for each in merges:
        n_entries = sum(segment[5] for segment in each["segments"])
        assert n_entries <= 120 or each["stop"] - each["start"] == 1
    assert sum(each["stop"] - each["start"] == 1 for each in merges) >= 2
