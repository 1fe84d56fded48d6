"""Classify transient errors and retry until they are gone."""

import errno
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from recstream.errors import CatalogueUnavailable, LogRefused, LogUnavailable, ModelStoreUnavailable
from recstream.process.rocksdb import NO_SPACE

log = logging.getLogger(__name__)

T = TypeVar("T")

RESTART_S = 2.0


def is_temporary(error: BaseException | None) -> bool:
    """Return whether an error or one of its causes is temporary: a full disk, or a log or store that is away."""
    while error is not None:
        if isinstance(error, LogRefused):
            return False
        if isinstance(error, LogUnavailable | ModelStoreUnavailable | CatalogueUnavailable):
            return True
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return True
        if getattr(error, "retriable", False):  # of aiokafka, an extra: no broker answers
            return True
        if NO_SPACE in str(error):
            return True
        error = error.__cause__
    return False


def retry_while_away(name: str, run: Callable[[], T], stopping: threading.Event) -> T | None:
    """Call a function, again after temporary errors; return its result, or None once stopped."""
    while not stopping.is_set():
        try:
            return run()
        except Exception as error:
            if not is_temporary(error):
                raise
            log.warning("%s starts again in %g s: %s", name, RESTART_S, error)
        stopping.wait(RESTART_S)
    return None
