"""Assemble and run a bridge: `run` as a process, `Bridge` inside another process.

HTTP is served by uvicorn (see `recstream.bridge.http_server`); a route can detach its socket (see
`recstream.bridge.http.routes.push`).
"""

import contextlib
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import msgspec
from ulid import ULID

import recstream
from recstream.bridge.active_generation import ActiveGeneration
from recstream.bridge.auth import Authenticator
from recstream.bridge.follower import CurrentState, Follower
from recstream.bridge.http import Deps, RateLimiter, SingleEvents, create_app
from recstream.bridge.http_server import BACKLOG, HttpServer
from recstream.bridge.published import ListInputs
from recstream.bridge.push import ConnectionLoop, Hub, LogFeed
from recstream.bridge.readiness import Readiness
from recstream.bridge.recommender import Recommender
from recstream.bridge.shelves import ShelfMaker
from recstream.bridge.traffic_switch import TrafficSwitch
from recstream.bridge.views import (
    CountsFeed,
    Items,
    PastQueries,
    PipelineHistory,
    SliceFolder,
    Status,
    Views,
)
from recstream.catalogue import open_catalogue
from recstream.checkpoints import open_checkpoints
from recstream.control import SteeringFeed
from recstream.core.events import EPOCH, timestamp_ms
from recstream.errors import CatalogueUnavailable, StartupError
from recstream.log import EventLog, histories_changelog, open_log, topic_specs, watch_topics
from recstream.models import open_store
from recstream.process import bound_socket, retry_while_away, stopped_by_signals, url_of
from recstream.settings import Settings

log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.001
ADDRESS_FILE = "bridge.json"


