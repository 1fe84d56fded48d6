"""Folders that a training backend reads and writes: a job, and its result.

::

    job/      spec.json   users.npy user_ends.npy items.npy item_ends.npy runs.npy entries.npy
              catalogue.json   [parent.npz]
    result/   result.json   artifact.npz   users.npy matrix.*.npy popularity.*.npy
              [user_factors.npy …]

The first three columns are ids in one block and the end of each; `recstream.trainer.histories`
documents the others. Nothing in a file is executed. Arrays are memory-mapped, so that reading them
costs nothing.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.columns import IdTable
from recstream.core.evaluation import HeldOut
from recstream.core.generation import Generation
from recstream.core.numeric.array_codec import read_npy_header
from recstream.core.popularity import HALF_LIVES, Popularity
from recstream.core.records import GateResult, Item
from recstream.errors import TrainingFailed
from recstream.models import pack, unpack
from recstream.trainer.histories import RUN, WORDS, FrozenHistories, HistoryColumns
from recstream.trainer.histories.changelog import Touch
from recstream.trainer.training.dataset import TrainingSnapshot
from recstream.trainer.training.item_features import ItemFeatures
from recstream.trainer.training.job import HeldOutTouches, TrainingJob, TrainingResult
from recstream.trainer.training.train import Trained

FORMAT = "recstream-job-1"
PART_PRODUCTS = 500
"""Products that are encoded together: meanwhile the trainer's loop waits."""
_MATRIX = ("data", "indices", "indptr")
_POPULARITY = ("sums", "totals", "credit", "landmark", "half_lives")
_USERS = ("user_factors", "user_counts")

_encode_items = msgspec.json.Encoder().encode
_decode_items = msgspec.json.Decoder(Item).decode


