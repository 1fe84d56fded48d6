"""Run the whole system on one machine: worker, trainer and bridge as processes, and a demo shop.

`run` puts the demo shop into an empty log and starts the roles. It reports progress until a trained
model's first list. Then it supervises the roles.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Self

import msgspec

from recstream.core.records import (
    GenerationAnnounced,
    Recommendations,
    TrainerStatus,
    TrainingProgress,
    decode_model,
    decode_pipeline,
    decode_recommendations,
)
from recstream.errors import LogError
from recstream.log import (
    MODELS,
    PIPELINE,
    RECOMMENDATIONS,
    EventLog,
    Record,
    Tail,
    TopicPartition,
    decode_record,
    open_log,
    topic_specs,
)
from recstream.models import announcements, start_of_generations
from recstream.process import COMPILING, LISTS_WAIT, bound_socket, url_of
from recstream.runtime.demo_shop import is_empty, seed_shop
from recstream.runtime.doctor import prepare_data_dir
from recstream.runtime.start_traffic import BridgeTraffic, open_bridge
from recstream.runtime.supervisor import DirectoryLock, Role, Supervisor, role_command
from recstream.settings import Settings, child_environ, unknown_variables
from recstream.simulate import is_seeded

CHECK_S = 0.1


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of the start, the run or the stop; a line of text, or an object in JSON."""

    event: str
    text: str
    seconds: float
    url: str = ""
    generation: int = 0
    done: bool = True
    """False while the step runs."""


OnProgress = Callable[[Step], None]


class UpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `run` besides the settings."""

    shop: str = "synthetic"
    traffic: float = 0.0
    workers: int = 1
    verbose: bool = False
    flags: tuple[str, ...] = ()
    """Command-line flags of every role: the settings of this process."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM was received. Code that survives every `Exception` does not catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(
    settings: Settings, options: UpOptions, on_progress: OnProgress, on_ready: Callable[[str], None]
) -> int:
    """Run the system until it is interrupted; return the signal's number.

    Parameters
    ----------
    on_ready : callable
        Called with the page's address once it can be opened.

    Raises
    ------
    StartupError
        The data directory or the port is in use or unusable, or a role can't start.
    LogCorrupt
        The log's file is empty, damaged or no log.
    """
    started_s = time.perf_counter()

    def say(
        event: str, text: str, *, done: bool = True, url: str = "", generation: int = 0
    ) -> None:
        seconds = round(time.perf_counter() - started_s, 3)
        on_progress(
            Step(event=event, text=text, seconds=seconds, url=url, generation=generation, done=done)
        )

    for sentence in unknown_variables():
        say("settings", f"variable ignored: {sentence}")
    prepare_data_dir(settings)
    lock = DirectoryLock(settings.path())
    try:
        bound_socket(settings.host, settings.port).close()
        with _Signals() as signals:
            return _System(settings, options, say, on_ready, lock.fd, signals.check).run()
    finally:
        lock.close()


