"""Decide when a training is due."""

from collections.abc import Callable
from time import monotonic

from recstream.settings import Settings

MIN_PRODUCTS = 50
"""Minimum size of a catalogue whose doubling triggers a training."""
EVENTS_QUIET_S = 0.7
EVENTS_MAX_WAIT_S = 4.0
PRODUCTS_QUIET_S = 5.0
PRODUCTS_MAX_WAIT_S = 60.0


class Schedule:
    """Decides when to train: after a number of events or seconds, or when events have doubled.

    A doubled catalogue triggers a training too: feature weights are learnt from the whole catalogue.

    Doubling gives a young shop a model soon; later the intervals of the settings hold. A due training
    still waits for a pause of `EVENTS_QUIET_S`, at most `EVENTS_MAX_WAIT_S`, so that it includes the
    whole of an import.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._n_trained = 0
        self._n_products = 0
        self._trained_at = clock()
        self._active_at = clock()
        self._waiting_since: dict[float, float] = {}

    def note_activity(self) -> None:
        """Record that events or products arrived."""
        self._active_at = self._clock()

    @property
    def quiet_s(self) -> float:
        """Seconds since events or products arrived."""
        return self._clock() - self._active_at

    def note_training(self, n_events: int, n_products: int = 0) -> None:
        """Record that a training covers so many events and products."""
        self._n_trained = n_events
        self._n_products = n_products
        self._trained_at = self._clock()
        self._waiting_since = {}

    def is_due(self, n_events: int, n_products: int = 0) -> bool:
        """Return whether to train now, given the number of events and products."""
        now = self._clock()
        if self._has_enough(n_events, now):
            quiet_s, patience_s = EVENTS_QUIET_S, EVENTS_MAX_WAIT_S
        elif n_products >= max(MIN_PRODUCTS, 2 * self._n_products):
            quiet_s, patience_s = PRODUCTS_QUIET_S, PRODUCTS_MAX_WAIT_S
        else:
            return False
        since = self._waiting_since.setdefault(patience_s, now)
        return now - self._active_at >= quiet_s or now - since >= patience_s

    def _has_enough(self, n_events: int, now: float) -> bool:
        new = n_events - self._n_trained
        least = self._settings.train_min_events
        if n_events < least or new <= 0:
            return False
        enough = min(self._settings.train_every_events, max(least, self._n_trained))
        return new >= enough or now - self._trained_at >= self._settings.train_every_s
