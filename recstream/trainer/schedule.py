"""Step 5 of the flow: when a training is due."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from recstream.settings import Settings

MIN_PRODUCTS = 50
"""Products from which on a catalogue that doubled is worth a training."""
QUIET_S = 0.7
PATIENCE_S = 4.0
PRODUCTS_QUIET_S = 5.0
PRODUCTS_PATIENCE_S = 60.0


class Schedule:
    """Says when to train: every so many events, or so many seconds, or when events have doubled.

    Also when the catalogue has doubled: what its words are worth is learnt from all of it.

    Early on, doubling brings a young shop a model soon; later the settings' intervals hold. When a
    training is due it still waits until events pause for `QUIET_S`, at most `PATIENCE_S`: an import
    that is under way is worth having whole.

    Parameters
    ----------
    settings : Settings
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._n_trained = 0
        self._n_products = 0
        self._trained_at = clock()
        self._moved_at = clock()
        self._waiting_since: dict[float, float] = {}

    def moved(self) -> None:
        """Note that events or products came."""
        self._moved_at = self._clock()

    def trained(self, n_events: int, n_products: int = 0) -> None:
        """Note that a training covers so many events and products."""
        self._n_trained = n_events
        self._n_products = n_products
        self._trained_at = self._clock()
        self._waiting_since = {}

    def is_due(self, n_events: int, n_products: int = 0) -> bool:
        """Return whether to train now that there are so many events and products."""
        now = self._clock()
        if self._has_enough(n_events, now):
            quiet_s, patience_s = QUIET_S, PATIENCE_S
        elif n_products >= max(MIN_PRODUCTS, 2 * self._n_products):
            quiet_s, patience_s = PRODUCTS_QUIET_S, PRODUCTS_PATIENCE_S
        else:
            return False
        since = self._waiting_since.setdefault(patience_s, now)
        return now - self._moved_at >= quiet_s or now - since >= patience_s

    def _has_enough(self, n_events: int, now: float) -> bool:
        new = n_events - self._n_trained
        least = self._settings.train_min_events
        if n_events < least or new <= 0:
            return False
        enough = min(self._settings.train_every_events, max(least, self._n_trained))
        return new >= enough or now - self._trained_at >= self._settings.train_every_s
