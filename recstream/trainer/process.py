"""Steps 4 to 6 of the flow: the trainer's process: it opens what a trainer needs, and ends in order."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from recstream.errors import LogError
from recstream.log import EventLog, TopicSpec, histories_changelog, open_log, topic_specs
from recstream.log.embedded import EmbeddedLog, maintain
from recstream.models import open_store
from recstream.process import end_in_time, system_clock_ms
from recstream.settings import Settings
from recstream.trainer.lease import lease_for
from recstream.trainer.loop import Trainer

log = logging.getLogger(__name__)

MAINTAIN_EVERY_S = 60.0
SWITCH_S = 0.0005
"""How long a training's Python may go on while the loop, which follows the log, waits to run."""


def run(settings: Settings) -> None:
    """Run a trainer until SIGTERM or SIGINT.

    Raises
    ------
    RecstreamError
        The trainer can't start.
    """
    stopping = threading.Event()
    sys.setswitchinterval(SWITCH_S)
    with (
        contextlib.closing(open_log(settings.broker_url, settings)) as event_log,
        _signals(stopping),
    ):
        changelog = TopicSpec(
            histories_changelog(settings.app_id), settings.partitions, compacted=True
        )
        event_log.create_topics((*topic_specs(settings.partitions), changelog))
        name = f"{socket.gethostname()}-{os.getpid()}"
        trainer = Trainer(
            settings,
            event_log,
            open_store(settings.models_url),
            lease_for(event_log, name),
            clock_ms=system_clock_ms,
        )
        keeper = threading.Thread(target=_keep_small, args=(event_log, stopping), daemon=True)
        keeper.start()
        try:
            trainer.serve(stopping)
        finally:
            stopping.set()
            trainer.close()
            keeper.join()


def _keep_small(event_log: EventLog, stopping: threading.Event) -> None:
    """Compact, expire and merge the embedded log now and then; a broker does so by itself."""
    if not isinstance(event_log, EmbeddedLog):
        return
    while not stopping.wait(MAINTAIN_EVERY_S):
        try:
            done = maintain(event_log)
        except LogError as error:
            log.warning("log not maintained, trying again later: %s", error)
        else:
            if any(done):
                log.info(
                    "log maintained merged=%d compacted=%d expired=%d",
                    done.merged,
                    done.compacted,
                    done.expired,
                )


@contextlib.contextmanager
def _signals(stopping: threading.Event) -> Iterator[None]:
    """Set an event on SIGTERM and SIGINT, and see to it that the end comes; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        end_in_time()

    before = {each: signal.signal(each, handle) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
