"""Steps 4 to 6 of the flow: the trainer's process: follows histories, trains, announces, sends deltas.

It reads the histories' changelog, never the tables, and writes only artifacts, announcements and
progress: ingest does not know that it exists. Training runs in a thread of its own while the
histories are followed on and deltas of the serving generation keep coming.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, perf_counter
from types import FrameType
from typing import NamedTuple

import msgspec

from recstream.core.als import Iteration
from recstream.core.gate import judge
from recstream.core.model import Generation
from recstream.core.records import (
    ControlRecord,
    Forgotten,
    GenerationAnnounced,
    Judgement,
    ModelRecord,
    RollbackRequested,
    TrainingRequested,
)
from recstream.errors import ArtifactCorrupt, LogError, LogFenced, LogUnavailable, NotFound
from recstream.log import open_log
from recstream.log.embedded import EmbeddedLog, maintain
from recstream.log.port import EventLog, Record, TopicPartition
from recstream.log.topics import (
    CONTROL,
    MODELS,
    TopicSpec,
    histories_changelog,
    topic_specs,
)
from recstream.model_feed import ModelFeed, announcement
from recstream.model_store import ModelStore, fetch, open_store
from recstream.settings import Settings
from recstream.stream.announce import Announcer
from recstream.stream.clock import system_clock_ms
from recstream.stream.deltas import Deltas
from recstream.stream.follower import Follower, Group
from recstream.stream.forgetting import forgetting
from recstream.stream.lease import Lease, lease_for
from recstream.stream.schedule import Schedule
from recstream.stream.training import (
    Snapshot,
    Trained,
    copy_of,
    hyperparameters,
    resume,
    train,
)

log = logging.getLogger(__name__)

READ_RECORDS = 5_000
LEASE_EVERY_S = 1.0
MAINTAIN_EVERY_S = 60.0

_encode = msgspec.json.Encoder().encode
_decode_control = msgspec.json.Decoder(ControlRecord).decode


class Judged(NamedTuple):
    """A candidate, and what the gate says of it."""

    trained: Trained
    judgement: Judgement


def run(settings: Settings) -> None:
    """Run a trainer until SIGTERM or SIGINT.

    Raises
    ------
    RecstreamError
        The trainer can't start.
    """
    stopping = threading.Event()
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


class Trainer:
    """What a trainer knows and does; `step` is one turn of its loop.

    Parameters
    ----------
    settings : Settings
    event_log : EventLog
    store : ModelStore
    lease : Lease
    clock_ms : callable
        For the records' times: nothing else depends on it.
    """

    def __init__(
        self,
        settings: Settings,
        event_log: EventLog,
        store: ModelStore,
        lease: Lease,
        *,
        clock_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._chosen = hyperparameters(settings)
        self._log = event_log
        self._store = store
        self._lease = lease
        self._clock_ms = clock_ms
        self._changelog = histories_changelog(settings.app_id)
        self._sources = [
            *(TopicPartition(self._changelog, each) for each in range(settings.partitions)),
            TopicPartition(CONTROL, 0),
        ]
        self._announcer = Announcer(
            event_log, store, lease, clock_ms=clock_ms, keep=settings.keep_generations
        )
        finished = forgetting(event_log).finished
        self._tail = event_log.tail({tp: event_log.earliest(*tp) for tp in self._sources})
        self._target = {tp: event_log.high_watermark(*tp) for tp in self._sources}
        self._awaited: dict[TopicPartition, int] = {}
        self._forgotten: list[Forgotten] = []
        self._follower = Follower(finished)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recstream-training")
        self._training: Future[Judged] | None = None
        self._since_snapshot: list[Group] = []
        self._deltas: Deltas | None = None
        self._serving: Generation | None = None
        self._is_active = False
        self._is_caught_up = False
        self._request: TrainingRequested | RollbackRequested | None = None
        self._is_held = False
        self._is_forced = False
        self._schedule = Schedule(settings)
        self._started_at = 0.0
        self._next_delta = 0.0
        self._next_lease = 0.0

    @property
    def generation(self) -> Generation | None:
        """The newest generation announced, as its artifact has it."""
        return self._serving

    def serve(self, stopping: threading.Event) -> None:
        """Work until told to stop. While the log is unavailable it is tried again."""
        while not stopping.is_set():
            try:
                self.step()
            except LogFenced as error:
                log.warning("trainer stands by: %s", error)
                self._stand_by()
            except LogUnavailable as error:
                log.warning("log unavailable, trying again: %s", error)
                stopping.wait(1.0)

    def close(self) -> None:
        """Stop; a training under way is finished and thrown away."""
        self._tail.close()
        self._thread.shutdown(wait=True, cancel_futures=True)
        with contextlib.suppress(LogError):
            self._lease.release()

    def step(self) -> None:
        """Take in what came, then do what is due: train, announce, send a delta."""
        self._take_in(self._tail.poll(self._patience(), READ_RECORDS))
        if not self._holds_lease():
            return
        if self._training is not None:
            if self._training.done():
                self._finish_training(self._training)
        elif isinstance(self._request, RollbackRequested):
            self._roll_back(self._request)
        elif self._is_due():
            self._start_training()
        if monotonic() >= self._next_delta:
            self._next_delta = monotonic() + self._settings.delta_every_s
            self._send_delta()

    # Following

    def _patience(self) -> float:
        """Return how long a turn may wait for records."""
        if self._training is not None or not self._is_caught_up:
            return 0.05
        return min(LEASE_EVERY_S, self._settings.delta_every_s)

    def _take_in(self, records: list[Record]) -> None:
        rows = []
        for record in records:
            if record.topic == self._changelog:
                rows.append(record)
            else:
                self._read_control(record)
        groups = self._follower.apply(rows)
        if self._follower.is_stale:
            self._start_over()
            return
        for group in groups:
            if group.users:
                self._schedule.moved()
                if self._deltas is not None:
                    self._deltas.touch(group.users, group.touches)
                if self._training is not None:
                    self._since_snapshot.append(group)
        if not self._is_caught_up and self._has_reached(self._target):
            self._is_caught_up = True
            log.info(
                "histories followed users=%d events=%d",
                len(self._follower.users),
                self._follower.n_events,
            )

    def _start_over(self) -> None:
        """Read all histories again: a user was forgotten while they were read, nobody knows who."""
        log.warning("histories read again: a user was forgotten meanwhile")
        self._stand_by()
        self._is_caught_up = False
        self._next_lease = 0.0
        self._forgotten = []
        self._follower = Follower(forgetting(self._log).finished)
        for tp in self._sources:
            self._tail.seek(tp, self._log.earliest(*tp))
            self._target[tp] = self._log.high_watermark(*tp)

    def _has_reached(self, target: Mapping[TopicPartition, int]) -> bool:
        positions = self._tail.positions()
        return all(positions.get(tp, 0) >= offset for tp, offset in target.items())

    def _read_control(self, record: Record) -> None:
        if record.value is None:
            return
        try:
            asked = _decode_control(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("control record not read offset=%d error=%s", record.offset, error)
            return
        if isinstance(asked, TrainingRequested | RollbackRequested):
            self._request = asked
            self._is_held = isinstance(asked, RollbackRequested)
        elif isinstance(asked, Forgotten):
            self._forgotten.append(asked)
            tp = TopicPartition(self._changelog, asked.partition)
            self._awaited[tp] = self._log.high_watermark(*tp)

    # Being the one

    def _holds_lease(self) -> bool:
        if monotonic() >= self._next_lease:
            self._next_lease = monotonic() + LEASE_EVERY_S
            is_active = self._lease.hold()
            if self._is_active and not is_active:
                self._stand_by()
            self._is_active = is_active
        if self._is_active and self._serving is None and self._is_caught_up:
            self._resume()
        return self._is_active and self._serving is not None

    def _stand_by(self) -> None:
        """Leave the models to another trainer; a training under way is thrown away."""
        self._is_active = False
        self._deltas = None
        self._serving = None
        self._training = None
        self._since_snapshot = []

    def _resume(self) -> None:
        """Go on from what the log says: its newest generation, or generation 0."""
        feed = ModelFeed(self._log, self._store)
        try:
            moved, stored = feed.newest(), feed.newest(with_deltas=False)
        finally:
            feed.close()
        log.info("trainer active generation=%s", None if stored is None else stored.number)
        self._schedule.trained(0)
        snapshot = self._snapshot()
        if moved is None or stored is None:
            self._publish(self._train(snapshot, 0, None, None), 0.0)
            return
        self._serving = stored
        trained, unknown = resume(moved, snapshot)
        self._deltas = Deltas(trained)
        self._deltas.touch(unknown.users, unknown.touches)
        if stored.offsets == snapshot.offsets:
            self._schedule.trained(snapshot.n_events)
        if self._request is not None and self._answered(self._request):
            self._request = None
        n_users = announcement(self._log, stored.number).n_users
        self._forgotten = [
            each
            for each in self._forgotten
            if not _is_without(each, stored.offsets, n_users, snapshot)
        ]

    def _answered(self, request: TrainingRequested | RollbackRequested) -> bool:
        """Return whether a generation came after a request."""
        end = self._log.high_watermark(MODELS, 0)
        at = max(self._log.earliest(MODELS, 0), end - READ_RECORDS)
        for record in self._log.read(MODELS, 0, at, READ_RECORDS):
            with contextlib.suppress(msgspec.DecodeError):
                announced = msgspec.json.decode(record.value or b"", type=ModelRecord)
                if (
                    isinstance(announced, GenerationAnnounced)
                    and announced.created_ts >= request.requested_ts
                ):
                    return True
        return False

    # Training

    def _is_due(self) -> bool:
        """Whether to train now: asked to, or enough is new, it has settled, and nothing was rolled back."""
        if self._serving is None or not self._is_caught_up:
            return False
        if not self._has_reached(self._awaited):
            return False
        if self._request is not None:
            return True
        if self._is_held:
            return False
        return bool(self._forgotten) or self._schedule.is_due(self._follower.n_events)

    def _snapshot(self) -> Snapshot:
        """Return the histories as they are now; later changes leave it alone."""
        offsets = {str(p): offset for p, offset in sorted(self._follower.offsets.items())}
        return Snapshot(dict(self._follower.users), offsets, self._follower.n_events)

    def _start_training(self) -> None:
        parent = self._serving
        if parent is None:
            return
        snapshot = self._snapshot()
        self._since_snapshot = []
        asked = isinstance(self._request, TrainingRequested) and self._request.force
        # Adopted whatever the gate says: the serving one knows what must be forgotten.
        self._is_forced = asked or bool(self._forgotten)
        self._request = None
        self._forgotten = []
        self._schedule.trained(snapshot.n_events)
        self._started_at = monotonic()
        number = parent.number + 1
        self._announcer.tell("training", number, detail=f"{len(snapshot.users)} users")
        self._training = self._thread.submit(self._train_and_judge, snapshot, number, parent)

    def _train_and_judge(self, snapshot: Snapshot, number: int, parent: Generation) -> Judged:
        trained = self._train(snapshot, number, parent, self._announcer.tell)
        half_life_ms = float(trained.generation.hyperparameters["half_life_ms"])
        judgement = judge(trained.generation, parent, trained.held, half_life_ms)
        return Judged(trained, judgement)

    def _train(
        self,
        snapshot: Snapshot,
        number: int,
        parent: Generation | None,
        tell: Callable[..., None] | None,
    ) -> Trained:
        begun = perf_counter()
        chosen = self._chosen
        if parent is None or snapshot.n_events < self._settings.train_min_events:
            chosen = {**chosen, "n_factors": 0}
        total = int(self._chosen["iterations"])

        def progress(iteration: Iteration) -> None:
            if tell is not None:
                tell(
                    "training",
                    number,
                    iteration=iteration.number,
                    iterations=total,
                    seconds=perf_counter() - begun,
                    detail=iteration.note,
                )

        return train(
            snapshot,
            number=number,
            parent=parent,
            chosen=chosen,
            seed=self._settings.seed,
            callback=progress,
        )

    def _finish_training(self, training: Future[Judged]) -> None:
        """Publish what a training gave, unless the gate holds it back.

        While the log is unavailable, the result is kept for the next turn.
        """
        seconds = monotonic() - self._started_at
        try:
            trained, judgement = training.result()
            if not judgement.is_adopted and not self._is_forced:
                self._reject(trained.generation, judgement, seconds)
                return
            self._publish(trained, seconds, judgement=judgement)
        except LogError:
            raise
        except Exception as error:  # the serving generation goes on; the next training may do
            log.exception("training failed")
            self._announcer.tell("failed", 0, seconds=seconds, detail=str(error))
        else:
            if self._deltas is not None:
                for group in self._since_snapshot:
                    self._deltas.touch(group.users, group.touches)
        self._training = None
        self._since_snapshot = []

    def _reject(self, candidate: Generation, judgement: Judgement, seconds: float) -> None:
        """Go on with the serving generation."""
        log.warning("model not adopted generation=%d reason=%s", candidate.number, judgement.reason)
        self._announcer.tell("rejected", candidate.number, seconds=seconds, detail=judgement.reason)
        self._training = None
        self._since_snapshot = []

    def _publish(
        self,
        trained: Trained,
        seconds: float,
        *,
        judgement: Judgement | None = None,
        copies: int | None = None,
    ) -> None:
        self._announcer.generation(trained, seconds, judgement=judgement, copies=copies)
        self._serving = trained.generation
        self._deltas = Deltas(trained)
        held = trained.untold(self._follower.users)
        self._deltas.touch(held.users, held.touches)

    def _roll_back(self, request: RollbackRequested) -> None:
        """Serve an older generation again, as a new one that copies it, until a training is asked for."""
        self._request = None
        serving = self._serving
        if serving is None:
            return
        try:
            old = fetch(self._store, announcement(self._log, request.generation))
        except (NotFound, ArtifactCorrupt) as error:
            log.warning("rollback not done generation=%d error=%s", request.generation, error)
            self._announcer.tell("rejected", request.generation, detail=f"no rollback: {error}")
            return
        copied, unknown = resume(copy_of(old, serving.number + 1), self._snapshot())
        self._publish(copied, 0.0, copies=request.generation)
        if self._deltas is not None:
            self._deltas.touch(unknown.users, unknown.touches)

    def _send_delta(self) -> None:
        if self._deltas is None:
            return
        delta = self._deltas.make(
            self._follower.users, self._follower.offsets, now_ms=self._clock_ms()
        )
        if delta is not None:
            self._announcer.delta(delta)


def _is_without(
    forgotten: Forgotten, offsets: Mapping[str, int], n_users: int, now: Snapshot
) -> bool:
    """Return whether a generation surely never knew a user who was forgotten.

    At the very offset of the forgetting only the number of users tells, and only if nothing came since.
    """
    offset = offsets.get(str(forgotten.partition), 0)
    if offset == forgotten.at_offset:
        return offset == 0 or (offsets == now.offsets and n_users == len(now.users))
    return offset > forgotten.at_offset or offset == 0


@contextlib.contextmanager
def _signals(stopping: threading.Event) -> Iterator[None]:
    """Set an event on SIGTERM and SIGINT; nothing where this is not the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    before = {each: signal.signal(each, handle) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
