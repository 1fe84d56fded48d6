"""Compiling for step 5–7 of the flow: numba with a cache where one can be written.

Kernels release the GIL and never use numba's own threads: work is cut into tasks by the caller
and run by a thread pool (`recstream.core.numeric.pool`), so that kernels may be called from
several Python threads at once and the number of threads is bounded by an argument.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = "recstream.core"


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel on its first call; keep the machine code where a cache can be written.

    Numba looks for a place in this order: ``NUMBA_CACHE_DIR``, ``__pycache__`` beside the
    source, the user's cache directory. Where none can be written it refuses; then the kernel is
    compiled anew by every process.

    Numba by itself takes kept code for fresh while the kernel's own file is unchanged, though
    kernels of other files are compiled into it. Here it is fresh while all of them are.
    """
    try:
        kernel = numba.njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError:
        kernel = numba.njit(function, nogil=True, error_model="numpy")
    else:
        stamp_all(kernel)
    return cast("Callable[P, R]", kernel)


def stamp_all(kernel: Any, sources: bytes | None = None) -> None:
    """Bind a kernel's cache to the sources of all kernels; by default, as they are installed.

    As a part of the version, which is compared before anything else of the cache is read: code kept
    by other sources may name types that are gone.
    """
    file = kernel._cache._cache_file  # noqa: SLF001 - numba has no public way
    file._version = (file._version, _sources() if sources is None else sources)  # noqa: SLF001


@functools.cache
def _sources() -> bytes:
    """Return the digest of every module below `recstream.core` that may hold kernels."""
    hasher = hashlib.blake2b(digest_size=16)
    for path, content in _modules(resources.files(_PACKAGE), ""):
        if b"@compiled" in content or b"@intrinsic" in content:
            hasher.update(b"%b %d %b" % (path.encode(), len(content), content))
    return hasher.digest()


def _modules(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the source of each module of a folder and of all folders in it."""
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        below = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _modules(entry, below)
        elif entry.name.endswith(".py"):
            yield below, entry.read_bytes()
