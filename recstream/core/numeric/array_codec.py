"""Codec of named arrays: a ``.npz`` with a digest, read without pickle, and JSON as bytes."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import UInt8s
from recstream.errors import ArtifactCorrupt, InvalidInput

Arrays = Mapping[str, NDArray[Any]]
_DIGEST = "digest"
_SHA256_LENGTH = 64
"""Hex digits of the digest in ALS models of version 0.1; newer files have a BLAKE2b."""


def array_digest(named: Arrays) -> str:
    """Return the BLAKE2b-128 of names, types, shapes and bytes, in hex."""
    return _hash(hashlib.blake2b(digest_size=16), named)


def _hash(hasher: Any, named: Arrays) -> str:
    """Return the hex digest that a new hasher of `hashlib` gives."""
    for name in sorted(named):
        array = np.ascontiguousarray(named[name])
        hasher.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        hasher.update(array.data)
    return str(hasher.hexdigest())


def write_arrays(stream: IO[bytes], named: Arrays) -> str:
    """Write arrays and their digest to a binary stream; return the digest."""
    digest = array_digest(named)
    content: dict[str, Any] = {**named, _DIGEST: np.frombuffer(digest.encode(), np.uint8)}
    np.savez(stream, **content)
    return digest


def read_arrays(
    stream: IO[bytes], name: str, expected_digest: str | None = None
) -> tuple[str, dict[str, NDArray[Any]]]:
    """Return the digest and the arrays that `write_arrays` wrote.

    Parameters
    ----------
    stream : binary stream, seekable
    name : str
        For the error.
    expected_digest : str, optional
        The digest that the arrays were announced with.

    Raises
    ------
    ArtifactCorrupt
        Not such a file, or its digest is not the stored or the expected one.
    """
    try:
        _check_members(stream)
        with np.load(stream, allow_pickle=False) as stored:
            named = {key: stored[key] for key in stored.files}
    except Exception as error:
        raise ArtifactCorrupt(
            f"artifact {name} can't be read ({error}); train again or restore the file"
        ) from error
    stated = bytes(named.pop(_DIGEST, np.empty(0, np.uint8))).decode(errors="replace")
    is_old = len(stated) == _SHA256_LENGTH
    actual = _hash(hashlib.sha256(), named) if is_old else array_digest(named)
    for expected, where in ((stated, "the file"), (expected_digest, "its announcement")):
        if expected is not None and expected != actual:
            raise ArtifactCorrupt(
                f"artifact {name} must have the digest {expected!r} that {where} states, "
                f"got {actual!r}; train again or restore the file"
            )
    return actual, named


def _check_members(stream: IO[bytes]) -> None:
    """Check names, sizes and shapes of all arrays before memory is allocated for them.

    `write_arrays` does not compress. So an array has as many bytes in the file as in memory.
    """
    n_bytes = stream.seek(0, 2)
    stream.seek(0)
    with zipfile.ZipFile(stream) as file:
        members = file.infolist()
        names = [member.filename for member in members]
        if len(set(names)) < len(names) or not all(name.endswith(".npy") for name in names):
            message = f"expected .npy members of different names, got {names[:20]}"
            raise ValueError(message)
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or (
            sum(member.file_size for member in members) > n_bytes
        ):
            message = f"expected uncompressed arrays within the file's {n_bytes} bytes"
            raise ValueError(message)
        for member in members:
            with file.open(member) as content:
                version = np.lib.format.read_magic(content)
                read_header = _HEADERS[version]
                shape, _, dtype = read_header(content)
                size = math.prod(shape) * dtype.itemsize
                expected = member.file_size - content.tell()
            if dtype.hasobject or any(length < 0 for length in shape) or size != expected:
                message = f"{member.filename}: {dtype} of shape {shape} in {expected} bytes"
                raise ValueError(message)
    stream.seek(0)


_HEADERS: Mapping[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def encode_json(value: Any) -> UInt8s:
    """Return a JSON value as an array of bytes; objects have sorted keys.

    >>> decode_json(encode_json({"b": 1, "a": [2.5]}))
    {'a': [2.5], 'b': 1}
    """
    return np.frombuffer(json.dumps(value, sort_keys=True).encode(), np.uint8)


def decode_json(array: NDArray[Any]) -> Any:
    """Return the value that `encode_json` encoded.

    Raises
    ------
    ValueError
        Not JSON.
    """
    return json.loads(bytes(array))


def opened(file: Any, mode: str) -> AbstractContextManager[IO[bytes]]:
    """Open a path by its own method; an open stream stays open at the end."""
    if isinstance(file, str):
        raise InvalidInput(f"file must be a pathlib.Path or a binary stream, got {file!r}")
    stream: AbstractContextManager[IO[bytes]]
    stream = file.open(mode) if hasattr(file, "open") else nullcontext(file)
    return stream
