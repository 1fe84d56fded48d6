"""The model generation that this bridge serves, kept current with the models topic by a thread."""

import logging
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence

from recstream.bridge.views import Views
from recstream.core.generation import Generation
from recstream.core.history import History
from recstream.core.ranking import rank
from recstream.core.records import DeltaAnnounced, GenerationAnnounced, ModelRecord
from recstream.errors import ArtifactCorrupt, ModelMismatch, ModelStoreUnavailable, NotFound
from recstream.metrics import MODEL_GENERATION
from recstream.models import ArtifactPrefetch, ModelStore, apply_deltas
from recstream.process import Background, Kernels, SharedLock

log = logging.getLogger(__name__)

RETRY_S = 2.0
"""Seconds between two attempts to read the newest generation while the store is away."""
REFUSED_RETRY_S = 10.0
"""The same while its artifact is gone or damaged: the trainer may store it again."""


class ActiveGeneration(Background):
    """Activates announced generations and applies their deltas.

    Parameters
    ----------
    views : Views
        Hold the announcements from before this process started.
    half_life_ms : float
        Half-life of an event's weight, for generations that don't contain theirs.

    Attributes
    ----------
    lock : SharedLock
        Read while something is made from the generation, written while a delta is applied.
    then : sequence of callable
        Called once, after the first generation was activated.
    on_activated : callable
        Called each time a newer generation was activated.
    preparing : str
        What is done before the first generation is active, in words; empty afterwards.
    """

    def __init__(self, views: Views, store: ModelStore, *, half_life_ms: float) -> None:
        super().__init__("activate")
        self._views = views
        self._early = ArtifactPrefetch(store, is_serving=True)
        self.half_life_ms = half_life_ms
        self.generation: Generation | None = None
        self.lock = SharedLock()
        self.on_change: Callable[[], None] = lambda: None
        self.preparing = ""
        self._kernels = Kernels(self._stopping)
        self._is_damaged = False
        self._unread: int | None = None
        self._refused: int | None = None
        self.then: Sequence[Callable[[], object]] = ()
        self.on_activated: Callable[[], object] = lambda: None
        self._inbox: queue.SimpleQueue[ModelRecord | None] = queue.SimpleQueue()

    def start(self, fail: Callable[[BaseException], object] | None = None) -> None:
        """Start the thread: it activates the newest readable generation, then every new one."""
        if self._views.models.generations():
            self.preparing = "reading the model"
        super().start(fail)

    def take(self, models: Iterable[ModelRecord]) -> None:
        """Queue announcements for the thread."""
        for model in models:
            self._inbox.put(model)

    @property
    def is_healthy(self) -> bool:
        """Whether the thread runs without errors, and serves a generation if the store has one."""
        return super().is_healthy and (self._unread is None or self.generation is not None)

    @property
    def note(self) -> str:
        """Why an older generation is served than the newest one; empty otherwise."""
        unread = self._refused if self._unread is None else self._unread
        generation = self.generation
        if unread is None or generation is None:
            return ""
        return (
            f"generation {unread} can't be read from the model store, generation "
            f"{generation.number} is served"
        )

    @property
    def is_compiling(self) -> bool:
        """Whether the kernels are being compiled, and lists made by slower code."""
        return self._kernels.is_compiling

    def stop(self) -> None:
        """End the thread."""
        super().stop()
        self._early.close()

    def _wake(self) -> None:
        self._inbox.put(None)

    def _run(self) -> None:
        if self._is_damaged:
            self.generation, self._is_damaged = None, False
        self._kernels.start()
        self._activate_newest()
        self._end_preparing()
        while True:
            try:
                model = self._inbox.get(timeout=self._retry_s)
            except queue.Empty:
                self._activate_newest()
                self.on_change()
                continue
            if model is None:
                return
            waiting = [model]
            while not self._inbox.empty():
                more = self._inbox.get()
                if more is None:
                    return
                waiting.append(more)
            if any(isinstance(one, GenerationAnnounced) for one in waiting):
                self._activate_newest()
            for one in waiting:
                if isinstance(one, DeltaAnnounced):
                    self._apply_delta(one)
            self._early.look(None if self.generation is None else self.generation.number)
            self.on_change()

    @property
    def _retry_s(self) -> float | None:
        if self._unread is not None:
            return RETRY_S
        return None if self._refused is None else REFUSED_RETRY_S

    def _end_preparing(self) -> None:
        self.preparing, then, self.then = "", self.then, ()
        for call in then:
            call()
        self.on_change()

    def _activate_newest(self) -> None:
        """Activate the newest readable generation that is newer than the active one."""
        unread = refused = None
        for announced in self._views.models.generations():
            current = self.generation
            if current is not None and announced.generation <= current.number:
                break
            try:
                if self._activate(announced):
                    self.on_activated()
                    break
                refused = refused or announced.generation
            except (ModelStoreUnavailable, OSError) as error:
                unread = unread or announced.generation
                log.warning("model not read generation=%d reason=%s", announced.generation, error)
        self._unread, self._refused = unread, refused

    def _activate(self, announced: GenerationAnnounced) -> bool:
        try:
            generation = self._early.fetch(announced)
            deltas = self._views.models.deltas(announced.generation)
            apply_deltas(generation, self._noting_progress(deltas))
            for newer in self._views.models.deltas_after(announced.generation):
                generation.follow_withdrawals(newer)
            if generation.model is not None:
                if self.generation is None and self._kernels.is_compiling:
                    self.preparing = "compiling kernels"
                self._kernels.wait()
            # The first list loads the kernels: no request should wait for that.
            rank([History("")], generation, 1, self.half_life_of(generation))
        except (ArtifactCorrupt, ModelMismatch, NotFound) as error:
            level = logging.DEBUG if announced.generation == self._refused else logging.ERROR
            log.log(level, "model refused generation=%d reason=%s", announced.generation, error)
            return False
        self.generation = generation
        MODEL_GENERATION.set(generation.number)
        log.info("model activated generation=%d items=%d", generation.number, generation.n_items)
        return True

    def _noting_progress(self, deltas: Sequence[DeltaAnnounced]) -> Iterator[DeltaAnnounced]:
        """Yield the deltas, and say how far they are while no generation is active."""
        n_products = len({item for delta in deltas for item in delta.catalogue})
        what = f"{n_products:,} products" if n_products else "the model"
        for n_done, delta in enumerate(deltas):
            if self.generation is None:
                share = 100 * n_done // len(deltas)
                self.preparing = f"preparing {what}, {share} %"
            yield delta

    def _apply_delta(self, delta: DeltaAnnounced) -> None:
        with self.lock.write():
            generation = self.generation
            if generation is None or delta.generation < generation.number:
                return
            if delta.generation > generation.number:  # of a generation that could not be read
                generation.follow_withdrawals(delta)
                return
            try:
                generation.apply_delta(delta)
            except ModelMismatch as error:
                log.warning("delta refused reason=%s", error)
            except BaseException:
                self._is_damaged = True  # a part of the delta may be applied: read it again
                raise

    def half_life_of(self, generation: Generation | None) -> float:
        """Return the half-life of a generation's training: its lists must decay by the same."""
        if generation is None:
            return self.half_life_ms
        return float(generation.hyperparameters.get("half_life_ms", self.half_life_ms))

    @property
    def current(self) -> tuple[int, int] | None:
        """Number of the active generation and of its delta; None before the first."""
        generation = self.generation
        return None if generation is None else (generation.number, generation.delta)
