"""The trainer's process: open the log and the model store, run the loop, shut down in order."""

import contextlib
import logging
import os
import socket
import sys
import threading

from recstream.checkpoints import open_checkpoints, retain
from recstream.errors import LogError
from recstream.log import EventLog, open_log, topic_specs, watch_topics
from recstream.log.embedded import EmbeddedLog, maintain
from recstream.models import open_store
from recstream.process import (
    Kernels,
    retry_while_away,
    start_thread,
    stopped_by_signals,
    system_clock_ms,
)
from recstream.settings import Settings
from recstream.trainer.lease import lease_for
from recstream.trainer.loop import Trainer

log = logging.getLogger(__name__)

MAINTAIN_EVERY_S = 60.0
SWITCH_S = 0.0005
"""Interpreter switch interval in seconds: the loop must not wait long for a training thread."""


def run(settings: Settings) -> None:
    """Run a trainer until SIGTERM or SIGINT.

    Raises
    ------
    RecstreamError
        The trainer can't start.
    """
    stopping = threading.Event()
    sys.setswitchinterval(SWITCH_S)
    kernels = Kernels(stopping, ranks=False)
    with stopped_by_signals(stopping), contextlib.ExitStack() as held:
        opened = retry_while_away("trainer", lambda: _open(settings, kernels, held), stopping)
        if opened is None:
            return
        event_log, trainer = opened
        failures: list[BaseException] = []

        def fail(error: BaseException) -> None:
            failures.append(error)
            stopping.set()

        watch_topics(event_log, stopping, fail)
        maintenance = start_thread(
            "recstream-maintenance",
            lambda: _maintain_log(event_log, settings, stopping),
            stopping=stopping,
            fail=fail,
            retry=(LogError, OSError),
        )
        try:
            kernels.start()
            trainer.serve(stopping)
        finally:
            stopping.set()
            trainer.close()
            maintenance.join()
        if failures:
            raise failures[0]


def _open(
    settings: Settings, kernels: Kernels, held: contextlib.ExitStack
) -> tuple[EventLog, Trainer]:
    """Return the log, which ``held`` closes, and a trainer on it."""
    with contextlib.ExitStack() as opened:
        event_log = opened.enter_context(
            contextlib.closing(open_log(settings.broker_url, settings))
        )
        event_log.create_topics(topic_specs(settings.partitions, settings.app_id))
        name = f"{socket.gethostname()}-{os.getpid()}"
        lease = lease_for(event_log, name)
        try:
            trainer = Trainer(
                settings,
                event_log,
                open_store(settings.models_url),
                lease,
                clock_ms=system_clock_ms,
                name=name,
                is_compiling=lambda: kernels.is_compiling,
            )
        except BaseException:
            with contextlib.suppress(LogError):
                lease.release()  # a member of the group that nobody polls would keep it
            raise
        held.push(opened.pop_all())
    return event_log, trainer


def _maintain_log(event_log: EventLog, settings: Settings, stopping: threading.Event) -> None:
    """Apply the retention settings every minute; compact, expire and merge the embedded log too."""
    checkpoints = open_checkpoints(event_log, settings)
    while not stopping.wait(MAINTAIN_EVERY_S):
        pruned = retain(checkpoints, settings, now_ms=system_clock_ms())
        if any(pruned):
            log.info("log pruned interactions=%d recommendations=%d models=%d control=%d", *pruned)
        if not isinstance(event_log, EmbeddedLog):
            continue
        done = maintain(event_log)
        if any(done):
            log.info(
                "log maintained merged=%d compacted=%d expired=%d",
                done.merged,
                done.compacted,
                done.expired,
            )
