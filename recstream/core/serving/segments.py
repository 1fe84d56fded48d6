"""Popularity by segment: what users with the same properties do, for users without a history.

The result is boosts of a request, which the list names: it can be derived again.
"""

import heapq
import math
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

HALF_LIFE_MS = 7 * 86_400_000.0
SHRINKAGE = 20.0
"""Events by which a segment's shares are shrunk towards those of all users."""
MAX_USERS = 1_000_000
MAX_SEGMENTS = 10_000
MAX_ITEMS = 1_000_000
"""Clients may name items that do not exist: the half with the least weight is forgotten beyond this."""
MAX_BY = 10.0
_MAX_EXPONENT = 400.0
"""A weight is at least 2⁻⁴⁰⁰ and at most 2⁴⁰⁰: neither 0 nor infinite, whatever time an event claims."""
_RESCALE_EXPONENT = 100.0
"""Weights are rescaled when a new one would be larger than 2¹⁰⁰."""


class _Counts:
    """Weights of items, and their sum.

    Between two calls of `scale` or `keep`, weights only grow. So the first n items are among those of
    the last call of `first`, and those that have reached the least weight of these since.
    """

    def __init__(self) -> None:
        self.of: dict[str, float] = defaultdict(float)
        self.total = 0.0
        self._n = 0
        self._leading: set[str] = set()
        self._least = math.inf

    def add(self, item: str, weight: float) -> None:
        held = self.of[item] = self.of[item] + weight
        self.total += weight
        if held >= self._least:
            self._leading.add(item)

    def scale(self, factor: float) -> None:
        """Multiply all weights; delete those that become 0."""
        self._replace({item: by for item, held in self.of.items() if (by := held * factor)})

    def keep(self, items: Collection[str]) -> None:
        """Delete the weights of all items but these."""
        self._replace({item: held for item, held in self.of.items() if item in items})

    def _replace(self, weights: dict[str, float]) -> None:
        self.__init__()  # type: ignore[misc]  # the first items are found anew
        self.of.update(weights)
        self.total = math.fsum(weights.values())

    def first(self, n: int) -> list[str]:
        if n > self._n:
            self._n, self._leading = n, set(self.of)
        found = heapq.nlargest(self._n, self._leading, key=lambda item: (self.of[item], item))
        self._leading = set(found)
        self._least = self.of[found[-1]] if len(found) == self._n else 0.0
        return found[:n]


class SegmentCounts:
    """Counts of items, of all users and by each value of a property; not thread-safe.

    An event weighs the more the later it is, instead of fading: shares are the same, and need no update.
    """

    def __init__(self) -> None:
        self._anchor_ms: int | None = None
        """Time at which an event weighs 1."""
        self._all = _Counts()
        self._properties: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._segments: OrderedDict[tuple[str, Any], _Counts] = OrderedDict()

    def learn(self, user: str, changes: Mapping[str, Any]) -> None:
        """Take the new properties of a user; None removes one."""
        held = self._properties.pop(user, {}) | dict(changes)
        self._properties[user] = {name: each for name, each in held.items() if each is not None}
        if len(self._properties) > MAX_USERS:
            self._properties.popitem(last=False)

    def count(self, user: str, item: str, at_ms: int) -> None:
        """Count an event of a user on an item."""
        if self._anchor_ms is None:
            self._anchor_ms = at_ms
        elif at_ms - self._anchor_ms > _RESCALE_EXPONENT * HALF_LIFE_MS:
            factor = math.exp2((self._anchor_ms - at_ms) / HALF_LIFE_MS)
            for each in (self._all, *self._segments.values()):
                each.scale(factor)
            self._anchor_ms = at_ms
        weight = self._weight(at_ms)
        self._all.add(item, weight)
        for pair in self._properties.get(user, {}).items():
            segment = self._segments.pop(pair, None) or _Counts()
            segment.add(item, weight)
            self._segments[pair] = segment
            if len(self._segments) > MAX_SEGMENTS:
                self._segments.popitem(last=False)
        if len(self._all.of) > MAX_ITEMS:
            held = self._all.of
            kept = set(sorted(held, key=lambda each: (-held[each], each))[: len(held) // 2])
            for each in (self._all, *self._segments.values()):
                each.keep(kept)

    def _weight(self, at_ms: int) -> float:
        anchor_ms = at_ms if self._anchor_ms is None else self._anchor_ms
        exponent = (at_ms - anchor_ms) / HALF_LIFE_MS
        return math.exp2(max(-_MAX_EXPONENT, min(_MAX_EXPONENT, exponent)))

    def boosts(
        self, properties: Iterable[tuple[str, Any]], popularity_weight: float, n: int, now_ms: int
    ) -> list[tuple[str, float]]:
        """Return boosts that turn the popularity of all users into that of a segment.

        Popularity adds ``w log share`` to a score, so a boost is ``w log(share in the segment / share)``.
        Several properties are combined as if they were independent. The items are those whose share
        changes most; none if the properties have no event.

        Parameters
        ----------
        properties : iterable of (name, value)
        popularity_weight : float
            w, in typical scores.
        """
        segments = [found for pair in properties if (found := self._segments.get(pair))]
        prior = SHRINKAGE * self._weight(now_ms)
        changes = []
        for item in {item for each in (*segments, self._all) for item in each.first(4 * n)}:
            if not (share := self._all.of[item] / self._all.total):
                continue
            by = sum(
                math.log((each.of.get(item, 0.0) / share + prior) / (each.total + prior))
                for each in segments
            )
            changes.append(
                (-abs(share * math.expm1(min(by, _MAX_EXPONENT))), item, popularity_weight * by)
            )
        return [(item, max(-MAX_BY, min(MAX_BY, by))) for _, item, by in sorted(changes)[:n] if by]
