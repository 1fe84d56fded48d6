"""Counts of recent events for shelves: rates against each item's own past, baskets, and repeats.

Every number is a function of the events counted and their order, so it can be derived from the log.
"""

import hashlib
import math
import weakref
from array import array
from collections import OrderedDict, defaultdict
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.columns import IdTable
from recstream.core.events import Event, timestamp_ms
from recstream.core.numeric.arrays import Int32s
from recstream.core.serving.segments import SegmentCounts

DAY_MS = 86_400_000.0
FAST_MS, SLOW_MS = 0.25 * DAY_MS, 7 * DAY_MS
"""Half-lives of an item's rate now, and of its rate in the past."""
PRIOR_EVENTS = 2.0
"""Events within a fast half-life that both rates are shrunk by: few events are no trend."""
BASKET_GAP_MS = 3_600_000
"""Purchases without a session are one basket while they lie closer together."""
SHRINKAGE = 3.0
"""Joint purchases that lift is shrunk by, towards 1."""
MAX_BASKET = 50
MAX_BASKETS = 100_000
MAX_PARTNERS = 500
MAX_PAIRS = 5_000_000
MAX_LAST = 1_000_000
MAX_ITEMS = 1_000_000
"""Clients may name items that do not exist: the half with the fewest events is forgotten beyond this."""
_NOT_COUNTED = {"impression", "dislike", "remove", "profile"}


class _Basket(NamedTuple):
    items: dict[str, None]
    at_ms: int


