"""Steps 4 to 6 of the flow: the trainer: follows histories and products, announces, sends deltas.

It reads the histories' changelog and the catalogue, never the tables, and writes only artifacts,
announcements, progress and dead letters: ingest does not know that it exists. Training runs beside
the loop, which follows on and sends deltas of the serving generation.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic

import msgspec

from recstream.core.generation import Generation
from recstream.core.records import DeadLetter, GateResult, RollbackRequested
from recstream.erasure import forgetting
from recstream.errors import ArtifactCorrupt, LogError, LogFenced, LogUnavailable, NotFound
from recstream.log import (
    CATALOGUE,
    CONTROL,
    DEAD_LETTERS,
    EventLog,
    NewRecord,
    Record,
    TopicPartition,
    histories_changelog,
)
from recstream.metrics import DEAD_LETTERS as N_DEAD_LETTERS
from recstream.models import ModelFeed, ModelStore, announcement, fetch
from recstream.settings import Settings
from recstream.trainer.catalogue import Products
from recstream.trainer.catch_up import Succession
from recstream.trainer.changelog import Follower, Group
from recstream.trainer.commands import Requests
from recstream.trainer.deltas import (
    MAX_PRODUCTS,
    Announcer,
    Deltas,
    Kept,
    Sender,
    copy_of,
    resume,
)
from recstream.trainer.executor import Background, Candidate
from recstream.trainer.lease import Lease
from recstream.trainer.schedule import Schedule
from recstream.trainer.training import Snapshot, Trained

log = logging.getLogger(__name__)

READ_RECORDS = 5_000
LEASE_EVERY_S = 1.0
RETRY_S = 10.0
"""After a first generation that could not be made."""
MAX_LETTERS = 10_000
"""Unreadable catalogue records remembered until they are told of."""

_encode = msgspec.json.Encoder().encode
_CATALOGUE = TopicPartition(CATALOGUE, 0)


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
        self._log = event_log
        self._store = store
        self._lease = lease
        self._clock_ms = clock_ms
        self._changelog = histories_changelog(settings.app_id)
        self._rows = [TopicPartition(self._changelog, each) for each in range(settings.partitions)]
        sources = [*self._rows, TopicPartition(CONTROL, 0), _CATALOGUE]
        self._announcer = Announcer(
            event_log, store, lease, clock_ms=clock_ms, keep=settings.keep_generations
        )
        self._background = Background(settings, self._announcer)
        self._sender = Sender(self._announcer, settings.delta_every_s)
        finished = forgetting(event_log).finished
        self._tail = event_log.tail({tp: event_log.earliest(*tp) for tp in sources})
        self._target = {tp: event_log.high_watermark(*tp) for tp in sources}
        self._follower = Follower(finished)
        self._products = Products()
        self._requests = Requests(event_log, self._changelog)
        self._letters: deque[DeadLetter] = deque(maxlen=MAX_LETTERS)
        self._since_snapshot: list[Group] = []
        self._deltas: Deltas | None = None
        self._succession: Succession | None = None
        self._serving: Generation | None = None
        self._is_active = False
        self._is_caught_up = False
        self._schedule = Schedule(settings)
        self._next_lease = self._next_first = 0.0

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
        """Stop; a training under way is thrown away."""
        self._tail.close()
        self._background.close()
        with contextlib.suppress(LogError):
            self._lease.release()

    def step(self) -> None:
        """Take in what came, then do what is due: train, announce, send a delta.

        Nothing takes long, whatever came: what a delta can't hold waits for the next.
        """
        self._take_in(self._tail.poll(self._patience(), READ_RECORDS))
        if not self._holds_lease():
            return
        self._tell_letters()
        request = self._requests.newest
        if self._background.is_busy:
            if self._background.is_done:
                self._finish_training()
        elif isinstance(request, RollbackRequested):
            self._roll_back(request)
        elif self._is_due():
            self._start_training()
        if self._deltas is not None:
            deltas, now_ms = self._deltas, self._clock_ms()
            self._background.reserve_cold_start_slots(deltas.n_products > MAX_PRODUCTS)
            self._sender.send(deltas, self._follower, self._products, now_ms=now_ms)

    # Following

    def _patience(self) -> float:
        """Return how long a turn may wait for records."""
        if self._background.is_busy or not self._is_caught_up:
            longest = 0.05
        else:
            longest = min(LEASE_EVERY_S, self._settings.delta_every_s)
        return self._sender.due_in_s(self._deltas, longest)

    def _take_in(self, records: list[Record]) -> None:
        rows, products = [], []
        for record in records:
            if record.topic == self._changelog:
                rows.append(record)
            elif record.topic == CATALOGUE:
                products.append(record)
            else:
                self._requests.read(record)
        groups = self._follower.apply(rows)
        if self._follower.is_stale:
            self._start_over()
            return
        self._take_groups([group for group in groups if group.users])
        if products:
            self._take_products(products)
        if not self._is_caught_up and self._has_reached(self._target):
            self._is_caught_up = True
            log.info(
                "log followed users=%d events=%d products=%d",
                len(self._follower.users),
                self._follower.n_events,
                len(self._products.items),
            )

    def _take_groups(self, groups: list[Group]) -> None:
        for group in groups:
            self._schedule.moved()
            if self._deltas is not None:
                self._deltas.touch(group.users, group.touches)
            if self._background.is_busy:
                self._since_snapshot.append(group)

    def _take_products(self, records: list[Record]) -> None:
        self._schedule.moved()
        changed, letters = self._products.apply(records)
        self._letters.extend(letters)
        for each in (self._deltas, self._succession):
            if each is not None:
                each.change(changed, self._products.items)

    def _start_over(self) -> None:
        """Read all histories again: a user was forgotten while they were read, nobody knows who."""
        log.warning("histories read again: a user was forgotten meanwhile")
        self._stand_by()
        self._is_caught_up = False
        self._next_lease = 0.0
        self._requests.forgotten = []
        self._follower = Follower(forgetting(self._log).finished)
        for tp in (*self._rows, TopicPartition(CONTROL, 0)):
            self._tail.seek(tp, self._log.earliest(*tp))
            self._target[tp] = self._log.high_watermark(*tp)

    def _has_reached(self, target: Mapping[TopicPartition, int]) -> bool:
        positions = self._tail.positions()
        return all(positions.get(tp, 0) >= offset for tp, offset in target.items())

    def _tell_letters(self) -> None:
        """Append the dead letters of catalogue records that no earlier run has told of."""
        letters = list(self._letters)
        if not letters:
            return
        log.warning("catalogue records passed over n=%d: %s", len(letters), letters[-1].detail)
        self._log.append([NewRecord(DEAD_LETTERS, None, _encode(each), 0) for each in letters])
        self._letters.clear()
        for letter in letters:
            N_DEAD_LETTERS.labels(letter.reason).inc()

    # Being the one

    def _holds_lease(self) -> bool:
        if monotonic() >= self._next_lease:
            self._next_lease = monotonic() + LEASE_EVERY_S
            is_active = self._lease.hold()
            if self._is_active and not is_active:
                self._stand_by()
            self._is_active = is_active
        is_idle = self._serving is None and not self._background.is_busy
        if is_idle and self._is_active and self._is_caught_up and monotonic() >= self._next_first:
            self._resume()
        return self._is_active and (self._serving is not None or self._background.is_busy)

    def _stand_by(self) -> None:
        """Leave the models to another trainer; a training under way is thrown away."""
        self._is_active = False
        self._deltas = None
        self._serving = None
        self._sender.drop()
        self._drop_training()

    def _drop_training(self) -> None:
        self._background.drop()
        self._succession = None
        self._since_snapshot = []

    def _resume(self) -> None:
        """Go on from what the log says: its newest generation, or generation 0."""
        feed = ModelFeed(self._log, self._store, is_serving=False)
        try:
            moved, stored = feed.newest(), feed.newest(with_deltas=False)
        finally:
            feed.close()
        log.info("trainer active generation=%s", None if stored is None else stored.number)
        snapshot = self._snapshot()
        if moved is None or stored is None:
            self._schedule.trained(0, len(snapshot.catalogue))
            self._background.start_first(snapshot)
            return
        self._serving = stored
        self._letters = deque(
            (each for each in self._letters if each.offset >= moved.catalogue_offset), MAX_LETTERS
        )
        self._schedule.trained(0, len(stored.details))
        trained, unknown = resume(moved, snapshot)
        self._deltas = Deltas(trained)
        self._deltas.touch(unknown.users, unknown.touches)
        told, untold = self._products.told(stored.catalogue_offset, moved.catalogue_offset)
        self._deltas.knew(told)
        self._deltas.change(untold, self._products.items, again=True)
        if stored.offsets == snapshot.offsets:
            self._schedule.trained(snapshot.n_events, len(stored.details))
        n_users = announcement(self._log, stored.number).n_users
        self._requests.resume(stored.offsets, n_users, snapshot)

    # Training

    def _is_due(self) -> bool:
        """Whether to train now: asked to, or enough is new, it has settled, and nothing was rolled back."""
        requests = self._requests
        if not self._is_caught_up or not self._has_reached(requests.awaited):
            return False
        if requests.newest is not None:
            return True
        if requests.is_held:
            return False
        return bool(requests.forgotten) or self._schedule.is_due(
            self._follower.n_events, len(self._products.items)
        )

    def _snapshot(self) -> Snapshot:
        """Return histories and products as they are now; later changes leave it alone."""
        offsets = {str(p): offset for p, offset in sorted(self._follower.offsets.items())}
        known = 0 if self._serving is None else self._serving.catalogue_offset
        return Snapshot(
            dict(self._follower.users),
            offsets,
            self._follower.n_events,
            dict(self._products.items),
            frozenset(self._products.withdrawn),
            self._products.next_offset,
            frozenset(self._products.since(known)),
        )

    def _start_training(self) -> None:
        if self._serving is None:
            return
        snapshot = self._snapshot()
        self._since_snapshot = []
        is_forced = self._requests.is_forced
        self._requests.answered()
        is_enough = snapshot.n_events >= self._settings.train_min_events
        self._schedule.trained(snapshot.n_events if is_enough else 0, len(snapshot.catalogue))
        self._background.start(snapshot, self._serving, is_forced=is_forced)

    def _finish_training(self) -> None:
        """Publish what a training gave, unless the gate holds it back.

        It first learns what deltas told meanwhile, some turns long. While the log is unavailable,
        the result is kept for the next turn.
        """
        try:
            candidate = self._background.result()
            if candidate.is_accepted:
                if self._succession is None:
                    self._succession = Succession(candidate, self._deltas, self._products)
                if not self._succession.advance(self._products, now_ms=self._clock_ms()):
                    return
                self._adopt(candidate, self._succession)
            elif candidate.gate_result is not None:
                number = candidate.trained.generation.number
                self._announcer.rejected(number, candidate.gate_result, candidate.seconds)
        except LogError:
            raise
        except Exception as error:  # the serving generation goes on; the next training may do
            log.exception("training failed")
            self._next_first = monotonic() + RETRY_S
            self._announcer.tell("failed", 0, detail=str(error))
        self._drop_training()

    def _adopt(self, candidate: Candidate, succession: Succession) -> None:
        self._publish(
            candidate.trained,
            candidate.deltas,
            candidate.seconds,
            kept=candidate.kept,
            gate_result=candidate.gate_result,
        )
        self._sender.take(succession.deltas)
        for group in (candidate.held_back.of(self._follower.users), *self._since_snapshot):
            candidate.deltas.touch(group.users, group.touches)

    def _publish(
        self,
        trained: Trained,
        deltas: Deltas,
        seconds: float,
        *,
        kept: Kept | None = None,
        gate_result: GateResult | None = None,
        copies: int | None = None,
    ) -> None:
        """Announce a generation, which serves from now on."""
        self._announcer.generation(
            trained,
            kept or self._announcer.keep(trained.generation),
            seconds,
            gate_result=gate_result,
            copies=copies,
        )
        self._serving, self._deltas = trained.generation, deltas

    def _roll_back(self, request: RollbackRequested) -> None:
        """Serve an older generation again, as a new one that copies it, until a training is asked for."""
        self._requests.newest = None
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
        deltas = Deltas(copied)
        self._publish(copied, deltas, 0.0, copies=request.generation)
        deltas.touch(unknown.users, unknown.touches)
        deltas.change(self._products.since(old.catalogue_offset), self._products.items)