def save_arrays(folder: Path, named: Mapping[str, NDArray[Any]]) -> None:
    """Write each array as ``NAME.npy``."""
    for name, array in named.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def load_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a folder, memory-mapped; changes stay in this process."""
    found = {}
    for path in sorted(folder.glob("*.npy")):
        with path.open("rb") as file:
            dtype, shape, is_fortran = read_npy_header(file)
            order: Literal["C", "F"] = "F" if is_fortran else "C"
            array: NDArray[Any] = (
                np.empty(shape, dtype)
                if 0 in shape  # nothing to map
                else np.asarray(np.memmap(path, dtype, "c", file.tell(), shape, order))
            )
        found[path.name.removesuffix(".npy")] = array
    return found


# A job


def save_job(folder: Path, job: TrainingJob) -> None:
    """Write a job.

    Raises
    ------
    TrainingFailed
        A value of the specification has no form in JSON.
    """
    snapshot = job.snapshot
    spec = {
        "format": FORMAT,
        "number": job.number,
        "seed": job.seed,
        "chosen": dict(job.chosen),
        "may_raise_popularity": job.may_raise_popularity,
        "offsets": snapshot.offsets,
        "n_events": snapshot.n_events,
        "withdrawn": sorted(snapshot.withdrawn),
        "catalogue_offset": snapshot.catalogue_offset,
        "changed": sorted(snapshot.changed),
        "parent": None,
    }
    if job.parent is not None:
        spec["parent"], artifact = pack(job.parent)
        (folder / "parent.npz").write_bytes(artifact)
    try:
        text = json.dumps(spec)
    except (TypeError, ValueError) as error:
        raise TrainingFailed(f"the training's specification can't be encoded: {error}") from error
    _save_histories(folder, snapshot.histories)
    with (folder / "catalogue.json").open("wb") as file:
        for products in _chunks(snapshot.catalogue.values(), PART_PRODUCTS):
            file.write(b"".join(_encode_items(each) + b"\n" for each in products))
    (folder / "spec.json").write_text(text, "utf-8")


def _save_histories(folder: Path, histories: FrozenHistories | HistoryColumns) -> None:
    save_arrays(folder, histories.arrays())
    header = {"descr": "<u4", "fortran_order": False, "shape": (histories.n_entries, WORDS)}
    with (folder / "entries.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in histories.blocks():
            file.write(np.ascontiguousarray(block).data)


def _chunks(values: Iterable[Item], size: int) -> Iterator[list[Item]]:
    left = iter(values)
    while chunk := list(itertools.islice(left, size)):
        yield chunk


def load_job(folder: Path) -> TrainingJob:
    """Read a job.

    Raises
    ------
    TrainingFailed
        The folder does not hold a job.
    ArtifactCorrupt
        The parent's artifact does not match its digest.
    """
    try:
        spec = json.loads((folder / "spec.json").read_text("utf-8"))
        if spec["format"] != FORMAT:
            raise TrainingFailed(f"a job must have the format {FORMAT!r}, got {spec['format']!r}")
        with (folder / "catalogue.json").open("rb") as file:
            items = [_decode_items(line) for line in file]
        offsets = {int(partition): offset for partition, offset in spec["offsets"].items()}
        snapshot = TrainingSnapshot(
            _load_histories(load_arrays(folder), offsets),
            spec["offsets"],
            spec["n_events"],
            {item.item: item for item in items},
            frozenset(spec["withdrawn"]),
            spec["catalogue_offset"],
            frozenset(spec["changed"]),
        )
        parent = None
        if spec["parent"] is not None:
            parent = unpack((folder / "parent.npz").read_bytes(), "of the parent", spec["parent"])
        names = ("number", "chosen", "seed", "may_raise_popularity")
        return TrainingJob(snapshot, parent, *(spec[name] for name in names))
    except (OSError, KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise TrainingFailed(
            f"{folder} must hold a training job, it does not: {error!r}"
        ) from error


def _load_histories(
    named: Mapping[str, NDArray[Any]], offsets: Mapping[int, int]
) -> HistoryColumns:
    runs, entries = named["runs"], named["entries"]
    if runs.dtype != RUN or entries.dtype != np.uint32 or entries.shape[1:] != (WORDS,):
        raise TrainingFailed(
            f"histories must have runs of {RUN} and entries of {WORDS} uint32, got {runs.dtype} "
            f"and {entries.dtype} {entries.shape}"
        )
    users = IdTable.from_arrays(named["users"], named["user_ends"])
    items = IdTable.from_arrays(named["items"], named["item_ends"])
    return HistoryColumns(users, items, runs, entries, offsets)


# The result


def save_result(folder: Path, done: TrainingResult) -> None:
    """Write a result: the artifact, and the arrays that deltas need.

    Item factors and features are in the artifact. Held-out histories are not written: the
    evaluation is done.
    """
    trained = done.trained
    digest, artifact = pack(trained.generation)
    (folder / "artifact.npz").write_bytes(artifact)
    arrays = {
        "users": trained.users,
        **{f"matrix.{name}": getattr(trained.matrix, name) for name in _MATRIX},
        **{f"popularity.{name}": getattr(trained.popularity, name) for name in _POPULARITY},
    }
    if trained.model is not None:
        arrays |= {name: getattr(trained.model, name) for name in _USERS}
    save_arrays(folder, arrays)
    result = {
        "format": FORMAT,
        "digest": digest,
        "gate_result": msgspec.to_builtins(done.gate_result),
        "held_out": done.held_out.touches,
        "loss": trained.loss,
        "clock": trained.popularity.clock,
    }
    (folder / "result.json").write_text(json.dumps(result), "utf-8")


def load_result(folder: Path) -> TrainingResult:
    """Read a result.

    Raises
    ------
    TrainingFailed
        A file is missing, or an array has a wrong name, type or shape.
    ArtifactCorrupt
        The artifact does not match its digest.
    """
    try:
        result = json.loads((folder / "result.json").read_text("utf-8"))
        artifact = result["digest"], (folder / "artifact.npz").read_bytes()
        named = load_arrays(folder)
        gate_result = msgspec.convert(result["gate_result"], GateResult | None)
        held_out = {
            user: tuple(Touch(*each) for each in touches)
            for user, touches in result["held_out"].items()
        }
    except (OSError, KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise TrainingFailed(
            f"{folder} must hold a training's result, it does not: {error!r}"
        ) from error
    generation = unpack(artifact[1], "of the training", artifact[0])
    trained = _trained(result, generation, named)
    return TrainingResult(trained, gate_result, HeldOutTouches(held_out), artifact)


def _trained(
    result: Mapping[str, Any], generation: Generation, named: Mapping[str, NDArray[Any]]
) -> Trained:
    n_users = named["users"].size if "users" in named else 0
    n_items, n_factors = generation.n_items, generation.n_factors
    n_lives, nnz = len(HALF_LIVES), named["matrix.data"].size if "matrix.data" in named else 0
    index = "int32" if nnz < 1 << 31 else "int64"  # as scipy chooses it
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        "users": ("int32", (n_users,)),
        "matrix.data": ("float32", (nnz,)),
        "matrix.indices": (index, (nnz,)),
        "matrix.indptr": (index, (n_users + 1,)),
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
        users=named["users"],
        matrix=matrix,
        popularity=Popularity(
            clock=result["clock"], **{name: named[f"popularity.{name}"] for name in _POPULARITY}
        ),
        loss=result["loss"],
        held=HeldOut([], {}),
        contents=ItemFeatures.from_arrays(generation.content_arrays, n_items),
    )
