"""Compile an arm of the steering document for a generation: masks, bias, boosts, pins.

An arm is compiled once per generation and updated after deltas (`compile_arm`). A document that is
only checked leaves the generation and its cache unchanged (`steering_warnings`). The result depends
on (generation, delta, arm) alone. Each condition costs one pass over the items.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.content import AttributeColumns, ColdStart, canonical, within_any
from recstream.core.generation import Generation
from recstream.core.ranking.batch import ListRules, NeighbourTable
from recstream.core.ranking.dislikes import Push, subtract_pushes
from recstream.core.steering import (
    Arm,
    Boost,
    Condition,
    Exclude,
    Moments,
    Now,
    Pin,
    Range,
    Steering,
    as_texts,
    attribute_predicate,
    inner_conditions,
    moment_ms,
)

Bools = NDArray[np.bool_]
_NO_MULTIPLIER = np.empty(0, np.float32)
MAX_COMPILED = 32
"""Compiled arms that a generation caches; the one used longest ago is evicted."""


class Match(NamedTuple):
    """A rule's name, and the items that its condition matches."""

    name: str
    items: Bools


class CompiledArm:
    """An arm compiled for a generation, as of one delta.

    Parameters
    ----------
    columns : AttributeColumns, optional
        Attributes that conditions test; the generation's by default.
    now_ms : int or None
        The time at which lists are made; None: items' times do not count.
    pushes : sequence of Push
        What a user's dislikes take from scores; the result is for this user alone.

    Attributes
    ----------
    now_ms : int or None
        The time, if something compiled depends on it.
    boosts : list of (Match, float)
        Each with its addition to the score.
    mask : (m,) bool or None
        False for items that no list may hold; None if all are allowed.
    index : ItemIndex
        The generation's index, with the arm's weight of popularity and its boosts as bias.
    pins : list of (position, row, rule)
        Ascending positions from 0; only items that the generation knows.
    list_rules : ListRules
        Rules for a list as a whole, for `recstream.core.ranking.rerank_kernel`.
    cold_share : float
        Share of a list's slots that is reserved for cold items.
    """

    def __init__(
        self,
        generation: Generation,
        arm: Arm,
        columns: AttributeColumns | None = None,
        now_ms: int | None = None,
        pushes: Sequence[Push] = (),
    ) -> None:
        self.arm = arm
        self.pushes = pushes
        self.now_ms: int | None = None
        self._columns_version = -1
        self.delta = -1
        self.excludes: list[Match] = []
        self.onlys: list[Match] = []
        self.boosts: list[tuple[Match, float]] = []
        self.pins: list[tuple[int, int, str]] = []
        self._added: NDArray[np.float64] | None = None
        self._rules_mask: Bools | None = None
        self.mask: Bools | None = None
        self.index = generation.index
        self.update(generation, columns, now_ms)

    def update(
        self,
        generation: Generation,
        columns: AttributeColumns | None = None,
        now_ms: int | None = None,
    ) -> None:
        """Update to the generation's newest delta, and to a time if something depends on it."""
        columns = columns or generation.columns
        has_times = now_ms is not None and len(columns.boundaries) > 0
        time = now_ms if has_times or self.arm.uses_now else None
        is_time_new = self.arm.uses_now and time != self.now_ms
        self.now_ms = time
        if self._columns_version != columns.version or self._has_counts or is_time_new:
            self._match(generation, columns)
            self._columns_version = columns.version
        self.mask = self._rules_mask
        for listable in (generation.listable, columns.in_time(time or 0) if has_times else None):
            if listable is not None:
                self.mask = listable.copy() if self.mask is None else self.mask & listable
        gain = self.arm.blend.popularity if self.arm.blend is not None else 1.0
        if self._added is None and gain == 1.0 and not self.pushes:
            self.index = generation.index
        else:
            bias = gain * generation.bias.astype(np.float64)
            if self._added is not None:
                bias += self._added
            subtract_pushes(bias, self.pushes)
            self.index = generation.index.with_bias(bias.astype(np.float32))
        self.content, self.behaviour = neighbour_tables(generation, self.arm)
        kept = ColdStart.of(generation.hyperparameters)
        share = kept.share if self.arm.cold_start_share is None else self.arm.cold_start_share
        # Without content neighbours or event counts, no item is known to be cold.
        self.cold_share = share if self.content.gain > 0.0 and len(self.content.multiplier) else 0.0
        self.list_rules = self._list_rules(kept.threshold)
        self.delta = generation.delta

    def is_of(self, generation: Generation, now_ms: int | None) -> bool:
        """Return whether an update to the newest delta and a time would change nothing."""
        if self.delta != generation.delta:
            return False
        has_times = now_ms is not None and len(generation.columns.boundaries) > 0
        return self.now_ms == (now_ms if has_times or self.arm.uses_now else None)

    def _list_rules(self, cold_threshold: float) -> ListRules:
        diversity = self.arm.diversity
        return ListRules(
            pin_places=np.array([place for place, _, _ in self.pins], np.int32),
            pin_rows=np.array([row for _, row, _ in self.pins], np.int32),
            min_relevance=self.arm.min_relevance or 0.0,
            strength=0.0 if diversity is None else diversity.strength,
            aspects=self._aspects,
            by_taste=diversity is not None and "taste" in diversity.by,
            cold_threshold=cold_threshold,
        )

    @property
    def _has_counts(self) -> bool:
        """Whether a rule tests the number of users of an item, which changes with each delta."""
        return any(
            _tests_counts(rule.where) for rule in self.arm.rules if not isinstance(rule, Pin)
        )

    def _match(self, generation: Generation, columns: AttributeColumns) -> None:
        unit = generation.scoring.popularity_unit
        self.excludes, self.onlys, self.boosts, self.pins = [], [], [], []
        for rule in self.arm.rules:
            if isinstance(rule, Pin):
                self.pins += [
                    (rule.at - 1 + at, generation.rows[item], rule.name)
                    for at, item in enumerate(rule.items)
                    if item in generation.rows
                ]
                continue
            match = Match(rule.name, matches(rule.where, generation, columns, self.now_ms or 0))
            if isinstance(rule, Boost):
                self.boosts.append((match, rule.by * unit))
            elif isinstance(rule, Exclude):
                self.excludes.append(match)
            else:
                self.onlys.append(match)
        self.pins.sort()
        by = () if self.arm.diversity is None else self.arm.diversity.by
        codes = [getattr(columns, name).codes for name in ("category", "brand") if name in by]
        self._aspects = np.array(codes, np.int32) if codes else np.empty((0, 0), np.int32)
        self._added = None
        if self.boosts:
            self._added = np.zeros(generation.n_items)
            for match, added in self.boosts:
                self._added += added * match.items
        self._rules_mask = None
        if self.excludes or self.onlys:
            self._rules_mask = np.ones(generation.n_items, np.bool_)
            for match in self.excludes:
                self._rules_mask &= ~match.items
            for match in self.onlys:
                self._rules_mask &= match.items

    def excluded_by(self, row: int) -> str:
        """Return the name of the first rule that excludes an item, or an empty text."""
        for match in self.excludes:
            if match.items[row]:
                return match.name
        for match in self.onlys:
            if not match.items[row]:
                return match.name
        return ""

    def pin_name(self, row: int) -> str:
        """Return the name of the rule that pins an item."""
        return next(name for _, at, name in self.pins if at == row)

    def boosts_of(self, row: int) -> list[tuple[str, float]]:
        """Return the boosts of an item: rule names and additions to the score."""
        found = [(match.name, by) for match, by in self.boosts if match.items[row]]
        for push in self.pushes:
            at = int(np.searchsorted(push.rows, row))
            if at < len(push.rows) and push.rows[at] == row:
                found.append((f"dislike: {push.item}", -float(push.amounts[at])))
        return found


