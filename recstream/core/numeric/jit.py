"""Compile kernels with numba and cache the machine code.

Kernels release the GIL and never use numba's own threads. Callers cut work into tasks and run them
on a thread pool (`recstream.core.numeric.pool`): kernels may run on several Python threads at once,
and an argument bounds the number of threads.
"""

import functools
import hashlib
import sys
from collections.abc import Callable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np
from numba.extending import register_jitable

from recstream.core.numeric.compiler import compile_in_parts

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = "recstream.core"

ZERO: Any = np.int64(0)
"""First value of a counter that a kernel passes to another: for a literal 0, numba would compile the
other kernel twice."""


_njit: Any = numba.njit
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel on its first call; cache the machine code where a cache is writable.

    Numba caches in ``NUMBA_CACHE_DIR``, else in ``__pycache__`` next to the source, else in the
    user's cache directory. Without a writable one, every process compiles the kernel again.

    Numba invalidates cached code only when the kernel's own file changes. Kernels of other files
    are compiled into it, so here a change of any kernel's file invalidates it.
    """
    try:
        kernel = _njit(function, cache=True, **_OPTIONS)
    except RuntimeError:
        kernel = _njit(function, **_OPTIONS)
    else:
        bind_cache(kernel)
    compile_in_parts(kernel)
    return cast("Callable[P, R]", kernel)


MAX_STEPS = 200_000
"""Longest interpreted call in steps of a kernel's loops, which take up to 1 µs each; `interpretable_below`."""


def interpretable(kernel: Callable[P, R]) -> Callable[P, R]:
    """Let a compiled kernel run as Python while it is in no cache and `INTERPRETER` is on.

    The result has the same bits. Such a kernel uses only intrinsics that have a form in numpy
    (`recstream.core.numeric.simd`). Its sums start from numpy scalars: a Python float takes the
    type of a float32 that is added to it, in a kernel it does not.
    """
    return _interpretable(kernel, None, None)


def interpretable_below(
    steps: Callable[..., int] | None, in_numpy: Callable[..., Any] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator as `interpretable`, for calls of at most `MAX_STEPS` steps; others compile.

    Parameters
    ----------
    steps : callable or None
        Returns the number of steps of a call from its arguments; None for no limit.
    in_numpy : callable, optional
        Called instead of the kernel's Python; has the same arguments and returns the same bits.
    """
    return lambda kernel: _interpretable(kernel, steps, in_numpy)


def _interpretable(
    kernel: Callable[P, R], steps: Callable[..., int] | None, in_numpy: Callable[..., Any] | None
) -> Callable[P, R]:
    found: Any = kernel
    compile_now = found._compile_for_args  # noqa: SLF001 - numba calls it for types without code
    found.interpreted = in_numpy or found.py_func
    interpreter = _Interpreted(found)

    def code_for(*args: Any) -> Any:
        if not INTERPRETER.is_on or (steps is not None and steps(*args) > MAX_STEPS):
            return compile_now(*args)
        return interpreter.code_for(*args)

    # Numba calls what this returns, and asks again at the next call unless it is machine code.
    found._compile_for_args = code_for  # noqa: SLF001
    return kernel


class _Interpreter:
    """Whether interpretable kernels are interpreted while they are in no cache; one a process.

    Attributes
    ----------
    attempt : int
        Kernels look into the cache once for each number.
    """

    def __init__(self) -> None:
        self.is_on = False
        self.attempt = 0


INTERPRETER = _Interpreter()
"""The process's switch, off at first; `recstream.process.Kernels` turns it."""


class _Interpreted:
    """A kernel that is looked up in the cache, else interpreted."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._attempt = -1

    def code_for(self, *args: Any) -> Any:
        """Return machine code from the cache, or the Python function."""
        if self._attempt != INTERPRETER.attempt:
            self._attempt = INTERPRETER.attempt
            types = tuple(self._kernel.typeof_pyval(arg) for arg in args)
            if is_cached(self._kernel, types):
                return self._kernel.compile(types)
        return self._interpret

    def _interpret(self, *args: Any) -> Any:
        with np.errstate(all="ignore"):
            return self._kernel.interpreted(*args)


def is_cached(kernel: Any, types: tuple[Any, ...]) -> bool:
    """Return whether the cache has the machine code of a kernel for these types."""
    cache = kernel._cache  # noqa: SLF001 - numba has no public way, here and below
    if not hasattr(cache, "_cache_file"):
        return False
    key = cache._index_key(types, kernel.targetctx.codegen())  # noqa: SLF001
    return key in cache._cache_file._load_index()  # noqa: SLF001


def helper(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function that kernels call; it is compiled as a part of each kernel.

    It gets no entry from Python and no cache of its own. Python calls the function itself.
    """
    mark: Any = register_jitable(error_model="numpy", no_cfunc_wrapper=True)
    marked: Callable[P, R] = mark(function)
    return marked


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
    """Return a digest of every module below a folder that holds a kernel, or how numba compiles it."""
    hasher = hashlib.blake2b(digest_size=16)
    for path, content in _modules(folder, ""):
        if any(
            mark in content for mark in (b"@compiled", b"@helper", b"@intrinsic", b"numba.core")
        ):
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


@compiled
def _nothing() -> None:
    """Empty kernel, used only to find numba's cache folder."""


def cache_place() -> tuple[str, str] | None:
    """Return the cache's folder, and a text of all that cached code depends on; None without a cache."""
    kernel: Any = _nothing
    cache = kernel._cache  # noqa: SLF001 - numba has no public way
    if not hasattr(cache, "_cache_file"):
        return None
    target = kernel.targetctx.codegen().magic_tuple()
    return cache.cache_path, repr((sys.version, cache._cache_file._version, target))  # noqa: SLF001
