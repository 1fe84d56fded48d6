"""A training in a process of its own: the same bits, no orphans, and an end that is told."""

import os
import signal
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from recstream.catalogue import delete_record
from recstream.core.numeric.array_codec import array_digest as digest
from recstream.core.records import DeltaAnnounced, TrainingRequested
from recstream.errors import TrainingDied, TrainingFailed
from recstream.trainer import executor
from recstream.trainer.catalogue import CatalogueState
from recstream.trainer.deltas.deltas import Deltas
from recstream.trainer.training import backend
from recstream.trainer.training.backend import InProcessBackend, SubprocessBackend
from recstream.trainer.training.dataset import TrainingSnapshot
from recstream.trainer.training.job import TrainingJob, run_job
from recstream.trainer.training.train import hyperparameters
from tests.trainer.deltas.test_catalogue_deltas import product, retrained, serving, shop
from tests.trainer.deltas.test_catalogue_deltas import told as all_told
from tests.trainer.test_gate_and_rollback import ask, tastes, told
from tests.trainer.trainer_world import NOW_MS, SETTINGS, follow, likes, snapshot_of, work
from tests.worker.worker_world import single


@pytest.fixture
def job(world):
    world.feed([single(each) for each in tastes()])
    known = snapshot_of(follow(world))
    catalogue = {f"p{number}": product(number, attributes={"big": 10**30}) for number in range(20)}
    everything = TrainingSnapshot(
        known.histories, known.offsets, known.n_events, catalogue, frozenset({"gone"}), 20
    )
    chosen = hyperparameters(SETTINGS)
    parent = run_job(
        TrainingJob(everything, None, 0, {**chosen, "n_factors": 0}, 0)
    ).trained.generation
    return TrainingJob(everything, parent, 1, chosen, 0)


@pytest.mark.slow
def test_another_process_gives_the_same_bits_and_all_that_deltas_need(job, tmp_path):
    here = InProcessBackend().run(job, print)
    iterations = []

    there = SubprocessBackend(tmp_path, nice=0).run(job, iterations.append)
    told, content = there.artifact

    expected = digest(here.trained.generation.arrays())
    assert told == digest(there.trained.generation.arrays()) == expected
    assert len(content) > 0
    assert [each.number for each in iterations][-1] == SETTINGS.iterations
    assert there.gate_result == here.gate_result
    assert here.held_out.touches
    assert there.held_out == here.held_out
    histories = job.snapshot.histories.columns()
    users = histories.users[:3]
    made = []
    for trained in (here.trained, there.trained):
        deltas = Deltas(trained)
        deltas.touch(users, here.held_out.of(histories).touches)
        deltas.change({"p3": 7}, {"p3": product(3, title="another harp")})
        offsets = {0: 1}
        catalogue = CatalogueState()
        catalogue.items, catalogue.next_offset = {"p3": product(3, title="another")}, 8
        made.append(
            (
                deltas.make_item_delta(histories, now_ms=0),
                deltas.make_product_delta(catalogue, offsets, now_ms=0),
            )
        )
    assert made[0] == made[1]
    assert made[0][1] is not None
    assert list(tmp_path.glob("training-*")) == []


def test_a_job_that_can_not_be_done_says_why(job, tmp_path):
    with pytest.raises(TrainingFailed, match="KeyError: 'half_life_ms'"):
        SubprocessBackend(tmp_path, nice=0).run(TrainingJob(job.snapshot, None, 1, {}, 0), print)


ORPHANS = """
import os, signal, sys, time
from pathlib import Path
from recstream.trainer.training.backend import _Process
process = _Process(Path(sys.argv[1]), Path(sys.argv[1]), 0)
print(process.pid, flush=True)
if {is_paused}:
    process.dies_with_parent = process._answer()["dies_with_parent"]
    process.pause(is_paused=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_paused", [False, True])
def test_it_ends_with_a_trainer_that_is_killed(is_paused, tmp_path):
    source = ORPHANS.format(is_paused=is_paused)
    program = subprocess.Popen(
        [sys.executable, "-c", source, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    # Read to the end: the other process holds the same output until it ends.
    output, _ = program.communicate(timeout=300)

    assert program.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 300
    while os.path.exists(f"/proc/{output.strip()}/cmdline"):  # noqa: PTH110
        with open(f"/proc/{output.strip()}/stat") as stat:  # noqa: PTH123
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                break
        assert time.monotonic() < deadline
    assert output.strip().isdigit()


def wait_until_stopped(pid, *, is_stopped):
    deadline = time.monotonic() + 300
    while True:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            if (stat.read().rpartition(")")[2].split()[0] in "Tt") == is_stopped:
                return
        assert time.monotonic() < deadline


def test_it_is_stopped_while_the_trainer_is_behind_and_not_for_ever(job, tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "MIN_RUN_S", 0.0)
    run = SubprocessBackend(tmp_path, nice=0)
    results = []
    beside = threading.Thread(target=lambda: results.append(run.run(job, print)))
    beside.start()
    while run._process is None or not run._process.dies_with_parent:
        time.sleep(0.001)
        assert beside.is_alive()

    run.pause_while_behind(is_behind=True)
    wait_until_stopped(run._process.pid, is_stopped=True)
    monkeypatch.setattr(backend, "MAX_PAUSE_S", 0.0)
    run.pause_while_behind(is_behind=True)
    wait_until_stopped(run._process.pid, is_stopped=False)
    beside.join()

    assert results


@pytest.mark.slow
def test_folders_that_a_killed_trainer_left_are_deleted(job, tmp_path):
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    (tmp_path / f"training-{int(dead.stdout)}-x" / "job").mkdir(parents=True)
    (tmp_path / f"training-{os.getpid()}-y").mkdir()

    SubprocessBackend(tmp_path, nice=0).run(job, print)

    assert [each.name for each in tmp_path.glob("training-*")] == [f"training-{os.getpid()}-y"]


IMPOSTOR = """#!{python} -S
import os, signal, sys
end = int(sys.argv[-4])
os.write(end, {content!r})
{then}
"""


@pytest.fixture
def impostor(tmp_path, monkeypatch):
    """Have another program start instead of the training's."""

    def start(content, then):
        program = tmp_path / "impostor"
        program.write_text(IMPOSTOR.format(python=sys.executable, content=content, then=then))
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        return backend._Process(tmp_path, tmp_path, 0)

    return start