def compile_arm(
    generation: Generation, arm: Arm, *, now_ms: int | None = None, keep: bool = True
) -> CompiledArm:
    """Return an arm compiled for a generation as of its newest delta.

    The generation caches it, unless ``keep`` is false: an arm that one request shaped. Several
    threads may compile arms of a generation that does not change meanwhile; what is returned stays
    as it is.
    """
    if not keep:
        return CompiledArm(generation, arm, now_ms=now_ms)
    cache: dict[bytes, CompiledArm] = generation.compiled_arms
    found = cache.pop(arm.key, None)
    if found is None:
        found = CompiledArm(generation, arm, now_ms=now_ms)
    elif not found.is_of(generation, now_ms):
        # Another thread may be ranking by the one before.
        found = copy.copy(found)
        found.update(generation, now_ms=now_ms)
    while len(cached := list(cache)) >= MAX_COMPILED:
        cache.pop(cached[0], None)
    cache[arm.key] = found
    return found


def steering_warnings(steering: Steering, generation: Generation, now_ms: int) -> tuple[str, ...]:
    """Return warnings about a document on a generation at a time.

    Rules that match no item or every item, pinned items that are unknown or excluded, arms and
    placements that exclude all items. The generation and its cache of compiled arms stay as they
    are.
    """
    found: dict[str, None] = {}
    columns = generation.columns.scratch()
    held = [(arm, "") for arm in steering.resolved]
    placements = [each.name for each in steering.placements]
    held += [(steering.placed(arm, name), name) for name in placements for arm, _ in held]
    for arm, place in held:
        compiled = CompiledArm(generation, arm, columns, now_ms)
        whose = f" in placement {place!r}" if place else ""
        whose += f" for arm {arm.name!r}" if arm.name else ""
        for match, what in [
            *((each, "excludes") for each in compiled.excludes),
            *((each, "keeps only") for each in compiled.onlys),
            *((each, "boosts") for each, _ in compiled.boosts),
        ]:
            n_items = int(match.items.sum())
            if not n_items or n_items == generation.n_items:
                scope = "every item" if n_items else "no item"
                found[f"rule {match.name!r} {what} {scope} of {generation.n_items}"] = None
        for rule in arm.rules:
            for item in rule.items if isinstance(rule, Pin) else ():
                at = generation.rows.get(item)
                if at is None:
                    found[f"rule {rule.name!r} pins {item!r}, which is not in the catalogue"] = None
                elif compiled.mask is not None and not compiled.mask[at]:
                    by = f"rule {name!r}" if (name := compiled.excluded_by(at)) else "the catalogue"
                    found[f"rule {rule.name!r} pins {item!r}, which {by} excludes"] = None
        if compiled.mask is not None and not compiled.mask.any():
            found[f"no item is left to list{whose}"] = None
    return tuple(found)


