"""Wire format between the trainer and the training subprocess.

Both sides send frames: a length and a content. A frame holds a msgpack message, checked on receipt,
or named arrays with a digest that the message before it announced. Nothing in a frame is executed. ::

    trainer → process   Users …  Products …  JobEnd  [the parent's artifact]
    process → trainer   Started  Progress …  Done  artifact  arrays          or  Failed
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
from recstream.trainer.training.dataset import TrainingSnapshot
from recstream.trainer.training.item_features import ItemFeatures
from recstream.trainer.training.job import HeldOutTouches, Job, TrainingResult
from recstream.trainer.training.train import Trained

PART_USERS = 1_000
PART_PRODUCTS = 500
"""Users and products in one frame: while it is encoded, the trainer's loop waits."""
_LENGTH_BYTES = 8
_MATRIX = ("data", "indices", "indptr")
_POPULARITY = ("sums", "totals", "credit", "landmark", "half_lives")
_USERS = ("user_factors", "user_counts")

Receive = Callable[[], bytes]
"""Returns the next frame."""
T = TypeVar("T")


class Frames:
    """Frames over one end of a socket pair.

    Parameters
    ----------
    end : socket
        Closed by `close`.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._reader = end.makefile("rb")

    def send(self, frame: bytes) -> None:
        """Send a frame; blocks until the socket has room."""
        self._end.sendall(len(frame).to_bytes(_LENGTH_BYTES, "little"))
        self._end.sendall(frame)

    def receive(self) -> bytes:
        """Return the next frame; blocks until it is complete.

        Raises
        ------
        EOFError
            The other side closed the socket, possibly within a frame.
        """
        return self._read(int.from_bytes(self._read(_LENGTH_BYTES), "little"))

    def _read(self, size: int) -> bytes:
        content = self._reader.read(size)
        if len(content) < size:
            raise EOFError(
                f"expected {size} more bytes of a frame, the other side closed the socket"
            )
        return content

    def close(self) -> None:
        """Close this end."""
        self._reader.close()
        self._end.close()


# Messages of the trainer


class Users(msgspec.Struct, frozen=True, tag="users"):
    """A part of a job's histories."""

    users: dict[str, UserRows]


class Products(msgspec.Struct, frozen=True, tag="products"):
    """A part of a job's catalogue, as a JSON list: JSON has integers of any size, msgpack has not."""

    items: bytes


class JobEnd(msgspec.Struct, frozen=True, tag="end"):
    """The rest of a job; ``parent`` is the digest of the artifact that follows."""

    number: int
    seed: int
    chosen: dict[str, Any]
    offsets: dict[str, int]
    n_events: int
    withdrawn: frozenset[str]
    catalogue_offset: int
    changed: frozenset[str]
    parent: str | None


# Messages of the process


class Started(msgspec.Struct, frozen=True, tag="bound"):
    """The process runs; ``dies_with_parent``: the system kills it with the trainer."""

    dies_with_parent: bool


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """An ALS iteration is done."""

    iteration: Iteration


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The job failed."""

    reason: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The result; the artifact with ``digest`` follows, then the arrays that deltas need."""

    digest: str
    gate_result: GateResult | None
    held_out: dict[str, tuple[Touch, ...]]
    loss: float | None
    user_ids: list[str]
    clock: float


_JobMessage = Users | Products | JobEnd
Answer = Started | Progress | Failed | Done

_decode_part: Callable[[bytes], _JobMessage] = msgspec.msgpack.Decoder(_JobMessage).decode
_decode_answer: Callable[[bytes], Answer] = msgspec.msgpack.Decoder(Answer).decode
_encode_items = msgspec.json.Encoder().encode
_decode_items = msgspec.json.Decoder(list[Item]).decode
_encoder = msgspec.msgpack.Encoder()


def encode_message(message: _JobMessage | Answer) -> bytes:
    """Encode a message.

    Raises
    ------
    TrainingFailed
        A value can't be encoded, such as a seed of more than 64 bits.
    """
    try:
        return _encoder.encode(message)
    except (TypeError, ValueError, OverflowError) as error:
        kind = type(message).__name__
        raise TrainingFailed(f"the training's {kind} message can't be encoded: {error}") from error


def read_answer(frame: bytes) -> Answer:
    """Decode a message of the process.

    Raises
    ------
    TrainingFailed
        Not such a message.
    """
    return _decode(_decode_answer, frame, "Started, Progress, Failed or Done")


def _decode(decode: Callable[[bytes], T], frame: bytes, expected: str) -> T:
    try:
        return decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TrainingFailed(
            f"a frame of the training must be {expected}, got {len(frame)} bytes that are not: "
            f"{error}"
        ) from error


# A job


def job_frames(job: Job) -> Iterator[bytes]:
    """Yield the frames of a job, each encoded when it is needed."""
    snapshot = job.snapshot
    for users in _chunks(snapshot.users.items(), PART_USERS):
        yield encode_message(Users(dict(users)))
    for products in _chunks(snapshot.catalogue.values(), PART_PRODUCTS):
        yield encode_message(Products(_encode_items(products)))
    digest, artifact = (None, None) if job.parent is None else pack(job.parent)
    yield encode_message(
        JobEnd(
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
    """Read a job from frames.

    Raises
    ------
    TrainingFailed
        A frame is not part of a job.
    ArtifactCorrupt
        The parent's artifact does not match its digest.
    """
    users: dict[str, UserRows] = {}
    catalogue: dict[str, Item] = {}
    while True:
        part = _decode(_decode_part, receive(), "Users, Products or JobEnd")
        if isinstance(part, Users):
            users |= part.users
        elif isinstance(part, Products):
            items = _decode(_decode_items, part.items, "Products: a JSON list of items")
            catalogue |= {item.item: item for item in items}
        else:
            break
    snapshot = TrainingSnapshot(
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


# The result


def result_frames(done: TrainingResult) -> tuple[bytes, bytes, bytes]:
    """Return the frames of a result: the message, the artifact, and the arrays that deltas need.

    Item factors and features are in the artifact. Held-out histories are not sent: the evaluation is
    done.
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
        held_out=dict(done.held_out.touches),
        loss=trained.loss,
        user_ids=trained.user_ids,
        clock=trained.popularity.clock,
    )
    return encode_message(message), artifact, stream.getvalue()


def read_result(message: Done, receive: Receive) -> tuple[TrainingResult, tuple[str, bytes]]:
    """Read a result, and its generation's digest and artifact.

    Raises
    ------
    TrainingFailed
        The arrays have wrong names, types or shapes.
    ArtifactCorrupt
        The artifact does not match its digest.
    """
    artifact, content = receive(), receive()
    generation = unpack(artifact, "of the training", message.digest)
    try:
        _, named = read_arrays(io.BytesIO(content), "of the training")
    except ArtifactCorrupt as error:
        raise TrainingFailed(
            "the result of the training must be named arrays and their digest, got "
            f"{len(content)} bytes that are not"
        ) from error
    trained = _trained(message, generation, named)
    finished = TrainingResult(trained, message.gate_result, HeldOutTouches(message.held_out))
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
        contents=ItemFeatures.from_arrays(generation.content_arrays, n_items),
    )
