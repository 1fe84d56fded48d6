"""Step 8 of the flow: a steering document carried out on a generation: masks, priors, boosts, pins.

Made once an arm and generation, and made again when deltas moved the generation: lists depend on
(generation, delta, document, arm) alone. Costs one pass over the items a condition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.content import AttributeColumns, ColdStart, is_within
from recstream.core.generation import Generation
from recstream.core.neighbours import Neighbours
from recstream.core.numeric.arrays import Float32s
from recstream.core.ranking.batch import Near, Shape
from recstream.core.steering import (
    Arm,
    AttributeTest,
    Boost,
    Condition,
    Exclude,
    Pin,
    Range,
    Steering,
    as_texts,
)

Bools = NDArray[np.bool_]
_NO_WORTH = np.empty(0, np.float32)
KEPT = 32
"""Arms of documents that a generation remembers the carrying out of."""


class Match(NamedTuple):
    """The items that a rule names."""

    name: str
    items: Bools


class Steered:
    """An arm on a generation, as of one delta.

    Attributes
    ----------
    arm : Arm
    excludes, onlys : list of Match
    boosts : list of (Match, float)
        Each with what it adds to the score.
    mask : (m,) bool or None
        False for what no list may hold; None if all may.
    index : ItemIndex
        The generation's, with the arm's priors and boosts for bias.
    pins : list of (place, row, name)
        By place, from 0; only of items that the generation knows.
    shape : Shape
        Pins and the rules for lists as a whole, for `recstream.core.ranking.rerank_kernel`.
    near, more : Near
        What content and behaviour neighbours add.
    newcomer_share : float
        Part of a list's places that is kept for items nobody has touched.
    """

    def __init__(self, generation: Generation, arm: Arm) -> None:
        self.arm = arm
        self._facts_version = -1
        self.delta = -1
        self.excludes: list[Match] = []
        self.onlys: list[Match] = []
        self.boosts: list[tuple[Match, float]] = []
        self.pins: list[tuple[int, int, str]] = []
        self._added: NDArray[np.float64] | None = None
        self._rules_mask: Bools | None = None
        self.mask: Bools | None = None
        self.index = generation.index
        self.update(generation)

    def update(self, generation: Generation) -> None:
        """Bring it up to the generation's newest delta."""
        if self.delta == generation.delta:
            return
        facts = generation.facts
        if self._facts_version != facts.version or self._has_counts:
            self._match(generation, facts)
            self._facts_version = facts.version
        listable = generation.listable
        self.mask = self._rules_mask
        if listable is not None:
            self.mask = listable.copy() if self.mask is None else self.mask & listable
        gain = self.arm.blend.popularity if self.arm.blend is not None else 1.0
        if self._added is None and gain == 1.0:
            self.index = generation.index
        else:
            bias = gain * generation.bias.astype(np.float64)
            if self._added is not None:
                bias += self._added
            self.index = generation.index.with_bias(bias.astype(np.float32))
        worth, alike = generation.content_worth, gain_of(generation, self.arm, "content")
        self.near = _near(generation.content, alike, worth)
        self.more = _near(generation.behaviour, gain_of(generation, self.arm, "behaviour"))
        kept = ColdStart.of(generation.hyperparameters)
        share = kept.share if self.arm.cold_start_share is None else self.arm.cold_start_share
        # Without being alike, or where entries are not counted, nobody is known to be one.
        self.newcomer_share = share if alike > 0.0 and len(worth) else 0.0
        self.shape = self._shape(kept.threshold)
        self.delta = generation.delta

    def _shape(self, newest: float) -> Shape:
        diversity = self.arm.diversity
        return Shape(
            pin_places=np.array([place for place, _, _ in self.pins], np.int32),
            pin_rows=np.array([row for _, row, _ in self.pins], np.int32),
            min_relevance=self.arm.min_relevance or 0.0,
            strength=0.0 if diversity is None else diversity.strength,
            aspects=self._aspects,
            by_taste=diversity is not None and "taste" in diversity.by,
            newest=newest,
        )

    @property
    def _has_counts(self) -> bool:
        """Whether a rule looks at how many users an item has, which moves with every delta."""
        return any(_asks_counts(rule.where) for rule in self.arm.rules if not isinstance(rule, Pin))

    def _match(self, generation: Generation, facts: AttributeColumns) -> None:
        unit = unit_of_boosts(generation)
        self.excludes, self.onlys, self.boosts, self.pins = [], [], [], []
        for rule in self.arm.rules:
            if isinstance(rule, Pin):
                self.pins += [
                    (rule.at - 1 + at, generation.rows[item], rule.name)
                    for at, item in enumerate(rule.items)
                    if item in generation.rows
                ]
                continue
            match = Match(rule.name, matches(rule.where, generation))
            if isinstance(rule, Boost):
                self.boosts.append((match, rule.by * unit))
            elif isinstance(rule, Exclude):
                self.excludes.append(match)
            else:
                self.onlys.append(match)
        self.pins.sort()
        by = () if self.arm.diversity is None else self.arm.diversity.by
        codes = [column.codes for name, column in facts.columns.items() if name in by]
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

    def kept_out_by(self, row: int) -> str:
        """Return the name of the first rule that keeps an item out of every list, or nothing."""
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
        """Return what rules add to an item's score, by name."""
        return [(match.name, by) for match, by in self.boosts if match.items[row]]


def steered(generation: Generation, arm: Arm) -> Steered:
    """Return an arm carried out on a generation as of its newest delta; remembered by it."""
    found = generation.steered.get(arm.key)
    if found is None:
        while len(generation.steered) >= KEPT:
            del generation.steered[next(iter(generation.steered))]
        found = generation.steered[arm.key] = Steered(generation, arm)
    else:
        found.update(generation)
    result: Steered = found
    return result