def neighbour_gain(
    generation: Generation, arm: Arm, name: Literal["content", "behaviour"]
) -> float:
    """Return the gain of a neighbour table in an arm: ``content`` or ``behaviour``."""
    part: float = 1.0 if arm.blend is None else getattr(arm.blend, name)
    return part * generation.scoring.gain(name)


def neighbour_tables(generation: Generation, arm: Arm) -> tuple[NeighbourTable, NeighbourTable]:
    """Return the tables of content and behaviour neighbours of an arm."""
    content, behaviour = generation.content, generation.behaviour
    multiplier = generation.content_multiplier
    gain = neighbour_gain(generation, arm, "content")
    by_content = NeighbourTable(content.rows, content.weights, gain, multiplier)
    gain = neighbour_gain(generation, arm, "behaviour")
    return by_content, NeighbourTable(behaviour.rows, behaviour.weights, gain, _NO_MULTIPLIER)


def matches(
    condition: Condition, generation: Generation, columns: AttributeColumns, now_ms: int = 0
) -> Bools:
    """Return the items of a generation that meet a condition at a time, (m,) bool."""
    met = np.ones(generation.n_items, np.bool_)
    for each in _tests(condition, generation, columns, now_ms):
        met &= each
    return met


def _tests(
    condition: Condition, generation: Generation, columns: AttributeColumns, now_ms: int
) -> Iterator[Bools]:
    """Yield, for each field of a condition, the items that meet it."""
    grammar = columns.grammar
    if condition.category is not None:
        yield columns.category.where(within_any(as_texts(condition.category), grammar))
    if condition.brand is not None:
        brands = {canonical(each, grammar).casefold() for each in as_texts(condition.brand)}
        yield columns.brand.where(lambda each: canonical(each, grammar).casefold() in brands)
    if condition.price is not None:
        yield _inside(columns.price, condition.price)
    if condition.users is not None:
        yield _inside(_counts(generation), condition.users)
    if condition.items is not None:
        named = np.zeros(generation.n_items, np.bool_)
        named[[generation.rows[item] for item in condition.items if item in generation.rows]] = True
        yield named
    for name, test in (condition.attributes or {}).items():
        column = columns.attribute(name)
        yield (
            column.codes == 0
            if test.exists is False
            else column.where(
                attribute_predicate(test, now_ms, lambda text: canonical(text, grammar))
            )
        )
    for at, moments in enumerate((condition.from_, condition.until)):
        if moments is not None:
            yield _inside(columns.times[:, at], _span_ms(moments, now_ms))
    yield from _nested(condition, generation, columns, now_ms)


def _nested(
    condition: Condition, generation: Generation, columns: AttributeColumns, now_ms: int
) -> Iterator[Bools]:
    """Yield, for each inner condition, the items that meet it."""
    for part in condition.all or ():
        yield matches(part, generation, columns, now_ms)
    if condition.any is not None:
        yield np.logical_or.reduce(
            [matches(part, generation, columns, now_ms) for part in condition.any]
        )
    if condition.not_ is not None:
        yield ~matches(condition.not_, generation, columns, now_ms)


def _span_ms(moments: Moments, now_ms: int) -> Range:
    """Return times as a range of milliseconds since 1970."""

    def ms(bound: str | Now | None) -> float | None:
        return now_ms + 1000.0 * bound.now if isinstance(bound, Now) else moment_ms(bound)

    return Range(ms(moments.min), ms(moments.max))


def _counts(generation: Generation) -> NDArray[np.float64]:
    """Return the number of users of each item; 0 without factors."""
    if generation.model is None:
        return np.zeros(generation.n_items)
    return generation.model.item_counts.astype(np.float64)


def _tests_counts(condition: Condition) -> bool:
    inner = inner_conditions(condition)
    return condition.users is not None or any(map(_tests_counts, inner))


def _inside(values: NDArray[np.float64], range_: Range) -> Bools:
    """Return which values lie in a range; NaN does not."""
    inside = ~np.isnan(values)
    if range_.min is not None:
        inside &= values >= range_.min
    if range_.max is not None:
        inside &= values <= range_.max
    return inside