class _Signals:
    """In this context the first SIGINT or SIGTERM raises `Interrupted`; then SIGINT kills, SIGTERM is ignored."""

    def __enter__(self) -> Self:
        self._received = 0
        self._before = {
            number: signal.signal(number, self._first) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def _first(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._received = number
        raise Interrupted(number)

    def check(self) -> None:
        """Raise `Interrupted` again, if Python ignored it where it was raised, like in a finalizer."""
        if self._received:
            raise Interrupted(self._received)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class _System:
    """The running system: log, supervised roles, demo traffic."""

    def __init__(
        self,
        settings: Settings,
        options: UpOptions,
        say: Callable[..., None],
        on_ready: Callable[[str], None],
        lock_fd: int,
        check_signals: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.options = options
        self.say = say
        self.on_ready = on_ready
        self.lock_fd = lock_fd
        self.check_signals = check_signals
        self.supervisor = Supervisor(lambda line: say("supervisor", line))
        self.url_file = settings.path("bridge.json")

    def run(self) -> int:
        event_log: EventLog | None = None
        try:
            event_log = open_log(self.settings.broker_url, self.settings)
            event_log.create_topics(topic_specs(self.settings.partitions))
            progress = _ProgressFeed(event_log, self.say)
            self._start_roles()
            self._seed(event_log)
            self._wait_until_live(progress)
            rate = self.options.traffic if is_seeded(event_log) else 0.0
            traffic = BridgeTraffic(self.settings, rate, lambda: _now().timestamp())
            while True:
                self.check_signals()
                self.supervisor.check()
                if (bridge := self.supervisor.roles[0].process) is not None:
                    said = traffic.ensure_on(self._url(), bridge.pid)
                    if said:
                        self.say("traffic", said)
                progress.follow(1.0)
        except Interrupted as request:
            self.say("stopping", "stopping …")
            return request.number
        finally:
            # The bridge stops first, so that no new event comes in; then the worker drains the log.
            self.supervisor.stop()
            if event_log is not None:
                event_log.close()
            self.say("stopped", "all stopped")
        return 0

    def _start_roles(self) -> None:
        self.url_file.unlink(missing_ok=True)
        names = ["bridge", *(["worker"] * self.options.workers), "trainer"]
        environ = child_environ(self.settings)
        for number, role in enumerate(names):
            name = role if names.count(role) == 1 else f"{role}-{number}"
            path = None if self.options.verbose else self._log_path(name)
            # The operator of `up` asked for the traffic, so the bridge needs no other setting.
            more = ["--set=allow_traffic=true"] if role == "bridge" and self.options.traffic else []
            command = role_command(role, [*self.options.flags, *more])
            self.supervisor.add(Role(name, command, path, self.lock_fd, environ))
        where = "" if self.options.verbose else f"; their log lines are in {self._log_path('')}"
        self.say("roles", f"{', '.join(names)} started{where}")

    def _log_path(self, name: str) -> Path:
        return self.settings.path("logs", f"{name}.log" if name else "")

    def _seed(self, event_log: EventLog) -> None:
        if self.options.shop != "synthetic" or not is_empty(event_log):
            return
        self.say("shop", "making the demo shop …", done=False)
        items, events = seed_shop(event_log, seed=self.settings.seed, now=_now())
        self.say("shop", f"a demo shop with {items:,} products and {events:,} past events")

    def _wait_until_live(self, progress: _ProgressFeed) -> None:
        url = ""
        is_served = False
        is_ready = False
        while not (is_ready and progress.is_live):
            self.check_signals()
            self.supervisor.check()
            progress.follow(CHECK_S)
            url = url or self._url()
            if not is_served and url and _answers(f"{url}/health/live"):
                is_served = True
                self.say("serving", f"the page is at {url}", url=url)
                self.on_ready(url)
            is_ready = is_served and _answers(f"{url}/health/ready?role=bridge")
        self.say("live", f"lists are live: {url}  (Ctrl-C stops everything)", url=url)

    def _url(self) -> str:
        if self.settings.port:
            return url_of(self.settings.host, self.settings.port)
        try:
            return str(msgspec.json.decode(self.url_file.read_bytes())["url"])
        except (FileNotFoundError, msgspec.DecodeError):
            return ""


class _ProgressFeed:
    """Follows the records of trainer and worker, and reports generations and the first list."""

    def __init__(self, event_log: EventLog, say: Callable[..., None]) -> None:
        self.is_live = False
        self._log = event_log
        self._say = say
        self._reported: set[int] = set()
        self._is_compiling = False
        self._tail: Tail | None = self._open(start_of_generations(event_log, 1))

    def _open(self, first: int) -> Tail:
        """Return a reader of models from offset ``first`` on, and of other topics' new records."""
        event_log = self._log
        self.is_live = self.is_live or any(
            announced.generation > 0 for _, announced in announcements(event_log)
        )
        starts: dict[TopicPartition, int] = {
            TopicPartition(MODELS, 0): first,
            TopicPartition(PIPELINE, 0): event_log.high_watermark(PIPELINE, 0),
        }
        for partition in range(event_log.partitions(RECOMMENDATIONS)):
            newest = event_log.high_watermark(RECOMMENDATIONS, partition)
            starts[TopicPartition(RECOMMENDATIONS, partition)] = newest
        return event_log.tail(starts)

    def follow(self, timeout_s: float) -> None:
        """Report the next records; wait up to ``timeout_s`` for the first.

        If the log can't be read, it is opened again at its end: the roles must not stop with it.
        """
        try:
            if self._tail is None:
                self._tail = self._open(self._log.high_watermark(MODELS, 0))
            records = self._tail.poll(timeout_s)
        except LogError as error:
            if self._tail is not None:
                self._tail.close()
                self._tail = None
                self._say("log", f"progress can't be read from the log, trying again: {error}")
            time.sleep(timeout_s)
            return
        for record in records:
            if record.value is not None:
                self._report(record)
        if self.is_live:
            self._leave_lists()

    def _leave_lists(self) -> None:
        """Stop to follow lists: each would wake this process, and be read from the log."""
        if (tail := self._tail) is None:
            return
        positions = tail.positions()
        others = {tp: at for tp, at in positions.items() if tp.topic != RECOMMENDATIONS}
        if others != positions:
            self._tail = self._log.tail(others)
            tail.close()

    def _report(self, record: Record) -> None:
        if record.topic == MODELS:
            announced = decode_record(record, decode_model)
            if isinstance(announced, GenerationAnnounced):
                self._report_generation(announced)
        elif record.topic == PIPELINE:
            status = decode_record(record, decode_pipeline)
            if isinstance(status, TrainerStatus) and status.is_compiling != self._is_compiling:
                self._is_compiling = status.is_compiling
                text = LISTS_WAIT if self.is_live else COMPILING
                self._say("kernels", text if status.is_compiling else "kernels are compiled")
            if isinstance(status, TrainingProgress) and status.state == "training":
                text = f"training generation {status.generation}"
                if status.iterations:
                    text += f": iteration {status.iteration} of {status.iterations}"
                self._say("training", text, done=False, generation=status.generation)
        elif not self.is_live:
            made = decode_record(record, decode_recommendations)
            if isinstance(made, Recommendations) and made.generation > 0:
                self.is_live = True
                self._say(
                    "first-list",
                    f"the first list of generation {made.generation} is published",
                    generation=made.generation,
                )

    def _report_generation(self, announced: GenerationAnnounced) -> None:
        if announced.generation > 0 and announced.generation not in self._reported:
            self._reported.add(announced.generation)
            self._say(
                "generation",
                f"generation {announced.generation}: {announced.n_users:,} users × "
                f"{announced.n_items:,} items in {announced.train_seconds:.2f} s",
                generation=announced.generation,
            )


def _answers(url: str) -> bool:
    try:
        with open_bridge(url, 1.0) as response:
            return bool(response.status == 200)  # noqa: PLR2004 - HTTP's OK
    except OSError:
        return False


def _now() -> datetime:
    return datetime.now(tz=UTC)  # noqa: TID251 - an adapter may read the clock
