"""The worker's process: from settings to a clean end."""

import asyncio
import contextlib
import logging
import signal
import traceback
from collections.abc import Iterator

from recstream.errors import RecstreamError, StartupError
from recstream.process import RESTART_S, end_in_time, ended_if_stuck, is_temporary, run_in_loop
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
    run_in_loop(serve(settings))


async def serve(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Run a worker on the current event loop until ``stop`` is set or a signal comes.

    While the disk is full, or log or model store are away, it starts again and again.
    """
    stopping = stop or asyncio.Event()
    with _signals(asyncio.get_running_loop(), stopping):
        while True:
            error = await _serve_once(settings, stopping)
            if error is None or (stopping.is_set() and is_temporary(error)):
                return
            if not is_temporary(error):
                break
            log.warning("worker starts again in %g s: %s", RESTART_S, error)
            _clear_frames(error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), RESTART_S)
    if isinstance(error, RecstreamError):
        raise error
    raise StartupError(f"worker stopped by {error!r}; its log says where") from error


async def _serve_once(settings: Settings, stopping: asyncio.Event) -> BaseException | None:
    """Run a worker until it is stopped or fails; return the error."""
    try:
        app = build_app(settings)
        try:
            await app.start()
            log.info("worker started app=%s broker=%s", settings.app_id, settings.broker_url)
            await app.wait_first(stopping.wait())
        finally:
            with ended_if_stuck():  # Faust may wait for the thread of a consumer that has ended
                await app.stop()
    except Exception as error:  # noqa: BLE001 - the caller raises it, or tries again
        return error
    return app.crash_reason if app.crashed else None


def _clear_frames(error: BaseException | None) -> None:
    """Drop what an error's frames hold, such as open databases: the next start opens them again."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


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
