"""Codec of named arrays: a ``.npz`` with a digest, read without pickle, and JSON as bytes.

`array_digest` is the digest of a generation.
"""

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import UInt8s
from recstream.errors import ArtifactCorrupt, InvalidInput

Arrays = Mapping[str, NDArray[Any]]
_DIGEST = "digest"
_SHA256_LENGTH = 64
"""Hex digits of the digest in ALS models of version 0.1; newer files have a BLAKE2b."""
_HEADER = re.compile(
    r"\{'descr': (?:'(?P<type>[^']+)'|\[(?P<fields>\('\w*', '[^']+'\)(?:, \('\w*', '[^']+'\))*)\]), "
    r"'fortran_order': (?P<order>False|True), 'shape': \((?P<shape>[\d, ]*)\), \} *\n"
)
_MAX_HEADER_BYTES = 10_000
_PART_BYTES = 1 << 20
_FIELD = re.compile(r"\('(\w*)', '([^']+)'\)")


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
    expected_digest : str, optional
        The digest that the arrays were announced with.

    Raises
    ------
    ArtifactCorrupt
        Not such a file, or its digest is not the stored or the expected one.
    """
    try:
        named = _read_members(stream)
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


class NpyHeader(NamedTuple):
    """Header of an ``.npy`` file: what its bytes are."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool


def read_npy_header(stream: IO[bytes]) -> NpyHeader:
    """Read the header of an ``.npy`` file, of a plain type or of named fields of plain types.

    NumPy's own reader uses `ast`, which fails now and then when several threads use it (Python 3.11).

    Raises
    ------
    ValueError
        It is not such a header.
    """
    major, _ = np.lib.format.read_magic(stream)
    length = int.from_bytes(stream.read(2 if major == 1 else 4), "little")
    found = _HEADER.fullmatch(stream.read(min(length, _MAX_HEADER_BYTES)).decode("latin-1"))
    if found is None:
        raise ValueError("expected the header of an array of numbers or texts")
    fields = _FIELD.findall(found["fields"] or "")
    shape = tuple(int(each) for each in found["shape"].split(",") if each.strip())
    dtype = np.lib.format.descr_to_dtype(fields) if fields else np.dtype(found["type"])
    return NpyHeader(dtype, shape, found["order"] == "True")


def _read_members(stream: IO[bytes]) -> dict[str, NDArray[Any]]:
    """Return all arrays; names, sizes and shapes are checked before memory is allocated for them.

    `write_arrays` does not compress. So an array has as many bytes in the file as in memory.
    """
    n_bytes = stream.seek(0, 2)
    stream.seek(0)
    named: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(stream) as file:
        members = file.infolist()
        names = [member.filename for member in members]
        if len(set(names)) < len(names) or not all(name.endswith(".npy") for name in names):
            raise ValueError(f"expected .npy members of different names, got {names[:20]}")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or (
            sum(member.file_size for member in members) > n_bytes
        ):
            raise ValueError(f"expected uncompressed arrays within the file's {n_bytes} bytes")
        for member in members:
            with file.open(member) as content:
                dtype, shape, is_fortran = read_npy_header(content)
                size = math.prod(shape) * dtype.itemsize
                expected = member.file_size - content.tell()
                if dtype.hasobject or size != expected:
                    message = f"{member.filename}: {dtype} of shape {shape} in {expected} bytes"
                    raise ValueError(message)
                array: NDArray[Any] = np.empty(shape[::-1] if is_fortran else shape, dtype)
                if size:
                    _fill(array.reshape(-1).view(np.uint8).data, content)
                named[member.filename.removesuffix(".npy")] = array.T if is_fortran else array
    return named


def _fill(buffer: memoryview, stream: IO[bytes]) -> None:
    """Read a whole buffer, a part at a time."""
    at = 0
    while part := stream.read(min(_PART_BYTES, len(buffer) - at)):
        buffer[at : at + len(part)] = part
        at += len(part)
    if at < len(buffer):
        raise ValueError(f"expected {len(buffer)} bytes of an array, got {at}")


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
