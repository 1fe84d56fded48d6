"""Step 5 of the flow: how a training's job reaches its process, and how what came of it gets back.

Both sides send frames: a length, and so many bytes. A frame is a message in msgpack, of a kind that
is checked when it comes, or the named arrays that the message before it announced, with their
digest. Nothing in a frame is ever executed. ::

    trainer → process   Users …  Products …  Rest  [the parent's artifact]
    process → trainer   Bound  Step …  Done  artifact  arrays            or  Failed
"""

from __future__ import annotations

import io
import itertools
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.als import Iteration
from recstream.core.evaluation import HeldOut
from recstream.core.generation import Generation
from recstream.core.numeric.array_codec import read_arrays, write_arrays
from recstream.core.popularity import HALF_LIVES, Popularity
from recstream.core.records import GateResult, Item
from recstream.errors import ArtifactCorrupt, TrainingFailed
from recstream.models import pack, unpack
from recstream.trainer.changelog import Touch, UserRows
from recstream.trainer.training.dataset import Snapshot
from recstream.trainer.training.item_features import Contents
from recstream.trainer.training.job import Finished, HeldBack, Job
from recstream.trainer.training.train import Trained

PART_USERS = 1_000
PART_PRODUCTS = 500
"""Sent at once: while a frame is encoded, the trainer's loop waits."""
_LENGTH_BYTES = 8
_MATRIX = ("data", "indices", "indptr")
_POPULARITY = ("sums", "totals", "credit", "landmark", "half_lives")
_USERS = ("user_factors", "user_counts")

Receive = Callable[[], bytes]
"""Returns the next frame."""
T = TypeVar("T")


class Frames:
    """One end of a socket pair: frames out, frames in.

    Parameters
    ----------
    end : socket
        It is the frames' now.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._reader = end.makefile("rb")

    def send(self, frame: bytes) -> None:
        """Send a frame; blocks until the other side has room for it."""
        self._end.sendall(len(frame).to_bytes(_LENGTH_BYTES, "little"))
        self._end.sendall(frame)

    def receive(self) -> bytes:
        """Return the next frame; blocks until all of it is there.

        Raises
        ------
        EOFError
            The other side ended, be it in the middle of a frame.
        """
        return self._read(int.from_bytes(self._read(_LENGTH_BYTES), "little"))

    def _read(self, size: int) -> bytes:
        content = self._reader.read(size)
        if len(content) < size:
            raise EOFError(f"a frame must have {size} bytes more, the other side ended before")
        return content

    def close(self) -> None:
        """Close this end; the other one finds out."""
        self._reader.close()
        self._end.close()


# What the trainer says


class Users(msgspec.Struct, frozen=True, tag="users"):
    """Some of the histories of a job."""

    users: dict[str, UserRows]


class Products(msgspec.Struct, frozen=True, tag="products"):
    """Some of the catalogue of a job: a JSON list, since JSON has the whole numbers of any size."""

    items: bytes


class Rest(msgspec.Struct, frozen=True, tag="rest"):
    """All else of a job, and its end; ``parent`` is the digest of the artifact that follows."""

    number: int
    seed: int
    chosen: dict[str, Any]
    offsets: dict[str, int]
    n_events: int
    withdrawn: frozenset[str]
    catalogue_offset: int
    changed: frozenset[str]
    parent: str | None


# What the process says


class Bound(msgspec.Struct, frozen=True, tag="bound"):
    """The first message: whether the system ends the process with the trainer in any case."""

    is_bound: bool


class Step(msgspec.Struct, frozen=True, tag="step"):
    """How far the training is."""

    iteration: Iteration


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The job can't be done."""

    reason: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """What the job gave; the artifact of ``digest`` follows, then the arrays that deltas need."""

    digest: str
    gate_result: GateResult | None
    held_back: dict[str, tuple[Touch, ...]]
    loss: float | None
    user_ids: list[str]
    clock: float


_FromTrainer = Users | Products | Rest
Answer = Bound | Step | Failed | Done

_decode_part: Callable[[bytes], _FromTrainer] = msgspec.msgpack.Decoder(_FromTrainer).decode
_decode_answer: Callable[[bytes], Answer] = msgspec.msgpack.Decoder(Answer).decode
_encode_items = msgspec.json.Encoder().encode
_decode_items = msgspec.json.Decoder(list[Item]).decode
_encoder = msgspec.msgpack.Encoder()


def framed(message: _FromTrainer | Answer) -> bytes:
    """Return a message's frame.

    Raises
    ------
    TrainingFailed
        It holds what has no form there, such as a seed of more than 64 bits.
    """
    try:
        return _encoder.encode(message)
    except (TypeError, ValueError, OverflowError) as error:
        kind = type(message).__name__
        raise TrainingFailed(f"a training's {kind} can't be handed over: {error}") from error


def read_answer(frame: bytes) -> Answer:
    """Return what the process says.

    Raises
    ------
    TrainingFailed
        It is nothing that it could say.
    """
    return _decoded(_decode_answer, frame, "Bound, Step, Failed or Done")


def _decoded(decode: Callable[[bytes], T], frame: bytes, expected: str) -> T:
    try:
        return decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TrainingFailed(
            f"a frame of the training must be {expected}, got {len(frame)} bytes that are not: "
            f"{error}"
        ) from error


# A job


