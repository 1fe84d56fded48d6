"""What goes between a trainer and its training's process: it comes back as it was, or is refused."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.core.als.model import ALSModel
from recstream.core.als.objective import Objective
from recstream.core.als.trainer import Iteration
from recstream.core.evaluation.gate import HeldOut
from recstream.core.generation.generation import Generation
from recstream.core.history.matrix import stack
from recstream.core.numeric.array_codec import array_digest as digest
from recstream.core.numeric.array_codec import read_arrays, write_arrays
from recstream.core.popularity.popularity import fit_popularity
from recstream.core.records import GateResult, Item
from recstream.errors import ArtifactCorrupt, TrainingDied, TrainingFailed
from recstream.trainer.changelog import Touch, UserRows
from recstream.trainer.training import wire
from recstream.trainer.training.dataset import TrainingSnapshot
from recstream.trainer.training.job import HeldOutTouches, Job, TrainingResult
from recstream.trainer.training.subprocess import TrainingProcess
from recstream.trainer.training.train import Trained
from recstream.trainer.training.wire import (
    Done,
    Failed,
    Frames,
    Products,
    Progress,
    Started,
    Users,
    encode_message,
    job_frames,
    read_answer,
    read_job,
    read_result,
    result_frames,
)
from tests.trainer.trainer_world import likes, trained_on
from tests.worker.worker_world import generation, single

INT64 = st.integers(-(2**63), 2**63 - 1)
IDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=5,
)  # fmt: skip
ITEMS = st.builds(
    Item, item=IDS, title=st.text(), category=st.text(), brand=st.text(), description=st.text(),
    price=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    attributes=st.dictionaries(st.text(), JSON, max_size=3),
)  # fmt: skip
ROWS = st.builds(UserRows, st.binary(), st.lists(st.binary(), max_size=3).map(tuple))
SNAPSHOTS = st.builds(
    TrainingSnapshot,
    users=st.dictionaries(st.text(), ROWS, max_size=5),
    offsets=st.dictionaries(st.text(), INT64, max_size=3),
    n_events=INT64,
    catalogue=st.lists(ITEMS, max_size=5).map(lambda items: {each.item: each for each in items}),
    withdrawn=st.frozensets(st.text(), max_size=3),
    catalogue_offset=INT64,
    changed=st.frozensets(st.text(), max_size=3),
)
CHOSEN = st.dictionaries(st.text(), st.none() | st.booleans() | INT64 | st.floats() | st.text())


JOB = Job(TrainingSnapshot({}, {}, 0), None, 0, {}, 0)


def handed(job):
    return read_job(iter(list(job_frames(job))).__next__)


@settings(max_examples=40, deadline=None)
@given(SNAPSHOTS, CHOSEN, st.integers(0, 2**64 - 1))
def test_a_job_arrives_as_it_was_in_however_many_parts(snapshot, chosen, seed):
    parts = wire.PART_USERS, wire.PART_PRODUCTS
    wire.PART_USERS = wire.PART_PRODUCTS = 2
    try:
        there = handed(Job(snapshot, generation(), 3, chosen, seed))
    finally:
        wire.PART_USERS, wire.PART_PRODUCTS = parts

    # As text: 1 is not 1.0, 0.0 is not -0.0, NaN is NaN, and users keep their order.
    for name in ("users", "offsets", "n_events", "catalogue", "catalogue_offset"):
        assert repr(getattr(there.snapshot, name)) == repr(getattr(snapshot, name))
    assert (there.snapshot.withdrawn, there.snapshot.changed) == (
        snapshot.withdrawn,
        snapshot.changed,
    )
    assert (repr(there.chosen), there.number, there.seed) == (repr(chosen), 3, seed)
    assert digest(there.parent.arrays()) == digest(generation().arrays())


def test_a_job_of_the_first_generation_has_no_parent():
    assert handed(JOB) == JOB


def test_a_job_that_has_no_form_in_a_frame_is_refused_with_its_reason():
    with pytest.raises(
        TrainingFailed, match="JobEnd message can't be encoded: can't serialize ints"
    ):
        list(job_frames(replace(JOB, seed=2**64)))


# What comes back


@st.composite
def finished(draw):
    """Return what a training could have given, small, of any sizes and values."""
    items = draw(st.lists(IDS, max_size=4, unique=True))
    user_ids = draw(st.lists(st.text(), max_size=4, unique=True))
    n_factors = draw(st.integers(1, 3)) if items and draw(st.booleans()) else 0
    rng = np.random.Generator(np.random.PCG64(draw(st.integers(0, 99))))
    columns = [np.flatnonzero(rng.random(len(items)) < 0.5).astype(np.int32) for _ in user_ids]
    rows = [(each, rng.choice([0.0, -1.0, 0.7], len(each)).astype(np.float32)) for each in columns]
    seen = np.concatenate([np.empty(0, np.int32), *columns])
    model = None
    if n_factors:
        model = ALSModel(
            rng.random((len(items), n_factors), np.float32),
            rng.integers(0, 9, len(items)),
            objective=Objective(),
            mean_user_count=1.5,
            user_factors=rng.random((len(user_ids), n_factors), np.float32),
            user_counts=rng.integers(0, 2**62, len(user_ids)),
        )
    trained = Trained(
        generation=Generation(
            number=1, parent=None, offsets={}, hyperparameters={"half_life_ms": 1.0}, seed=0,
            items=items, bias=rng.random(len(items), np.float32),
            model=None
            if model is None
            else model.replaced(user_factors=None, user_counts=None),
        ),
        model=model,
        user_ids=user_ids,
        matrix=stack(rows, len(items)),
        popularity=fit_popularity(seen, rng.integers(0, 9, len(seen)), len(items)),
        loss=draw(st.none() | st.floats()),
        held=HeldOut([], {}),
    )  # fmt: skip
    gate_result = st.builds(
        GateResult, users=INT64, items=INT64, candidate=st.floats(), popular=st.floats(),
        serving=st.none() | st.floats(), is_accepted=st.booleans(), reason=st.text(),
    )  # fmt: skip
    touches = st.builds(Touch, INT64, st.text(), st.booleans())
    held_out = st.dictionaries(st.text(), st.lists(touches, max_size=3).map(tuple), max_size=3)
    return TrainingResult(trained, draw(st.none() | gate_result), HeldOutTouches(draw(held_out)))


def returned(done):
    message, *following = result_frames(done)
    return read_result(read_answer(message), iter(following).__next__)


def form(array):
    return array.dtype, array.shape, array.flags.f_contiguous, array.tobytes()


@settings(max_examples=40, deadline=None)
@given(finished())
def test_what_a_training_gave_arrives_bit_for_bit(done):
    there, (told, artifact) = returned(done)

    here, trained = done.trained, there.trained
    assert told == digest(trained.generation.arrays()) == digest(here.generation.arrays())
    assert artifact == result_frames(done)[1]
    assert (trained.model is None) == (here.model is None)
    if here.model is not None:
        assert digest(trained.model.arrays()) == digest(here.model.arrays())
    for name in ("data", "indices", "indptr"):
        assert form(getattr(trained.matrix, name)) == form(getattr(here.matrix, name))
    assert trained.matrix.shape == here.matrix.shape
    assert trained.matrix.has_canonical_format
    for name in ("sums", "totals", "credit", "landmark", "half_lives"):
        assert form(getattr(trained.popularity, name)) == form(getattr(here.popularity, name))
    assert trained.popularity.clock == here.popularity.clock
    assert (trained.user_ids, repr(trained.loss)) == (here.user_ids, repr(here.loss))
    assert repr(there.gate_result) == repr(done.gate_result)
    assert there.held_out == done.held_out


@pytest.fixture
def some(world):
    """What came of a training with factors, as frames."""
    world.feed([single(each) for each in likes()])
    return TrainingResult(trained_on(world), None, HeldOutTouches({}))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("user_factors", lambda a: a.astype(np.float64), r"\('float32', \(30, 4\)\), got \('float64'"),
        ("user_counts", lambda a: a[1:], r"\('int64', \(30,\)\), got \('int64', \(29,\)\)"),
        ("popularity.sums", lambda a: a.T, r"\(12, 7\)\), got \('float64', \(7, 12\)\)"),
        ("popularity.credit", lambda _: None, r"\(8,\)\), got nothing"),
        ("matrix.data", lambda _: None, r"\('float32', \(0,\)\), got nothing"),
        ("matrix.indices", lambda a: a + 12, "30 rows of 12 items"),
        ("matrix.indptr", lambda a: a[::-1].copy(), "30 rows of 12 items"),
        ("another", lambda _: np.zeros(1), "left out, got"),
    ],
)  # fmt: skip
def test_arrays_that_deltas_can_not_use_are_refused_by_name(some, name, change, said):
    message, artifact, content = result_frames(some)
    _, named = read_arrays(io.BytesIO(content), "arrays")
    changed = change(named.pop(name, None))
    stream = io.BytesIO()
    write_arrays(stream, named if changed is None else {**named, name: changed})

    with pytest.raises(TrainingFailed, match=said) as refused:
        read_result(read_answer(message), iter([artifact, stream.getvalue()]).__next__)

    assert name.partition(".")[0] in str(refused.value)


def test_a_frame_that_is_not_what_was_announced_is_refused(some):
    message, artifact, arrays = result_frames(some)
    done = read_answer(message)
    other = msgspec.structs.replace(done, digest="0" * 32)

    with pytest.raises(ArtifactCorrupt, match="can't be read"):
        read_result(done, iter([artifact[:-30], arrays]).__next__)
    with pytest.raises(ArtifactCorrupt, match="must have the digest '00"):
        read_result(other, iter([artifact, arrays]).__next__)
    with pytest.raises(TrainingFailed, match="must be named arrays and their digest, got"):
        read_result(done, iter([artifact, arrays[:-30]]).__next__)


# Frames


ANSWERS = [
    Started(dies_with_parent=True),
    Progress(Iteration(3, None, 0.5, "käse", 2)),
    Failed("\N{SNOWMAN}"),
    Done("d", None, {"u": (Touch(1, "i", is_positive=False),)}, float("inf"), ["u"], 1.0),
]
PARTS = [Users({"u": UserRows(b"h", (b"p",))}), Products(b"[]")]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda each: type(each).__name__)
def test_an_answer_arrives_as_it_was_and_is_refused_when_cut_short(answer):
    frame = encode_message(answer)

    assert read_answer(frame) == answer
    for n in range(len(frame)):
        with pytest.raises(TrainingFailed, match="must be Started, Progress, Failed or Done, got"):
            read_answer(frame[:n])


def test_a_message_of_the_wrong_kind_says_what_was_expected():
    for answer in ANSWERS:
        with pytest.raises(TrainingFailed, match=r"must be Users, Products or JobEnd, got .*'"):
            read_job(iter([encode_message(answer)]).__next__)
    for part in PARTS:
        with pytest.raises(
            TrainingFailed, match=r"must be Started, Progress, Failed or Done, got .*'"
        ):
            read_answer(encode_message(part))


@pytest.mark.parametrize(
    "items",
    [
        b"",
        b"{}",
        b'[{"title": "no id"}]',
        b'[{"item": 1}]',
        b'[{"item": "\xff"}]',
        b'[{"item": "i", "attributes": {"deep": ' + b"[" * 9_999,
    ],
)
def test_products_that_are_no_items_are_refused(items):
    with pytest.raises(TrainingFailed, match="must be Products: a JSON list of items, got"):
        read_job(iter([encode_message(Products(items))]).__next__)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(ANSWERS), st.data())
def test_whatever_comes_is_an_answer_or_refused(noise, answer, data):
    frame = encode_message(answer)
    at = data.draw(st.integers(0, len(frame)))

    for each in (noise, frame[:at] + noise, frame[:at] + noise + frame[at + len(noise) :]):
        try:
            assert type(read_answer(each)) in {type(known) for known in ANSWERS}
        except TrainingFailed as refused:
            assert "must be Started, Progress, Failed or Done" in str(refused)  # noqa: PT017


def ends():
    ours, theirs = socket.socketpair()
    return Frames(ours), theirs


def test_frames_of_any_length_arrive_whole_and_in_order():
    ours, theirs = ends()
    sent = [b"", b"x", os.urandom(3_000_000), b"last"]
    beside = threading.Thread(target=lambda: [ours.send(each) for each in sent])
    beside.start()
    other = Frames(theirs)

    assert [other.receive() for _ in sent] == sent

    beside.join()
    ours.close()
    with pytest.raises(EOFError):
        other.receive()
    other.close()


def test_a_frame_cut_short_is_the_end_and_not_a_shorter_frame():
    whole = (5).to_bytes(8, "little") + b"12345"
    for n in range(len(whole)):
        ours, theirs = ends()
        theirs.sendall(whole[:n])
        theirs.close()

        with pytest.raises(EOFError):
            ours.receive()
        ours.close()


IMPOSTOR = """#!{python} -S
import os, signal, sys
end = int(sys.argv[-2])
os.write(end, {content!r})
{then}
"""


@pytest.fixture
def impostor(tmp_path, monkeypatch):
    """Return a function that has another program start instead of the training's."""

    def start(content, then):
        program = tmp_path / "impostor"
        program.write_text(IMPOSTOR.format(python=sys.executable, content=content, then=then))
        program.chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(program))
            return TrainingProcess(nice=0)

    return start


def test_a_process_killed_in_the_middle_of_a_frame_has_died(impostor):
    frame = encode_message(ANSWERS[-1])
    cut = len(frame).to_bytes(8, "little") + frame[:-1]
    process = impostor(cut, "os.kill(os.getpid(), signal.SIGKILL)")

    with pytest.raises(TrainingDied, match="before it was done: SIGKILL"):
        process.run_job(JOB, print)


def test_a_process_that_says_what_nobody_expects_is_ended(impostor):
    frame = encode_message(PARTS[0])
    process = impostor(len(frame).to_bytes(8, "little") + frame, "os.read(end, 1); signal.pause()")

    with pytest.raises(TrainingFailed, match="must be Started, Progress, Failed or Done"):
        process.run_job(JOB, print)

    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_job_that_can_not_be_read_is_told_of_by_the_process():
    process = TrainingProcess(nice=0)
    process._frames.send(encode_message(ANSWERS[0]))

    with pytest.raises(TrainingFailed, match="must be Users, Products or JobEnd, got"):
        process.run_job(JOB, print)
