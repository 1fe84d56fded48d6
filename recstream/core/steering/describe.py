"""Describe a steering document in sentences for people."""

from collections.abc import Iterator

from recstream.core.steering.arms import Arm
from recstream.core.steering.document import Steering
from recstream.core.steering.options import Blend
from recstream.core.steering.placements import Placement
from recstream.core.steering.rules import (
    AttributeTest,
    Audience,
    Boost,
    Bound,
    Condition,
    Exclude,
    Now,
    Pin,
    Rule,
    as_texts,
)

MAX_ITEMS = 3


def describe_steering(steering: Steering) -> tuple[str, ...]:
    """Return a document as sentences, one a rule.

    >>> from recstream.core.steering.validate import decode_steering
    >>> describe_steering(decode_steering('{"rules": [{"action": "boost", "name": "push", "by": 0.5, '
    ...                 '"where": {"brand": "Acme", "price": {"max": 20}}}]}'))
    ('push: boost brand Acme and price at most 20 by 0.5',)
    """
    sentences = [_rule(rule) for rule in steering.rules]
    sentences += _whole(steering)
    for arm in steering.arms:
        whose = f"{arm.share:.0%} of users{_audience(arm.when)}"
        sentences.append(f"arm {arm.name}, {whose}: {_arm(arm)}")
    for place in steering.placements:
        size = f", {place.size} items" if place.size else ""
        lead = f", as arm {place.arm}" if place.arm else ""
        sentences.append(f"placement {place.name}{size}{lead}: {_parts(place)}")
    return tuple(sentences)


def _parts(of: Arm | Placement) -> str:
    sentences = [_rule(rule) for rule in of.rules]
    sentences += [f"without {name}" for name in of.without]
    return "; ".join([*sentences, *_whole(of)]) or "as all"


def _arm(arm: Arm) -> str:
    sentences = [_rule(rule) for rule in arm.rules]
    sentences += [f"without {name}" for name in arm.without]
    sentences += _whole(arm)
    sentences += [f"{kind} weighs {weight:g}" for kind, weight in (arm.weights or {}).items()]
    if arm.half_life_ms is not None:
        sentences.append(f"events count half after {arm.half_life_ms / 86_400_000:g} days")
    return "; ".join(sentences) or "as all"


def _whole(of: Steering | Arm | Placement) -> Iterator[str]:
    blend, diversity, fatigue = of.blend, of.diversity, of.fatigue
    if blend is not None and blend != Blend():
        gains = {name: getattr(blend, name) for name in blend.__struct_fields__}
        yield "blend: " + ", ".join(f"{name} × {gain:g}" for name, gain in gains.items())
    if diversity is not None and diversity.strength:
        yield f"diversity {diversity.strength:g} by {', '.join(diversity.by)}"
    if fatigue is not None:
        yield f"rotate what was shown {fatigue.after} times and ignored"
    if of.dislikes is not None:
        yield f"dislikes push away similar items by {of.dislikes.strength:g}"
    if of.min_relevance:
        yield f"nothing below {of.min_relevance:.0%} of the best personal score"
    if of.cold_start_share is not None:
        yield f"{of.cold_start_share:.0%} of the slots for cold items"


def _rule(rule: Rule) -> str:
    return _action(rule) + _audience(rule.when)


def _audience(when: Audience | None) -> str:
    if when is None:
        return ""
    tests = [
        f"{of}'s {name} {_test(test)}"
        for of, tests in (("user", when.user), ("context", when.context))
        for name, test in (tests or {}).items()
    ]
    return " if " + " and ".join(tests)


def _action(rule: Rule) -> str:
    if isinstance(rule, Pin):
        return f"{rule.name}: pin {_some(rule.items)} from place {rule.at} on"
    if isinstance(rule, Boost):
        return f"{rule.name}: boost {_condition(rule.where)} by {rule.by:g}"
    verb = "leave out" if isinstance(rule, Exclude) else "list only"
    return f"{rule.name}: {verb} {_condition(rule.where)}"


def _condition(condition: Condition) -> str:
    return " and ".join(_conditions(condition))


def _conditions(condition: Condition) -> Iterator[str]:
    for name, texts in (("category", condition.category), ("brand", condition.brand)):
        if texts is not None:
            yield f"{name} {' or '.join(as_texts(texts))}"
    spans = {name: getattr(condition, name) for name in ("price", "users", "from_", "until")}
    for name, span in spans.items():
        if span is not None:
            yield f"{name.rstrip('_')} {_span(span.min, span.max)}"
    for name, test in (condition.attributes or {}).items():
        yield f"{name} {_test(test)}"
    if condition.items is not None:
        yield f"items {_some(condition.items)}"
    if condition.all is not None:
        yield " and ".join(f"({_condition(part)})" for part in condition.all)
    if condition.any is not None:
        yield "(" + " or ".join(f"({_condition(part)})" for part in condition.any) + ")"
    if condition.not_ is not None:
        yield f"not ({_condition(condition.not_)})"


def _test(test: AttributeTest) -> str:
    sentences = []
    if test.exists is not None:
        sentences.append("given" if test.exists else "not given")
    if test.eq is not None:
        sentences.append(f"= {test.eq}")
    if test.one_of is not None:
        sentences.append(f"one of {_some(tuple(map(str, test.one_of)))}")
    if test.min is not None or test.max is not None:
        sentences.append(_span(test.min, test.max))
    return " and ".join(sentences)


def _span(least: Bound | None, most: Bound | None) -> str:
    if least is not None and most is not None:
        return f"from {_bound(least)} to {_bound(most)}"
    return f"at least {_bound(least)}" if most is None else f"at most {_bound(most)}"


def _bound(bound: Bound | None) -> str:
    if isinstance(bound, Now):
        days = abs(bound.now) / 86_400
        side = "ago" if bound.now < 0 else "ahead"
        return f"{days:g} day{'' if days == 1 else 's'} {side}" if bound.now else "now"
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _some(items: tuple[str, ...]) -> str:
    """Return the first few items, and how many more there are."""
    more = len(items) - MAX_ITEMS
    return ", ".join(items[:MAX_ITEMS]) + (f" and {more} more" if more > 0 else "")
