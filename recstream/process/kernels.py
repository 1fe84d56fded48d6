"""Compile kernels in a process of its own, which fills numba's cache while lists are made.

Numba holds the interpreter's lock while it compiles, so a thread would stop everything else.
"""

import fcntl
import hashlib
import logging
import subprocess
import sys
import threading
from pathlib import Path
from time import perf_counter

from recstream.process.threads import run_in_thread
from recstream.process.warmup import warm_up, warm_up_training

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""Pause between two looks into the cache, and for the end."""
_COMPILING = "kernels are being compiled, once for this version"
COMPILING = f"{_COMPILING}; until then lists are slower, and no model is trained"
LISTS_WAIT = f"{_COMPILING}; lists come when it ends, and no model is trained before"
"""Where the active generation has factors: it waits for the kernels."""
_PROGRAM = """
import os
from recstream.process import BACKGROUND_NICE, fill_cache, follow_parent
os.nice(BACKGROUND_NICE)
follow_parent(0.0)
fill_cache()
"""


class Kernels:
    """The kernels of ranking in this process: loaded from the cache, or compiled by another process.

    Until they are compiled, those of a search without factors and of a small first generation are
    interpreted: slower, with the same bits.

    Parameters
    ----------
    ranks : bool
        Whether this process ranks: it then loads the kernels as soon as it can. Otherwise each is
        loaded by its first call.
    """

    def __init__(self, stopping: threading.Event, *, ranks: bool = True) -> None:
        self._stopping = stopping
        self._ranks = ranks
        self._loaded = threading.Event()
        self._is_started = False

    def start(self) -> None:
        """Load the kernels if they are cached; else return at once, and have them compiled.

        A second call does nothing.
        """
        if self._is_started:
            return
        self._is_started = True
        marker = _marker()
        if marker is None or marker.exists():
            self._load()
            return
        from recstream.core.numeric.jit import INTERPRETER  # noqa: PLC0415 - slow to import

        INTERPRETER.is_on = True
        log.info(_COMPILING)
        run_in_thread("recstream-kernels", self._compile)

    @property
    def is_compiling(self) -> bool:
        """Whether another process compiles the kernels now."""
        return self._is_started and not self._loaded.is_set()

    def wait(self) -> None:
        """Wait until the kernels are loaded, or the process stops."""
        while not (self._loaded.is_set() or self._stopping.is_set()):
            self._loaded.wait(LOOK_S)

    def _compile(self) -> None:
        from recstream.core.numeric.jit import INTERPRETER  # noqa: PLC0415 - see `start`

        try:
            with subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-c", _PROGRAM],
                stdin=subprocess.PIPE,  # the end of this process closes it, and ends that one
                stdout=subprocess.DEVNULL,
            ) as process:
                while process.poll() is None:
                    if self._stopping.wait(LOOK_S):
                        process.terminate()
                        return
                    INTERPRETER.attempt += 1
        except OSError as error:
            log.warning("kernels are compiled in this process: %s", error)
        INTERPRETER.is_on = False
        self._load()

    def _load(self) -> None:
        """Load the kernels, or compile what is in no cache."""
        begun = perf_counter()
        try:
            if self._ranks:
                warm_up()
        finally:
            self._loaded.set()
        log.info("kernels loaded seconds=%.1f", perf_counter() - begun)


def _marker() -> Path | None:
    """Return the file that says that the cache has all kernels; None without a cache."""
    from recstream.core.numeric.jit import cache_place  # noqa: PLC0415 - slow to import

    place = cache_place()
    if place is None:
        return None
    folder, version = place
    name = hashlib.blake2b(version.encode(), digest_size=16).hexdigest()
    return Path(folder, f"recstream-{name}.complete")


def fill_cache() -> None:
    """Compile all kernels of ranking and deltas into the cache, unless another process does so or has done it."""
    marker = _marker()
    if marker is None:
        warm_up()
        warm_up_training()
        return
    marker.parent.mkdir(parents=True, exist_ok=True)
    with marker.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists():
            warm_up()
            warm_up_training()
            marker.touch()
