"""The trainer's loop: follow the log, train, evaluate, announce, publish deltas.

It reads the histories' changelog and the catalogue, never the worker's tables. It writes artifacts,
announcements, progress and dead letters only: ingest does not depend on it. Trainings run in the
background. Meanwhile the loop continues to read, and publishes deltas of the serving generation.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from time import monotonic, sleep

from recstream.control import submit
from recstream.core.generation import Generation
from recstream.core.records import GateResult, RollbackRequested, TrainingProgress
from recstream.errors import (
    ArtifactCorrupt,
    LogError,
    LogFenced,
    LogUnavailable,
    ModelStoreUnavailable,
    NotFound,
)
from recstream.log import EventLog
from recstream.models import ModelFeed, ModelStore, fetch, find_announcement
from recstream.settings import Settings
from recstream.trainer.catch_up import CatchUp
from recstream.trainer.deltas import (
    MAX_PRODUCTS,
    DeltaPacer,
    Deltas,
    Found,
    Publisher,
    Restored,
    StoredArtifact,
    copy_generation,
    find_newest,
    start_restoring,
)
from recstream.trainer.executor import STORE_IS_AWAY, Candidate, TrainingExecutor
from recstream.trainer.histories.changelog import UserChanges
from recstream.trainer.inputs import Changes, Inputs
from recstream.trainer.leadership import LEASE_EVERY_S, Leadership
from recstream.trainer.lease import Lease
from recstream.trainer.schedule import Schedule
from recstream.trainer.self_tuning import SelfTuning
from recstream.trainer.training import Trained

log = logging.getLogger(__name__)

RETRY_S = 10.0
"""Wait after a training that failed."""
BUSY_POLL_S = 0.05
READ_SPACING = 0.2
"""Least time from new records to the next read, as a fraction of the longest wait for records: a
read for each event would cost as much as the event's list."""


