"""The worker's process: from settings to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator

from recstream.errors import RecstreamError, StartupError
from recstream.process import end_in_time
from recstream.settings import Settings
from recstream.worker.app import build_app

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT.

    Raises
    ------
    RecstreamError
        The worker can't start, or stopped because an event would have been lost.
    """
    asyncio.run(serve(settings))


async def serve(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Run a worker on the current event loop until ``stop`` is set or a signal comes."""
    stopping = stop or asyncio.Event()
    with _signals(asyncio.get_running_loop(), stopping):
        app = build_app(settings)
        try:
            await app.start()
            log.info("worker ready app=%s broker=%s", settings.app_id, settings.broker_url)
            await app.wait_first(stopping.wait())
        finally:
            await app.stop()
    error = app.crash_reason if app.crashed else None
    if isinstance(error, RecstreamError):
        raise error
    if error is not None:
        raise StartupError(f"worker stopped by {error!r}; its log says where") from error


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> Iterator[None]:
    """Set an event on SIGTERM and SIGINT, and bound the time until the process ends."""
    names = (signal.SIGTERM, signal.SIGINT)

    def stop() -> None:
        stopping.set()
        end_in_time()

    try:
        for each in names:
            loop.add_signal_handler(each, stop)
    except (RuntimeError, ValueError):  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for each in names:
            loop.remove_signal_handler(each)