def utc_now() -> datetime:
    """Return the time: the only clock of a running bridge."""
    return EPOCH + timedelta(microseconds=time.time_ns() // 1000)


class Bridge:
    """All parts of a bridge, started and stopped together.

    Parameters
    ----------
    settings : Settings
        ``port=0`` takes a free one; see `url`.
    event_log : EventLog, optional
        Default: opened from the settings and closed with the bridge.
    ended : threading.Event, optional
        Set when the bridge is to end.

    Raises
    ------
    StartupError
        The port is in use, the data directory can't be written, or the secret is missing.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        event_log: EventLog | None = None,
        now: Callable[[], datetime] = utc_now,
        web: Path | None = None,
        ended: threading.Event | None = None,
    ) -> None:
        self.settings = settings
        self._stack = contextlib.ExitStack()
        self.ended = ended or threading.Event()
        self.failure: BaseException | None = None
        auth = Authenticator.from_settings(settings, now=lambda: timestamp_ms(now()) / 1000)
        try:
            bound = bound_socket(settings.host, settings.port, BACKLOG)
            self._socket = self._stack.enter_context(bound)
            if event_log is None:
                event_log = _opened_log(settings)
                self._stack.callback(event_log.close)
            event_log.create_topics(topic_specs(settings.partitions, settings.app_id))
            self.deps = self._assemble(settings, event_log, auth, now, web or web_folder())
            self._start(self.deps)
            self._server = HttpServer(self._socket, create_app(self.deps), SingleEvents(self.deps))
        except BaseException:
            self._stack.close()
            raise

    def _assemble(
        self,
        settings: Settings,
        event_log: EventLog,
        auth: Authenticator,
        now: Callable[[], datetime],
        web: Path,
    ) -> Deps:
        def now_ms() -> int:
            return timestamp_ms(now())

        checkpoints = open_checkpoints(event_log, settings)
        views = Views.in_data_dir(
            settings.path(),
            event_log,
            changelog=histories_changelog(settings.app_id),
            checkpoints=checkpoints,
        )
        self._stack.callback(views.close)
        store = open_store(settings.models_url)
        time_travel = PastQueries(event_log, store, views.folder / "time-travel", checkpoints)
        self._stack.callback(time_travel.close)
        connections = ConnectionLoop(
            auth,
            epoch=event_log.epoch,
            max_connections=settings.max_connections,
            now=lambda: now_ms() / 1000,
        )
        steering = SteeringFeed(event_log, now_s=time.monotonic)
        active = ActiveGeneration(views, store, half_life_ms=settings.half_life_ms)
        try:
            catalogue = open_catalogue(settings.catalogue_url, owner=views.folder.name)
        except CatalogueUnavailable as error:
            raise StartupError(str(error)) from error
        items = Items(event_log, catalogue, now=now)
        counts = CountsFeed(event_log, now_ms=now_ms)
        sources = ListInputs(
            views=views, active=active, steering=steering, items=items, counts=counts, now=now
        )
        recommender = Recommender(
            sources, list_size=settings.list_size, partitions=settings.partitions
        )
        shelves = ShelfMaker(sources, recommender)
        status = Status(event_log, now_ms=now_ms, connections=lambda: len(connections.connections))
        status.take_models(reversed(views.models.generations()))
        feed = LogFeed(event_log, connections.post)
        readiness = Readiness(
            event_log,
            status,
            group=settings.app_id,
            folder=views.folder,
            checkpoints=checkpoints,
            now_s=time.monotonic,
        )
        traffic = TrafficSwitch(event_log, seed=settings.seed, now=now, new_id=_new_id)
        history = PipelineHistory(event_log, readiness.pipeline, now_ms=now_ms)
        topics = [each.name for each in topic_specs(settings.partitions, settings.app_id)]
        hub = Hub(event_log, CurrentState(recommender, readiness), feed, topics)
        follower = Follower(
            event_log, views, active, recommender, status, hub, connections, observe=history.observe
        )
        for part in (
            traffic,
            history,
            counts,
            items,
            active,
            follower,
            feed,
            connections,
            readiness,
        ):
            self._stack.callback(part.stop)  # the last one is stopped first
        return Deps(
            readiness=readiness,
            sources=sources,
            settings=settings,
            log=event_log,
            auth=auth,
            views=views,
            recommender=recommender,
            shelves=shelves,
            steering=steering,
            status=status,
            history=history,
            traffic=traffic,
            slices=SliceFolder(settings.path("slices")),
            models=store,
            items=items,
            time_travel=time_travel,
            connections=connections,
            hub=hub,
            follower=follower,
            limiter=RateLimiter(settings.rate_limit, now_s=time.monotonic),
            now=now,
            new_id=_new_id,
            web=web,
        )

    def _start(self, deps: Deps) -> None:
        """Start the threads of all parts, each after the parts that it calls."""
        readiness, follower, connections = deps.readiness, deps.follower, deps.connections
        active, items = deps.sources.active, deps.items
        items.on_unlisted = follower.resend_without
        connections.start(deps.hub, self.fail)
        # Counting takes as long as activating the generation: lists come first.
        active.then = (deps.sources.counts.start,)
        active.on_activated = follower.resend_made
        active.start()
        items.start()
        follower.start()
        readiness.is_compiling = lambda: active.is_compiling
        readiness.preparing = lambda: active.preparing
        readiness.note = lambda: active.note
        readiness.parts = {
            "bridge: the views catch up with the log": follower.caught_up.is_set,
            "bridge: the log is not followed": lambda: follower.is_healthy,
            "bridge: new generations are not activated": lambda: active.is_healthy,
            "bridge: the catalogue is not followed": lambda: items.is_healthy,
            "bridge: it restarts": lambda: not connections.is_draining,
        }
        readiness.on_change = lambda: connections.post(deps.hub.status_changed)
        readiness.sample()
        readiness.start()
        deps.history.start()
        stopping = threading.Event()
        self._stack.callback(stopping.set)
        watch_topics(deps.log, stopping, self.fail)

    @property
    def url(self) -> str:
        """Address of the page."""
        host, port = self._socket.getsockname()[:2]
        return url_of(host, port)

    def fail(self, error: BaseException) -> None:
        """End the bridge because of an error; called in any thread."""
        self.failure = self.failure or error
        self.ended.set()

    def stop(self) -> None:
        """Stop the HTTP server, close every connection with 1012, close everything else."""
        self._server.stop()
        self._stack.close()

    def __enter__(self) -> Self:
        """Serve in a thread."""
        self._server.start(self.fail)
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self.stop()


def run(settings: Settings) -> None:
    """Run a bridge until SIGTERM or SIGINT; writes its address into ``bridge.json``.

    Raises
    ------
    StartupError
    Exception
        A thread of the bridge failed.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    ended = threading.Event()

    with stopped_by_signals(ended):
        bridge = retry_while_away("bridge", lambda: Bridge(settings, ended=ended), ended)
        if bridge is None:
            return
        address = settings.path(ADDRESS_FILE)
        _write_address(address, bridge.url)
        with bridge:
            log.info("bridge serves url=%s", bridge.url)
            ended.wait()
            log.info("bridge drains connections=%d", len(bridge.deps.connections.connections))
    with contextlib.suppress(OSError):
        address.unlink()
    if bridge.failure is not None:
        raise bridge.failure


def _write_address(path: Path, url: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(msgspec.json.encode({"url": url, "pid": os.getpid()}))
    temporary.replace(path)


def web_folder() -> Path:
    """Return the page's folder: inside the package in a wheel, next to it in a checkout."""
    package = Path(recstream.__file__).parent
    packed = package / "_web"
    return packed if packed.is_dir() else package.parent / "web"


def _new_id() -> str:
    return str(ULID())


def _opened_log(settings: Settings) -> EventLog:
    try:
        settings.path().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"data directory {settings.path()} can't be made: {error}; choose --data-dir"
        raise StartupError(message) from error
    return open_log(settings.broker_url, settings)