class Trainer:
    """A trainer's state; `step` is one turn of its loop.

    Parameters
    ----------
    clock_ms : callable
        Returns the time for records, in milliseconds; nothing else depends on it.
    name : str
        Name of this trainer in its heartbeats.
    is_compiling : callable
        Returns whether kernels are being compiled; trainings after the first wait for them.
    """

    def __init__(
        self,
        settings: Settings,
        event_log: EventLog,
        store: ModelStore,
        lease: Lease,
        *,
        clock_ms: Callable[[], int],
        name: str = "trainer",
        is_compiling: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._is_compiling = is_compiling
        self._log = event_log
        self._store = store
        self._clock_ms = clock_ms
        self._publisher = Publisher(
            event_log, store, lease, clock_ms=clock_ms, keep=settings.keep_generations
        )
        self._executor = TrainingExecutor(settings, self._publisher)
        self._pacer = DeltaPacer(self._publisher, settings.delta_every_s)
        self._longest_wait_s = min(LEASE_EVERY_S, settings.delta_every_s)
        self._inputs = Inputs(settings, event_log)
        self._leadership = Leadership(lease, self._publisher, self._inputs, name, is_compiling)
        self._changes_since_snapshot: list[UserChanges] = []
        self._deltas: Deltas | None = None
        self._catch_up: CatchUp | None = None
        self._serving: Generation | None = None
        self._is_copy = False  # a rollback announced the serving generation
        self._restoring: Future[tuple[Found, Restored | None]] | None = None
        self._abandoned: Future[tuple[Found, Restored | None]] | None = None
        self._newest_number = -1
        self._has_lost_newest = False
        self._schedule = Schedule(settings)
        self._tuning = SelfTuning(settings)
        self._next_training = self._next_read = 0.0

    @property
    def generation(self) -> Generation | None:
        """The newest generation announced, without deltas."""
        return self._serving

    def serve(self, stopping: threading.Event) -> None:
        """Run the loop until ``stopping`` is set. Retry while log or store is unavailable."""
        while not stopping.is_set():
            waits_for = ""
            try:
                self.step()
            except LogFenced as error:
                log.warning("trainer stands by: %s", error)
                self._stand_by()
            except (LogUnavailable, ModelStoreUnavailable, OSError) as error:
                log.warning("log or model store unavailable, trying again: %s", error)
                is_log = isinstance(error, LogUnavailable)
                waits_for = "the log is away" if is_log else STORE_IS_AWAY
                stopping.wait(1.0)
            self._leadership.beat(waits_for or self._executor.waits_for)

    def close(self) -> None:
        """Stop, and cancel a training in progress."""
        self._inputs.close()
        self._tuning.close()
        self._executor.close()
        self._leadership.release()

    def step(self) -> None:
        """Apply new records, then do what is due: train, announce, publish a delta.

        No turn takes long: what does not fit a delta waits for the next one.
        """
        if self._abandoned is not None and not wait([self._abandoned], LEASE_EVERY_S).done:
            return  # its thread reads the inputs
        if self._restoring is None:  # else the inputs must stay as they are
            sleep(max(0.0, self._next_read - monotonic()))
            self._apply(self._inputs.poll(self._poll_timeout()))
        if not self._is_leader():
            return
        if self._restoring is None or self._finish_restoring():
            self._act()

    def _act(self) -> None:
        """Run the due steps while this trainer is active."""
        if self._serving is None and not self._executor.is_busy:
            self._take_over()
        if self._restoring is not None or (self._serving is None and not self._executor.is_busy):
            return
        self._inputs.publish_dead_letters()
        if self._serving is not None:
            self._publisher.restore_artifact(self._serving)
        command = self._inputs.commands.newest
        if self._executor.is_busy:
            if self._executor.is_done:
                self._finish_training()
        elif isinstance(command, RollbackRequested):
            self._roll_back(command)
        elif self._is_due():
            self._start_training()
        elif not self._is_compiling():
            self._tune()
        if self._deltas is not None:
            deltas, inputs = self._deltas, self._inputs
            self._executor.pause_while_behind(deltas.n_pending_products > MAX_PRODUCTS)
            self._pacer.send(deltas, inputs.histories, inputs.catalogue, now_ms=self._clock_ms())

    def _poll_timeout(self) -> float:
        """Return how many seconds a turn may wait for records."""
        is_idle = self._inputs.is_caught_up and not self._executor.is_busy
        return self._pacer.due_in_s(self._deltas, self._longest_wait_s if is_idle else BUSY_POLL_S)

    def _apply(self, changes: Changes | None) -> None:
        if changes is None:
            self._stand_by()
            self._leadership.next_lease = 0.0
            return
        if changes.users or changes.products:
            self._schedule.note_activity()
            if self._inputs.is_caught_up:
                self._next_read = monotonic() + READ_SPACING * self._longest_wait_s
        for group in changes.users:
            if self._deltas is not None:
                self._deltas.touch(group.users, group.touches)
            if self._executor.is_busy:
                self._changes_since_snapshot.append(group)
        if changes.products:
            for each in (self._deltas, self._catch_up):
                if each is not None:
                    each.change(changes.products, self._inputs.catalogue.items)

    def _is_leader(self) -> bool:
        was_active = self._leadership.is_active
        if not self._leadership.hold() and was_active:
            self._stand_by()
        return self._leadership.is_active

    def _stand_by(self) -> None:
        """Leave the models to another trainer; cancel a training in progress."""
        self._leadership.lose()
        self._abandoned = self._restoring or self._abandoned
        self._deltas = self._serving = self._restoring = None
        self._pacer.clear()
        self._discard_training()

    def _discard_training(self, *, is_requested: bool = False, is_forgotten: bool = False) -> None:
        """Discard a training or its result; see `Commands.mark_ended`."""
        self._inputs.commands.mark_ended(is_requested=is_requested, is_forgotten=is_forgotten)
        self._executor.use(self._tuning.settle(is_accepted=False))
        self._executor.discard()
        self._catch_up, self._changes_since_snapshot = None, []

    def _take_over(self) -> None:
        """Continue from the newest announced generation, or train generation 0."""
        if not self._inputs.is_caught_up or monotonic() < self._next_training:
            return
        feed = ModelFeed(self._log, self._store, is_serving=False)
        # In a thread: many deltas take longer than the lease holds.
        self._restoring = start_restoring(lambda: find_newest(feed), self._inputs)
        self._finish_restoring()

    def _finish_restoring(self) -> bool:
        """Wait a moment for the state; return whether it was taken over."""
        if self._restoring is None:
            return True
        if not wait([self._restoring], LEASE_EVERY_S).done:
            return False
        future, self._restoring = self._restoring, None
        try:
            found, restored = future.result()
        except (NotFound, ArtifactCorrupt) as error:
            self._refuse_rollback(error)
            return True
        if found.copies is None:
            self._newest_number, self._has_lost_newest = found.newest, found.is_newest_lost
        if restored is None:
            snapshot = self._inputs.snapshot(0)
            self._schedule.note_training(0, len(snapshot.catalogue))
            self._executor.start_first(snapshot, self._newest_number + 1)
        elif restored.stored is None:
            self._publish(restored.trained, restored.deltas, 0.0, copies=restored.copies)
            self._inputs.commands.newest, self._inputs.commands.is_held = None, True
        else:
            self._finish_take_over(restored, restored.stored)
        return True

    def _finish_take_over(self, restored: Restored, stored: Generation) -> None:
        inputs = self._inputs
        self._serving, self._deltas = stored, restored.deltas
        self._executor.use(self._tuning.restore(self._log, stored))
        inputs.drop_dead_letters(restored.trained.generation.catalogue_offset)
        self._schedule.note_training(0, len(stored.details))
        offsets = {str(p): offset for p, offset in sorted(inputs.histories.offsets.items())}
        if stored.offsets == offsets:
            self._schedule.note_training(inputs.histories.n_events, len(stored.details))
        if (announced := restored.announced) is not None:
            inputs.commands.drop_answered(announced, inputs.histories)
            self._is_copy = announced.copies is not None
        inputs.commands.is_held &= self._is_copy

    def _is_due(self) -> bool:
        """Whether to train now: on command, after a user was forgotten, or by the schedule."""
        inputs, commands = self._inputs, self._inputs.commands
        may_train = inputs.has_commands_applied and monotonic() >= self._next_training
        if not may_train or self._is_compiling():
            return False
        if commands.newest is not None or self._has_lost_newest:
            return True
        if commands.is_held:
            return False
        return bool(commands.forgotten) or self._schedule.is_due(
            inputs.histories.n_events, len(inputs.catalogue.items)
        )

    def _tune(self) -> None:
        """Search hyper-parameters while nothing is to be done; train a candidate by the choice."""
        serving = self._serving
        if serving is None or serving.model is None or not self._inputs.is_caught_up:
            return
        found = self._tuning.step(
            self._inputs.histories.n_events,
            self._schedule.quiet_s,
            is_busy=self._inputs.commands.is_held,
            snapshot=lambda: self._inputs.snapshot(serving.catalogue_offset),
        )
        if found is not None:
            submit(self._log, found)
            self._executor.use(self._tuning.try_out(found))
            self._start_training()

    def _start_training(self) -> None:
        if self._serving is None:
            return
        snapshot = self._inputs.snapshot(self._serving.catalogue_offset)
        self._tuning.pause()
        self._changes_since_snapshot = []
        is_forced = self._inputs.commands.is_forced or self._has_lost_newest
        self._inputs.commands.mark_started()
        is_enough = snapshot.n_events >= self._settings.train_min_events
        self._schedule.note_training(snapshot.n_events if is_enough else 0, len(snapshot.catalogue))
        self._executor.start(snapshot, self._serving, self._newest_number + 1, is_forced=is_forced)

    def _finish_training(self) -> None:
        """Announce the candidate, unless the gate rejects it.

        Before that it catches up with the serving generation's deltas, which takes several turns.
        While the log is unavailable, the candidate is kept for the next turn.
        """
        try:
            candidate = self._executor.result()
            if candidate.is_accepted:
                if self._catch_up is None:
                    self._catch_up = CatchUp(candidate, self._deltas, self._inputs.catalogue)
                if not self._catch_up.advance(self._inputs.catalogue, now_ms=self._clock_ms()):
                    return
                self._activate(candidate, self._catch_up)
                self._executor.use(self._tuning.settle(is_accepted=True))
            elif candidate.gate_result is not None:
                number = candidate.trained.generation.number
                self._publisher.publish_rejection(number, candidate.gate_result, candidate.seconds)
        except LogError:
            raise
        except Exception as error:  # the serving generation stays; the next training may succeed
            log.exception("training failed")
            self._next_training = monotonic() + RETRY_S
            self._publisher.publish_status(TrainingProgress(state="failed", detail=str(error)))
            self._discard_training(is_requested=True)
        else:
            self._discard_training(is_requested=True, is_forgotten=True)

    def _activate(self, candidate: Candidate, catch_up: CatchUp) -> None:
        self._publish(
            candidate.trained,
            candidate.deltas,
            candidate.seconds,
            artifact=candidate.artifact,
            gate_result=candidate.gate_result,
        )
        self._pacer.send_first(catch_up.deltas)
        held_out = candidate.held_out.of(self._inputs.histories)
        for group in (held_out, *self._changes_since_snapshot):
            candidate.deltas.touch(group.users, group.touches)

    def _publish(
        self,
        trained: Trained,
        deltas: Deltas,
        seconds: float,
        *,
        artifact: StoredArtifact | None = None,
        gate_result: GateResult | None = None,
        copies: int | None = None,
    ) -> None:
        """Announce a generation, which serves from now on; see `Publisher.publish_generation`."""
        commands = self._inputs.commands
        self._publisher.publish_generation(
            trained,
            artifact or self._publisher.store_artifact(trained.generation),
            seconds,
            control_offset=commands.started_offset if copies is None else commands.next_offset,
            gate_result=gate_result,
            copies=copies,
        )
        self._serving, self._deltas = trained.generation, deltas
        self._is_copy = copies is not None
        self._has_lost_newest = False
        self._newest_number = trained.generation.number

    def _roll_back(self, command: RollbackRequested) -> None:
        """Announce a copy of an older generation; it serves until a training is requested."""
        number = self._newest_number + 1

        def find() -> Found:
            old = fetch(self._store, find_announcement(self._log, command.generation))
            return Found(copy_generation(old, number), None, command.generation)

        # In a thread: reading an old artifact takes longer than the lease holds.
        self._restoring = start_restoring(find, self._inputs)

    def _refuse_rollback(self, error: Exception) -> None:
        """Report that the old generation can't be read."""
        commands = self._inputs.commands
        if self._serving is None or not isinstance(commands.newest, RollbackRequested):
            raise error
        number, commands.newest = commands.newest.generation, None
        commands.is_held = self._is_copy
        log.warning("rollback not done generation=%d error=%s", number, error)
        status = TrainingProgress(
            state="rejected", generation=number, detail=f"no rollback: {error}"
        )
        self._publisher.publish_status(status)
