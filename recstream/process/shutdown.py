"""The end of a role that was told to stop: in good order if it can be, and in time in any case."""

from __future__ import annotations

import logging
import os
import threading
import time

log = logging.getLogger(__name__)

END_S = 8.0
"""Less than a supervisor or an orchestrator waits before it kills."""


def end_in_time(seconds: float = END_S) -> None:
    """End this process after a time, whatever it still waits for; called when it is told to stop.

    A role whose broker is away may wait in a call that nothing interrupts. What it had begun then
    ends as by a crash: nothing that was acknowledged is lost, and the rest comes again.
    """

    def watch() -> None:
        time.sleep(seconds)
        log.warning(
            "not finished %g s after being told to stop, work under way is dropped", seconds
        )
        logging.shutdown()
        os._exit(0)

    threading.Thread(target=watch, name="end-in-time", daemon=True).start()