def test_a_process_killed_in_the_middle_of_an_answer_has_died(impostor):
    process = impostor(b'{"done": tr', "os.kill(os.getpid(), signal.SIGKILL)")

    with pytest.raises(TrainingDied, match="before it was done: it was killed by SIGKILL"):
        process.run(print)


@pytest.mark.parametrize("said", [b"7\n", b"\n", b"not JSON\n"])
def test_a_process_with_an_unexpected_answer_is_ended(impostor, said):
    process = impostor(said, "os.read(end, 1); signal.pause()")

    with pytest.raises(TrainingFailed, match="must send JSON objects"):
        process.run(print)

    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


@pytest.mark.slow
def test_a_process_reports_a_job_that_can_not_be_read(tmp_path):
    with pytest.raises(TrainingFailed, match="must hold a training job, it does not"):
        backend._Process(tmp_path, tmp_path, 0).run(print)


# Beside the trainer's loop


@pytest.fixture
def apart(place, monkeypatch, tmp_path):
    """A shop of which every training has a process of its own."""
    monkeypatch.setattr(executor, "MAX_PRODUCTS_IN_THREAD", 0)
    shop(place, range(12))
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer(settings=msgspec.structs.replace(SETTINGS, data_dir=str(tmp_path)))
    yield trainer
    trainer.close()


def mortal(n_lives, process=backend._Process):
    """Return processes of which the first ones are killed at once."""
    left = [n_lives]

    def made(*arguments):
        found = process(*arguments)
        left[0] -= 1
        if left[0] >= 0:
            found.kill()
        return found

    return made


@pytest.mark.slow
def test_a_training_that_was_killed_is_begun_once_more(place, apart, monkeypatch, caplog):
    monkeypatch.setattr(backend, "_Process", mortal(1))

    work(apart, lambda: len(place.announced()) == 2, deadline_s=300)

    assert "training started again" in caplog.text
    assert "failed" not in {each.state for each in told(place)}
    assert retrained(place) == {0: (True, ""), 1: (True, "")}


def test_a_training_that_dies_again_is_reported_and_the_serving_generation_stays(
    place, apart, monkeypatch
):
    monkeypatch.setattr(backend, "_Process", mortal(2))

    work(apart, lambda: told(place) and told(place)[-1].state == "failed")
    shop(place, [30])
    work(apart, lambda: "p30" in serving(place).rows)

    assert "SIGKILL" in told(place)[-1].detail
    assert len(place.announced()) == 1


def test_a_trainer_that_stops_ends_the_other_process(apart):
    work(apart, lambda: getattr(apart._executor._backend, "_process", None))
    process = apart._executor._backend._process

    apart.close()

    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_generation_0_of_a_large_shop_is_made_beside_the_loop(place, monkeypatch):
    monkeypatch.setattr(executor, "MAX_FIRST_PRODUCTS", 10)
    shop(place, range(12))
    trainer = place.trainer()
    work(trainer, lambda: trainer._executor.is_busy)
    shop(place, [13])

    work(trainer, place.announced)
    work(trainer, lambda: "p13" in serving(place).rows)
    trainer.close()

    assert place.announced()[0].catalogue_offset == 12
    assert not place.announced()[0].hyperparameters["content"]


# What comes meanwhile


def test_an_announced_generation_contains_the_records_that_arrived_during_its_training(
    place, monkeypatch
):
    shop(place, range(12))
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    work(trainer, lambda: len(place.announced()) == 2)
    may_go_on = threading.Event()

    def wait(job, tell):
        assert may_go_on.wait(300)
        return run_job(job, tell)

    monkeypatch.setattr(backend, "run_job", wait)
    ask(place, TrainingRequested(id="next", requested_ts=NOW_MS, force=True))
    work(trainer, lambda: trainer._executor.is_busy)
    shop(place, range(20, 50))
    place.world.log.append([delete_record("p3")])
    work(trainer, lambda: all_told(place))
    before = serving(place)
    may_go_on.set()
    work(trainer, lambda: len(place.announced()) == 3)
    work(trainer, lambda: all_told(place))
    trainer.close()

    after = serving(place)
    assert (before.number, after.number) == (1, 2)
    assert place.announced()[-1].catalogue_offset == 12
    first = next(each for each in place.announced(DeltaAnnounced) if each.generation == 2)
    assert first.catalogue.keys() == {"p3", *(f"p{number}" for number in range(20, 50))}
    assert not after.listable[after.rows["p3"]]
    for number in range(20, 50):
        found, known = (
            {each.items[row] for row in each.content.of(each.rows[f"p{number}"])[0]}
            for each in (after, before)
        )
        assert found == known
    assert retrained(place)[2] == (True, "")
