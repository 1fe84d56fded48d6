"""Steps 3 and 6 to 8 of the flow: the worker's process, from settings to a clean end."""

import asyncio
import contextlib
import fcntl
import gc
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from threadpoolctl import threadpool_limits

from recstream.errors import RecstreamError, StartupError
from recstream.log import EventLog, TopicSpec, histories_changelog, open_log, topic_specs
from recstream.models import open_store
from recstream.process.clock import system_clock_ms
from recstream.process.shutdown import end_in_time
from recstream.settings import Settings
from recstream.worker.app import build_app, build_topology, is_kafka

log = logging.getLogger(__name__)

SWITCH_S = 0.0005
"""How long the engine's Python may go on while the loop, or what was appended, waits to be heard."""


def run(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT.

    Raises
    ------
    RecstreamError
        The worker can't start, or had to stop rather than lose an event.
    """
    sys.setswitchinterval(SWITCH_S)
    asyncio.run(serve(settings))


async def serve(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Run a worker on the current event loop until ``stop`` is set or a signal comes."""
    stopping = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    with (
        _signals(loop, stopping),
        threadpool_limits(1, user_api="blas"),  # its threads would fight the engine's for cores
        _calm_collector(),
        contextlib.closing(_open(settings)) as event_log,
        _tables_folder(settings, event_log) as tables,
    ):
        errors: list[BaseException] = []

        def fail(error: BaseException) -> None:
            log.error("worker stops: %r", error, exc_info=error)
            errors.append(error)
            stopping.set()

        app = build_app(settings, tables)
        topology = build_topology(
            app,
            settings,
            event_log=event_log,
            store=open_store(settings.models_url),
            clock_ms=system_clock_ms,
            fail=fail,
            name=f"{socket.gethostname()}-{os.getpid()}",
        )
        await topology.runner.start(fail)
        try:
            await app.start()
            log.info("worker ready app=%s broker=%s", settings.app_id, settings.broker_url)
            await app.wait_first(stopping.wait())
            if app.crashed and app.crash_reason is not None:
                errors.append(app.crash_reason)
        finally:
            await topology.runner.settle()
            await app.stop()
            await topology.runner.close()
        for error in errors:
            if isinstance(error, RecstreamError):
                raise error
            raise StartupError(f"worker stopped by {error!r}; its log says where") from error


def _open(settings: Settings) -> EventLog:
    """Open the log with all topics in it."""
    event_log = open_log(settings.broker_url, settings)
    changelog = TopicSpec(histories_changelog(settings.app_id), settings.partitions, compacted=True)
    event_log.create_topics((*topic_specs(settings.partitions), changelog))
    return event_log


@contextlib.contextmanager
def _tables_folder(settings: Settings, event_log: EventLog) -> Iterator[Path]:
    """Give the folder of this log's tables, made if it is not there.

    Tables of another epoch are left alone and not used: this log's come back from its changelog. On
    Kafka a worker also keeps tables of partitions that are others', so that each worker of a machine
    has a folder of its own: the first that no other one has.
    """
    folder = settings.path("tables", settings.app_id)
    with contextlib.ExitStack() as held:
        try:
            others = [each.name for each in folder.iterdir()] if folder.is_dir() else []
            if others and event_log.epoch not in others:
                log.warning(
                    "tables of another log found in %s (epochs %s), not used; delete them when the "
                    "log is not coming back",
                    folder,
                    ", ".join(others),
                )
            folder /= event_log.epoch
            folder.mkdir(parents=True, exist_ok=True)
            if is_kafka(settings):
                folder = held.enter_context(_first_free(folder))
        except OSError as error:
            raise StartupError(
                f"tables folder {folder} can't be used: {error}; choose another with --data-dir"
            ) from error
        yield folder


@contextlib.contextmanager
def _first_free(parent: Path) -> Iterator[Path]:
    """Give the first numbered folder that no other process has; it is this one's until the end."""
    for number in itertools.count(1):
        folder = parent / f"worker-{number}"
        folder.mkdir(exist_ok=True)
        with (folder / "owner").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield folder
            return


@contextlib.contextmanager
def _calm_collector() -> Iterator[None]:
    """Collect cycles seldom: a worker makes few, and a pass over all hot histories stops it."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> Iterator[None]:
    """Set an event on SIGTERM and SIGINT, and see to it that the end comes."""
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
