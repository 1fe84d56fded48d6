"""Step 6 of the flow: named arrays ↔ a checked ``.npz``; never pickle."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from recstream.errors import ArtifactCorrupt

__all__ = ["digest_of", "hexdigest", "read_arrays", "write_arrays"]


def digest_of(named: dict[str, Any]) -> str:
    """Return the SHA-256 of names, types, shapes and bytes, in hex."""
    return hexdigest(hashlib.sha256(), named)


def hexdigest(hasher: Any, named: Mapping[str, Any]) -> str:
    """Return what a new hash of `hashlib` makes of names, types, shapes and bytes, by name."""
    for name in sorted(named):
        array = np.ascontiguousarray(named[name])
        hasher.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        hasher.update(array.data)
    return str(hasher.hexdigest())


def write_arrays(file: Any, named: dict[str, Any]) -> str:
    """Write arrays to a path or a binary stream; return their digest, which is stored too."""
    digest = digest_of(named)
    with _opened(file, "wb") as stream:
        np.savez(stream, digest=np.frombuffer(digest.encode(), np.uint8), **named)
    return digest


def read_arrays(file: Any) -> dict[str, Any]:
    """Read what `write_arrays` wrote, from a path or a binary stream.

    Raises
    ------
    ArtifactCorrupt
        Not such a file, or its digest is not the stored one.
    """
    try:
        with _opened(file, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            named = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise ArtifactCorrupt(f"{file} is not a readable model file: {error}") from error
    expected = bytes(named.pop("digest", np.empty(0, np.uint8))).decode(errors="replace")
    if (actual := digest_of(named)) != expected:
        raise ArtifactCorrupt(
            f"{file} must have the digest {expected!r} it was written with, got {actual!r}; "
            "fetch it again"
        )
    return named


@contextmanager
def _opened(file: Any, mode: str) -> Iterator[IO[Any]]:
    """Open a path; lend an open stream without closing it."""
    if hasattr(file, "read"):
        yield file
        return
    with open(file, mode) as stream:  # noqa: PTH123  (core is given paths, it makes none)
        yield stream
