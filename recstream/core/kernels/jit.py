"""Compiling for step 5–7 of the flow: numba with a cache where one can be written.

Kernels release the GIL and never use numba's own threads: work is cut into tasks by the caller
and run by a thread pool (`recstream.core.kernels.pool`), so that kernels may be called from
several Python threads at once and the number of threads is bounded by an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel on its first call; keep the machine code where a cache can be written.

    Numba looks for a place in this order: ``NUMBA_CACHE_DIR``, ``__pycache__`` beside the
    source, the user's cache directory. Where none can be written it refuses; then the kernel is
    compiled anew by every process.
    """
    try:
        kernel = numba.njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError:
        kernel = numba.njit(function, nogil=True, error_model="numpy")
    return cast("Callable[P, R]", kernel)
