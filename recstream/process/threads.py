"""Background threads that never die in silence: restarted after known errors, fatal after others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

_PAUSES_S = (0.1, 0.5, 2.0, 5.0)


def start_thread(
    name: str,
    run: Callable[[], object],
    fail: Callable[[BaseException], object],
    *,
    stopping: threading.Event,
    retry: tuple[type[Exception], ...] = (),
) -> threading.Thread:
    """Start a daemon thread whose errors are logged with its name, and never lost.

    Parameters
    ----------
    name : str
    run : callable
        Returns when ``stopping`` is set.
    fail : callable
        Called in the thread with an error that ends it; it must end the role.
    stopping : threading.Event
        Errors after it is set are expected.
    retry : tuple of exception types
        Errors of something that is away for a while: ``run`` is called again, after a pause.
    """

    def supervise() -> None:
        n_failures = 0
        while not stopping.is_set():
            try:
                run()
            except retry as error:
                pause_s = _PAUSES_S[min(n_failures, len(_PAUSES_S) - 1)]
                n_failures += 1
                log.warning("thread %s starts again in %g s: %s", name, pause_s, error)
                stopping.wait(pause_s)
            except BaseException as error:
                if not stopping.is_set():
                    log.critical("thread %s ended: %r", name, error, exc_info=error)
                    fail(error)
                return
            else:
                return

    thread = threading.Thread(target=supervise, name=name, daemon=True)
    thread.start()
    return thread
