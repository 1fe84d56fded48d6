"""Synthetic customers with latent tastes, and the events of their visits; pure functions of the seed.

`traffic` yields events without ids and times, which the edge adds; `history` yields past events.
"""

from collections.abc import Iterator
from itertools import islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.events import Event, EventType, from_timestamp_ms
from recstream.simulate.shop import N_STYLES, Shop

SHARPNESS = 2.5
"""Weight of taste against popularity in the choice of a product."""
DRIFT_EVENTS = 4_000
"""Events after which another third of the products is trending."""
TREND_FACTOR = 3.0
OPEN_VISITS = 6
"""Simultaneous visits."""
MAX_VIEWS = 9
DAY_MS = 86_400_000


class Customers:
    """Customers of a shop, each with tastes and an activity rate."""

    def __init__(self, shop: Shop, n_users: int, seed: int) -> None:
        rng = np.random.Generator(np.random.PCG64([seed, 1]))
        self.shop = shop
        self.names = tuple(f"u{number}" for number in range(1, n_users + 1))
        self.categories = rng.dirichlet(np.full(shop.n_categories, 0.25), size=n_users)
        tastes = rng.normal(size=(n_users, N_STYLES))
        self.tastes = tastes / np.linalg.norm(tastes, axis=1, keepdims=True)
        self.activity = rng.permutation(n_users) + 5.0
        self.activity = self.activity**-0.7 / np.sum(self.activity**-0.7)
        self._rows = [np.flatnonzero(shop.category == c) for c in range(shop.n_categories)]
        self._season = rng.integers(0, 3, size=len(shop.items))

    def visit(self, rng: np.random.Generator, n_before: int) -> Iterator[Event]:
        """Yield the events of one visit of one customer.

        Parameters
        ----------
        n_before : int
            Events before this visit; decides which products are trending.
        """
        user = int(rng.choice(len(self.names), p=self.activity))
        session = f"s{rng.integers(1 << 48):012x}"
        category = int(rng.choice(self.shop.n_categories, p=self.categories[user]))
        liking, chance = self._chances(user, category, n_before)
        rows = self._rows[category]
        n_views = min(int(rng.geometric(0.35)) + 1, MAX_VIEWS, len(rows))
        for at in rng.choice(len(rows), size=n_views, replace=False, p=chance):
            item = self.shop.items[rows[at]].item
            for kind, value in _funnel(rng, float(liking[at])):
                yield Event(
                    type=kind, user=self.names[user], item=item, session=session, value=value
                )

    def _chances(
        self, user: int, category: int, n_before: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a customer's liking for each product of a category, and its chance to be viewed."""
        rows = self._rows[category]
        liking = self.shop.styles[rows] @ self.tastes[user]
        trending = self._season[rows] == (n_before // DRIFT_EVENTS) % 3
        trend = np.where(trending, TREND_FACTOR, 1.0)
        chance = self.shop.popularity[rows] * trend * np.exp(SHARPNESS * liking)
        return liking, chance / chance.sum()


def _funnel(rng: np.random.Generator, liking: float) -> Iterator[tuple[EventType, float | None]]:
    """Yield the event types of one viewed product, with values; liked products get further."""
    yield "view", None
    want = 1.0 / (1.0 + np.exp(-3.0 * liking))
    luck = rng.random(5)
    if liking < -0.5:  # noqa: PLR2004 - clearly disliked
        if luck[0] < 0.1:  # noqa: PLR2004 - few customers say so
            yield "dislike", None
        return
    if luck[0] < 0.6 * want:
        yield "click", None
        if luck[1] < 0.45 * want:
            yield "cart", None
            if luck[2] < 0.7 * want:
                yield "purchase", 2.0 if luck[3] < 0.1 else 1.0  # noqa: PLR2004 - some buy two
                if luck[4] < 0.3:  # noqa: PLR2004 - and some rate what they bought
                    yield "rate", float(np.clip(round(2 * (2.8 + 2.2 * liking)) / 2, 0.5, 5.0))
        elif luck[2] < 0.12 * want:
            yield "like", None


def traffic(customers: Customers, seed: int, n_before: int = 0) -> Iterator[Event]:
    """Yield an endless stream of events of several simultaneous visits, without ids and times.

    Parameters
    ----------
    seed : int
        Another seed gives other visits of the same customers.
    n_before : int
        Events before the first one; decides which products are trending.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    visits = [customers.visit(rng, n_before) for _ in range(OPEN_VISITS)]
    n = n_before
    while True:
        at = int(rng.integers(OPEN_VISITS))
        event = next(visits[at], None)
        if event is None:
            visits[at] = customers.visit(rng, n)
            continue
        n += 1
        yield event


def history(
    customers: Customers, seed: int, n_events: int, *, end_ms: int, days: float = 30.0
) -> Iterator[Event]:
    """Yield ``n_events`` past events in time order, with ids and times, the last before ``end_ms``.

    Afternoons and evenings have more events than nights (UTC).

    Parameters
    ----------
    end_ms : int
        End of the period, in milliseconds since 1970.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    day = rng.integers(0, max(1, round(days)), size=2 * n_events)
    hour = np.clip(rng.normal(16.0, 4.5, size=2 * n_events), 0.0, 23.99)
    start_ms = (end_ms // DAY_MS - max(1, round(days))) * DAY_MS
    times = start_ms + ((day + hour / 24.0) * DAY_MS).astype(np.int64) + DAY_MS
    times = np.sort(times[times < end_ms][:n_events])
    times = np.concatenate([np.full(n_events - len(times), start_ms), times])
    for n, (event, ts) in enumerate(
        zip(islice(traffic(customers, seed), n_events), times.tolist(), strict=True)
    ):
        yield msgspec.structs.replace(event, id=f"shop-{seed}-{n}", ts=from_timestamp_ms(ts))