def warnings_of(steering: Steering, generation: Generation) -> tuple[str, ...]:
    """Return what a document does on a generation that is hardly meant, in words.

    Rules that name nothing or everything, items that are not there, pins that are left out, arms
    that leave nothing to list.
    """
    told: dict[str, None] = {}
    for arm in steering.resolved:
        way = steered(generation, arm)
        whose = f" for arm {arm.name!r}" if arm.name else ""
        for match, what in [
            *((each, "excludes") for each in way.excludes),
            *((each, "keeps only") for each in way.onlys),
            *((each, "boosts") for each, _ in way.boosts),
        ]:
            n_items = int(match.items.sum())
            if not n_items or n_items == generation.n_items:
                scope = "every item" if n_items else "no item"
                told[f"rule {match.name!r} {what} {scope} of {generation.n_items}"] = None
        for rule in arm.rules:
            for item in rule.items if isinstance(rule, Pin) else ():
                at = generation.rows.get(item)
                if at is None:
                    told[f"rule {rule.name!r} pins {item!r}, which is not there"] = None
                elif way.mask is not None and not way.mask[at]:
                    by = f"rule {name!r}" if (name := way.kept_out_by(at)) else "the catalogue"
                    told[f"rule {rule.name!r} pins {item!r}, which {by} leaves out"] = None
        if way.mask is not None and not way.mask.any():
            told[f"nothing is left to list{whose}"] = None
    return tuple(told)


def gain_of(generation: Generation, arm: Arm, name: str) -> float:
    """Return what a neighbour table counts in an arm's scores: ``content`` or ``behaviour``."""
    part: float = 1.0 if arm.blend is None else getattr(arm.blend, name)
    return part * generation.gain(name)


def _near(table: Neighbours, gain: float, worth: Float32s = _NO_WORTH) -> Near:
    return Near(table.rows, table.weights, gain, worth)


def unit_of_boosts(generation: Generation) -> float:
    """Return what a boost by 1 adds: the mean score of what users have."""
    return float(generation.hyperparameters.get("popularity_unit", 1.0))


def matches(condition: Condition, generation: Generation) -> Bools:
    """Return which items of a generation meet a condition."""
    met = np.ones(generation.n_items, np.bool_)
    for each in _tests(condition, generation):
        met &= each
    return met


def _tests(condition: Condition, generation: Generation) -> Iterator[Bools]:
    """Give, for each field of a condition, which items meet it."""
    facts = generation.facts
    if condition.category is not None:
        prefixes = as_texts(condition.category)
        yield facts.category.where(lambda each: any(is_within(each, p) for p in prefixes))
    if condition.brand is not None:
        brands = {each.casefold() for each in as_texts(condition.brand)}
        yield facts.brand.where(lambda each: each.casefold() in brands)
    if condition.price is not None:
        yield _inside(facts.price, condition.price)
    if condition.users is not None:
        yield _inside(_counts(generation), condition.users)
    if condition.items is not None:
        named = np.zeros(generation.n_items, np.bool_)
        named[[generation.rows[item] for item in condition.items if item in generation.rows]] = True
        yield named
    for name, test in (condition.attributes or {}).items():
        column = facts.attribute(name)
        yield column.codes == 0 if test.exists is False else column.where(_passing(test))
    for part in condition.all or ():
        yield matches(part, generation)
    if condition.any is not None:
        yield np.logical_or.reduce([matches(part, generation) for part in condition.any])
    if condition.not_ is not None:
        yield ~matches(condition.not_, generation)


def _counts(generation: Generation) -> NDArray[np.float64]:
    """Return how many users have each item; 0 without factors, where nobody counted."""
    if generation.model is None:
        return np.zeros(generation.n_items)
    return generation.model.item_counts.astype(np.float64)


def _asks_counts(condition: Condition) -> bool:
    parts = [*(condition.all or ()), *(condition.any or ())]
    if condition.not_ is not None:
        parts.append(condition.not_)
    return condition.users is not None or any(_asks_counts(part) for part in parts)


def _inside(values: NDArray[np.float64], span: Range) -> Bools:
    """Return which values lie in a span; NaN never does."""
    inside = ~np.isnan(values)
    if span.min is not None:
        inside &= values >= span.min
    if span.max is not None:
        inside &= values <= span.max
    return inside


def _passing(test: AttributeTest) -> Callable[[Any], bool]:
    """Return what asks a test of an attribute's value; a list passes if one of its values does."""

    def one(value: Any) -> bool:
        if value is None:
            return False
        if test.eq is not None and not _same(value, test.eq):
            return False
        if test.one_of is not None and not any(_same(value, each) for each in test.one_of):
            return False
        return _above(value, test.min) and _above(test.max, value)

    def passes(value: Any) -> bool:
        if isinstance(value, list | tuple):
            return any(one(each) for each in value) or test == AttributeTest(exists=True)
        return one(value)

    return passes


def _same(value: Any, wanted: Any) -> bool:
    """Return whether two scalars are equal; true is not 1."""
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)


def _above(value: Any, least: Any) -> bool:
    """Return whether ``value >= least``, None for no bound; numbers and text don't compare."""
    if value is None or least is None:
        return True
    numbers = (int, float)
    if isinstance(value, bool) or isinstance(least, bool):
        return False
    if isinstance(value, numbers) and isinstance(least, numbers):
        return bool(value >= least)
    return isinstance(value, str) and isinstance(least, str) and value >= least