def job_frames(job: Job) -> Iterator[bytes]:
    """Yield the frames of a job, each made when it is asked for."""
    snapshot = job.snapshot
    for users in _chunks(snapshot.users.items(), PART_USERS):
        yield framed(Users(dict(users)))
    for products in _chunks(snapshot.catalogue.values(), PART_PRODUCTS):
        yield framed(Products(_encode_items(products)))
    digest, artifact = (None, None) if job.parent is None else pack(job.parent)
    yield framed(
        Rest(
            number=job.number,
            seed=job.seed,
            chosen=dict(job.chosen),
            offsets=snapshot.offsets,
            n_events=snapshot.n_events,
            withdrawn=snapshot.withdrawn,
            catalogue_offset=snapshot.catalogue_offset,
            changed=snapshot.changed,
            parent=digest,
        )
    )
    if artifact is not None:
        yield artifact


def _chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(values)
    while chunk := list(itertools.islice(left, size)):
        yield chunk


def read_job(receive: Receive) -> Job:
    """Return the job that frames hold.

    Raises
    ------
    TrainingFailed
        A frame is none of a job's.
    ArtifactCorrupt
        The parent is not what was announced.
    """
    users: dict[str, UserRows] = {}
    catalogue: dict[str, Item] = {}
    while True:
        part = _decoded(_decode_part, receive(), "Users, Products or Rest")
        if isinstance(part, Users):
            users |= part.users
        elif isinstance(part, Products):
            items = _decoded(_decode_items, part.items, "Products: a JSON list of items")
            catalogue |= {item.item: item for item in items}
        else:
            break
    snapshot = Snapshot(
        users,
        part.offsets,
        part.n_events,
        catalogue,
        part.withdrawn,
        part.catalogue_offset,
        part.changed,
    )
    parent = None if part.parent is None else unpack(receive(), "of the parent", part.parent)
    return Job(snapshot, parent, part.number, part.chosen, part.seed)


# What came of it


def finished_frames(done: Finished) -> tuple[bytes, bytes, bytes]:
    """Return the frames of what a training gave: the message, the artifact, and the arrays.

    The factors of items, what they are like and how many there are is in the artifact; what was held
    out has done its work once it is judged by.
    """
    trained = done.trained
    digest, artifact = pack(trained.generation)
    arrays = {
        **{f"matrix.{name}": getattr(trained.matrix, name) for name in _MATRIX},
        **{f"popularity.{name}": getattr(trained.popularity, name) for name in _POPULARITY},
    }
    if trained.model is not None:
        arrays |= {name: getattr(trained.model, name) for name in _USERS}
    stream = io.BytesIO()
    write_arrays(stream, arrays)
    message = Done(
        digest=digest,
        gate_result=done.gate_result,
        held_back=dict(done.held_back.touches),
        loss=trained.loss,
        user_ids=trained.user_ids,
        clock=trained.popularity.clock,
    )
    return framed(message), artifact, stream.getvalue()


def read_finished(message: Done, receive: Receive) -> tuple[Finished, tuple[str, bytes]]:
    """Return what a training gave, and its generation's digest and artifact.

    Raises
    ------
    TrainingFailed
        The arrays are not those that deltas need.
    ArtifactCorrupt
        The artifact is not what was announced.
    """
    artifact, content = receive(), receive()
    generation = unpack(artifact, "of the training", message.digest)
    try:
        _, named = read_arrays(io.BytesIO(content), "of the training")
    except ArtifactCorrupt as error:
        raise TrainingFailed(
            "what deltas need of the training must be named arrays and their digest, got "
            f"{len(content)} bytes that are not"
        ) from error
    trained = _trained(message, generation, named)
    finished = Finished(trained, message.gate_result, HeldBack(message.held_back))
    return finished, (message.digest, artifact)


def _trained(message: Done, generation: Generation, named: Mapping[str, NDArray[Any]]) -> Trained:
    n_users, n_items, n_factors = len(message.user_ids), generation.n_items, generation.n_factors
    n_lives, nnz = len(HALF_LIVES), named["matrix.data"].size if "matrix.data" in named else 0
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        "matrix.data": ("float32", (nnz,)),
        "matrix.indices": ("int32", (nnz,)),
        "matrix.indptr": ("int32", (n_users + 1,)),
        "popularity.sums": ("float64", (n_items, n_lives)),
        "popularity.totals": ("float64", (n_lives,)),
        "popularity.credit": ("float64", (n_lives + 1,)),
        "popularity.landmark": ("float64", (n_lives,)),
        "popularity.half_lives": ("float64", (n_lives,)),
    }
    if generation.model is not None:
        expected["user_factors"] = ("float32", (n_users, n_factors))
        expected["user_counts"] = ("int64", (n_users,))
    actual = {name: (str(array.dtype), array.shape) for name, array in named.items()}
    for name in sorted(expected.keys() | actual.keys()):
        if expected.get(name) != actual.get(name):
            raise TrainingFailed(
                f"{name} of the training must be {expected.get(name, 'left out')}, "
                f"got {actual.get(name, 'nothing')}"
            )
    rows = tuple(named[f"matrix.{name}"] for name in _MATRIX)
    try:
        matrix = sparse.csr_matrix(rows, shape=(n_users, n_items))
        matrix.check_format()
    except ValueError as error:
        raise TrainingFailed(
            f"the matrix of the training must be {n_users} rows of {n_items} items: {error}"
        ) from error
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    model = generation.model
    return Trained(
        generation=generation,
        model=None if model is None else model.replaced(**{name: named[name] for name in _USERS}),
        user_ids=message.user_ids,
        matrix=matrix,
        popularity=Popularity(
            clock=message.clock, **{name: named[f"popularity.{name}"] for name in _POPULARITY}
        ),
        loss=message.loss,
        held=HeldOut([], {}),
        contents=Contents.from_arrays(generation.content_arrays, n_items),
    )
