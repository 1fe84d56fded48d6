"""Compile kernels with numba and cache the machine code.

Kernels release the GIL and never use numba's own threads. Callers cut work into tasks and run them
on a thread pool (`recstream.core.numeric.pool`): kernels may run on several Python threads at once,
and an argument bounds the number of threads.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = "recstream.core"

ZERO: Any = np.int64(0)
"""First value of a counter that a kernel passes to another: for a literal 0, numba would compile the
other kernel twice."""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel on its first call; cache the machine code where a cache is writable.

    Numba caches in ``NUMBA_CACHE_DIR``, else in ``__pycache__`` beside the source, else in the
    user's cache directory. Without a writable one, every process compiles the kernel again.

    Numba invalidates cached code only when the kernel's own file changes. Kernels of other files
    are compiled into it, so here a change of any kernel's file invalidates it.
    """
    try:
        kernel = numba.njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError:
        kernel = numba.njit(function, nogil=True, error_model="numpy")
    else:
        bind_cache(kernel)
    return cast("Callable[P, R]", kernel)


def bind_cache(kernel: Any, sources: bytes | None = None) -> None:
    """Bind a kernel's cache to the sources of all kernels; by default, the installed ones.

    The digest becomes part of the cache's version. Numba compares that before it reads the rest,
    which may name types that no longer exist.
    """
    file = kernel._cache._cache_file  # noqa: SLF001 - numba has no public way
    file._version = (file._version, _sources_digest() if sources is None else sources)  # noqa: SLF001


@functools.cache
def _sources_digest() -> bytes:
    """Return `sources_digest` of the installed core."""
    return sources_digest(resources.files(_PACKAGE))


def sources_digest(folder: Traversable) -> bytes:
    """Return a digest of every module below a folder that holds a kernel."""
    hasher = hashlib.blake2b(digest_size=16)
    for path, content in _modules(folder, ""):
        if b"@compiled" in content or b"@intrinsic" in content:
            hasher.update(b"%b %d %b" % (path.encode(), len(content), content))
    return hasher.digest()


def _modules(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the source of each module below a folder, recursively."""
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        below = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _modules(entry, below)
        elif entry.name.endswith(".py"):
            yield below, entry.read_bytes()