class EventCounts:
    """Counts of events, folded one by one; not thread-safe.

    Attributes
    ----------
    n_bought : dict of str to int
        Baskets with the item.
    together : dict of str to dict of str to int
        Baskets with both items.
    """

    def __init__(self) -> None:
        self._row_of: dict[str, int] = {}
        # Of each item: fast sum, slow sum, time up to which they have decayed.
        self._rates = array("d")
        # A table of ids, its length, and the row in it of each counted item.
        self._placed: tuple[weakref.ref[IdTable], int, Int32s] | None = None
        self.n_baskets = 0
        self._n_pairs = 0
        self.n_bought: dict[str, int] = defaultdict(int)
        self.together: dict[str, dict[str, int]] = defaultdict(dict)
        self._baskets: OrderedDict[bytes, _Basket] = OrderedDict()
        self._last: OrderedDict[bytes, int] = OrderedDict()
        self._repeats: dict[str, tuple[int, float]] = {}
        self.segments = SegmentCounts()

    def observe(self, event: Event) -> None:
        """Count an event."""
        if event.type == "profile":
            self.segments.learn(event.user, event.properties)
        if event.type in _NOT_COUNTED or event.item is None or event.ts is None:
            return
        at_ms = timestamp_ms(event.ts)
        self.segments.count(event.user, event.item, at_ms)
        self._count(event.item, at_ms)
        if event.type == "purchase":
            self._put_into_basket(event.user, event.session, event.item, at_ms)
            self._count_repeat(event.user, event.item, at_ms)
        if len(self._row_of) > MAX_ITEMS:
            self._forget_items()
        if self._n_pairs > MAX_PAIRS:
            self._forget_pairs()

    def _forget_items(self) -> None:
        """Forget the half of the items with the lowest rates in the past."""
        rates = np.frombuffer(self._rates).reshape(-1, 3)
        with np.errstate(divide="ignore"):
            level = np.log2(rates[:, 1]) + rates[:, 2] / SLOW_MS  # as of one time
        kept = np.sort(np.argsort(-level, kind="stable")[: len(rates) // 2])
        names = list(self._row_of)
        self._row_of = {names[row]: place for place, row in enumerate(kept.tolist())}
        self._rates, self._placed = array("d", rates[kept].tobytes()), None
        known = self._row_of.keys()
        for forgotten in self.n_bought.keys() - known:
            del self.n_bought[forgotten]
        self._repeats = {item: each for item, each in self._repeats.items() if item in known}
        for item in list(self.together):
            partners = self.together.pop(item)
            self._n_pairs -= len(partners)
            if item in known:
                kept_partners = {each: n for each, n in partners.items() if each in known}
                self.together[item] = kept_partners
                self._n_pairs += len(kept_partners)

    def _forget_pairs(self) -> None:
        """Forget the pairs of the half of the items that are bought least."""
        by_number = sorted(self.together, key=lambda item: (self.n_bought[item], item))
        for item in by_number[: (len(by_number) + 1) // 2]:
            self._n_pairs -= len(self.together.pop(item))

    def _count(self, item: str, at_ms: int) -> None:
        row, rates = self._row_of.setdefault(item, len(self._row_of)), self._rates
        fast, slow, before = 3 * row, 3 * row + 1, 3 * row + 2
        if fast == len(rates):
            rates.extend((0.0, 0.0, 0.0))
        newest = max(rates[before], at_ms)
        aged_ms, late_ms = rates[before] - newest, at_ms - newest
        for at, half_life in ((fast, FAST_MS), (slow, SLOW_MS)):
            rates[at] = rates[at] * math.exp2(aged_ms / half_life) + math.exp2(late_ms / half_life)
        rates[before] = newest

    def trends(self, items: IdTable, now_ms: int) -> NDArray[np.float64]:
        """Return how much faster each item is now than in its own past, (m,): log2 of the ratio.

        Parameters
        ----------
        items : IdTable
            In the order of the result; items without events have 0.
        """
        places = self._places(items)
        known = np.flatnonzero(places >= 0)
        rates = np.frombuffer(self._rates).reshape(-1, 3)[known]
        age_ms = np.maximum(0.0, now_ms - rates[:, 2])
        fast = rates[:, 0] * np.exp2(-age_ms / FAST_MS) / FAST_MS
        slow = rates[:, 1] * np.exp2(-age_ms / SLOW_MS) / SLOW_MS
        prior = PRIOR_EVENTS / FAST_MS
        found = np.zeros(len(items))
        found[places[known]] = np.log2((fast + prior) / (slow + prior))
        return found

    def _places(self, items: IdTable) -> Int32s:
        """Return the row of each counted item in a table, -1 for others; only new items are looked up."""
        n_items, places = len(items), np.empty(0, np.int32)
        placed = self._placed
        if placed is not None and placed[0]() is items and placed[1] == n_items:
            places = placed[2]
        if len(places) < len(self._row_of):
            names = list(islice(self._row_of, len(places), None))
            places = np.append(places, items.rows_of(names))
            self._placed = weakref.ref(items), n_items, places
        return places

    def _put_into_basket(self, user: str, session: str | None, item: str, at_ms: int) -> None:
        key = _digest(user, session or "")
        basket = self._baskets.pop(key, None)
        if basket is None or (session is None and abs(at_ms - basket.at_ms) > BASKET_GAP_MS):
            basket = _Basket({}, at_ms)
            self.n_baskets += 1
        if item not in basket.items and len(basket.items) < MAX_BASKET:
            self.n_bought[item] += 1
            for other in basket.items:
                if other in self.n_bought:  # not forgotten
                    self._pair(item, other)
                    self._pair(other, item)
            basket.items[item] = None
        self._baskets[key] = _Basket(basket.items, max(at_ms, basket.at_ms))
        if len(self._baskets) > MAX_BASKETS:
            self._baskets.popitem(last=False)

    def _pair(self, item: str, other: str) -> None:
        partners = self.together[item]
        self._n_pairs += other not in partners
        partners[other] = partners.get(other, 0) + 1
        if len(partners) > MAX_PARTNERS:
            del partners[min(partners, key=lambda each: partners[each])]
            self._n_pairs -= 1

    def lifts(self, item: str) -> dict[str, float]:
        """Return how much likelier each item is in a basket with this one: lift, shrunk towards 1.

        ``(n_ab + k) / (n_a n_b / N + k)``, only items above 1.
        """
        found = {}
        n_item = self.n_bought.get(item, 0)
        for other, n_both in self.together.get(item, {}).items():
            expected = n_item * self.n_bought.get(other, 0) / max(1, self.n_baskets)
            lift = (n_both + SHRINKAGE) / (expected + SHRINKAGE)
            if lift > 1.0:
                found[other] = lift
        return found

    def _count_repeat(self, user: str, item: str, at_ms: int) -> None:
        key = _digest(user, item)
        last = self._last.pop(key, None)
        n_repeats, gap = self._repeats.get(item, (0, 0.0))
        if last is not None and at_ms - last > BASKET_GAP_MS:
            self._repeats[item] = (n_repeats + 1, gap + (at_ms - last))
        self._last[key] = at_ms
        if len(self._last) > MAX_LAST:
            self._last.popitem(last=False)

    def last_bought(self, user: str, item: str) -> int | None:
        """Return when a user bought an item last; None if that was not counted, or is forgotten."""
        return self._last.get(_digest(user, item))

    def due(self, item: str, elapsed_ms: int) -> float:
        """Return how likely a buyer of an item buys it again by now, 0 where repeats are not normal.

        The item's share of purchases that were repeats, shrunk towards 0, times the part of its mean
        time between purchases that has passed.
        """
        n_repeats, gap_ms = self._repeats.get(item, (0, 0.0))
        if not n_repeats:
            return 0.0
        share = n_repeats / (self.n_bought.get(item, 0) + SHRINKAGE)
        return share * min(1.0, max(0, elapsed_ms) / (gap_ms / n_repeats))


def _digest(*texts: str) -> bytes:
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest()
