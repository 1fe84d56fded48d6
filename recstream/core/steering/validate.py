"""Decode and validate a steering document."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from recstream.core.events import EventWeights
from recstream.core.json_input import check_depth, decode_json
from recstream.core.steering.arms import Arm
from recstream.core.steering.document import (
    MAX_BYTES,
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_RULES,
    Steering,
    encode_steering,
)
from recstream.core.steering.options import Blend
from recstream.core.steering.placements import override
from recstream.core.steering.request import ListRequest
from recstream.core.steering.rules import (
    MAX_VALUES,
    AttributeTest,
    Audience,
    Bound,
    Condition,
    Exclude,
    Moments,
    Now,
    Only,
    Pin,
    Range,
    Rule,
    Texts,
    as_texts,
    inner_conditions,
    instant,
    moment_ms,
)
from recstream.errors import InvalidSetting, InvalidSteering

MAX_REQUEST_TESTS = 100
"""Maximum number of conditions and attribute tests in one request.

Each visits every distinct value of the items, and any client may send requests."""

_decoder = msgspec.json.Decoder(Steering)
_plain_decoder = msgspec.json.Decoder()


def decode_steering(raw: bytes | str) -> Steering:
    """Decode and check a document.

    Raises
    ------
    InvalidSteering
        With a pointer to the first invalid part.
    """
    plain = decode_json(_plain_decoder.decode, raw, InvalidSteering, max_bytes=MAX_BYTES)
    check_depth(plain, InvalidSteering)
    return check_steering(
        decode_json(
            _decoder.decode,
            raw,
            InvalidSteering,
            max_bytes=MAX_BYTES,
            names_field=False,
            kind=Steering,
        )
    )


def _require(is_valid: object, message: str, pointer: str = "") -> None:
    """Raise `InvalidSteering` unless a part of a document is valid."""
    if not is_valid:
        raise InvalidSteering(message, pointer=pointer)


def check_steering(steering: Steering) -> Steering:
    """Return the document if it is consistent and within limits.

    Raises
    ------
    InvalidSteering
    """
    n_bytes = len(encode_steering(steering))
    _require(n_bytes <= MAX_BYTES, f"expected at most {MAX_BYTES} bytes, got {n_bytes}")
    _check_rules(steering.rules, "/rules")
    _check_blend(steering.blend, "/blend")
    names: set[str] = set()
    for at, arm in enumerate(steering.arms):
        message = f"arms must have names of their own, {arm.name!r} comes twice"
        _require(arm.name not in names, message, f"/arms/{at}/name")
        names.add(arm.name)
        _check_arm(arm, f"/arms/{at}", {rule.name for rule in steering.rules})
        _check_rules(steering.resolved[at].rules, f"/arms/{at}/rules")
    _check_placements(steering)
    total = sum(arm.share for arm in steering.arms)
    if steering.arms and abs(total - 1.0) > 1e-6:  # noqa: PLR2004 - room for sums like 3 · 1/3
        raise InvalidSteering(f"the arms' shares must sum to 1, got {total:g}", pointer="/arms")
    return steering


def _check_placements(steering: Steering) -> None:
    """Raise unless placements have names of their own, and each is valid with every arm."""
    arms = {arm.name: arm for arm in steering.arms}
    for at, place in enumerate(steering.placements):
        pointer = f"/placements/{at}"
        is_own = steering.placement(place.name) is place and place.name.isprintable()
        message = f"placements must have printable names of their own, got {place.name!r}"
        _require(is_own, message, f"{pointer}/name")
        message = f"no arm is named {place.arm!r}; known: {', '.join(arms) or 'none'}"
        _require(not place.arm or place.arm in arms, message, f"{pointer}/arm")
        known = {rule.name for arm in steering.resolved for rule in arm.rules}
        _check_without(place.without, known, pointer)
        if place.blend is not None:
            _check_blend(place.blend, f"{pointer}/blend")
        _check_rules(place.rules, f"{pointer}/rules")
        for arm in steering.resolved:
            _check_rules(override(arm, place, arm).rules, f"{pointer}/rules")


def check_request(request: ListRequest, steering: Steering | None) -> ListRequest:
    """Return a request if its conditions are valid and do not contradict each other.

    Raises
    ------
    InvalidSteering
        With a pointer to the first invalid part.
    """
    if request.offset and request.cursor:
        raise InvalidSteering("expected offset or cursor, got both", pointer="/cursor")
    if request.placement and (steering is None or steering.placement(request.placement) is None):
        known = () if steering is None else (each.name for each in steering.placements)
        raise InvalidSteering(
            f"no placement is named {request.placement!r}; known: {', '.join(known) or 'none'}",
            pointer="/placement",
        )
    shaping = [*request.boost, *([] if request.filter is None else [request.filter])]
    n_bytes = len(msgspec.json.encode(shaping))
    message = f"expected filter and boost of at most {MAX_BYTES} bytes, got {n_bytes}"
    _require(n_bytes <= MAX_BYTES, message)
    n_tests = 0
    if request.filter is not None:
        n_tests += _check_condition(request.filter, "/filter", 1) + _n_attributes(request.filter)
        wanted = request.filter.items
        if wanted is not None and set(wanted) <= set(request.exclude):
            raise InvalidSteering(
                "filter allows only items that exclude names; no item is left", pointer="/filter"
            )
    for at, boost in enumerate(request.boost):
        n_tests += _check_condition(boost.where, f"/boost/{at}/where", 1)
        n_tests += _n_attributes(boost.where)
    if n_tests > MAX_REQUEST_TESTS:
        raise InvalidSteering(
            f"filter and boost together may test at most {MAX_REQUEST_TESTS} conditions and "
            f"attributes, got {n_tests}; use one condition with several values"
        )
    return request


def _n_attributes(condition: Condition) -> int:
    """Return the number of attributes that a condition and those inside it test."""
    return len(condition.attributes or ()) + sum(map(_n_attributes, inner_conditions(condition)))


def _check_arm(arm: Arm, pointer: str, known: set[str]) -> None:
    """Raise unless an arm is valid; ``known`` are the names of the document's rules."""
    is_named = arm.name.isprintable() and arm.name.strip()
    _require(is_named, f"an arm's name must be printable, got {arm.name!r}", f"{pointer}/name")
    _check_without(arm.without, known, pointer)
    if arm.blend is not None:
        _check_blend(arm.blend, f"{pointer}/blend")
    _check_folding(arm, pointer)
    _check_audience(arm.when, f"{pointer}/when")
    _check_rules(arm.rules, f"{pointer}/rules")


def _check_without(without: tuple[str, ...], known: set[str], pointer: str) -> None:
    for place, name in enumerate(without):
        message = f"no rule is named {name!r}; known: {', '.join(sorted(known)) or 'none'}"
        _require(name in known, message, f"{pointer}/without/{place}")


def _check_audience(when: Audience | None, pointer: str) -> None:
    if when is None:
        return
    _require(when.user or when.context, "expected tests of user or context", pointer)
    for name, tests in (("user", when.user), ("context", when.context)):
        if tests is not None:
            _check_attributes(tests, f"{pointer}/{name}")
        for of, test in (tests or {}).items():
            is_fixed = not (isinstance(test.min, Now) or isinstance(test.max, Now))
            _require(is_fixed, "expected no bound relative to now", f"{pointer}/{name}/{of}")


def _check_folding(arm: Arm, pointer: str) -> None:
    """Raise unless an arm's fold settings are valid."""
    is_number = arm.half_life_ms is None or math.isfinite(arm.half_life_ms)
    _require(is_number, "expected a number of milliseconds", f"{pointer}/half_life_ms")
    known = EventWeights.__struct_fields__
    for name, weight in (arm.weights or {}).items():
        message = f"expected one of {', '.join(known)}, got {name!r}"
        _require(name in known, message, f"{pointer}/weights")
        try:
            EventWeights(**{name: weight})
        except InvalidSetting as error:
            raise InvalidSteering(str(error), pointer=f"{pointer}/weights/{name}") from error


def _check_blend(blend: Blend, pointer: str) -> None:
    has_source = any(getattr(blend, name) > 0.0 for name in blend.__struct_fields__)
    _require(has_source, "one source of scores at least must be above 0", pointer)


def _check_rules(rules: tuple[Rule, ...], pointer: str) -> None:
    """Raise unless rules are few, have distinct names, and surely do not contradict each other."""
    message = f"expected at most {MAX_RULES} rules, got {len(rules)}"
    _require(len(rules) <= MAX_RULES, message, pointer)
    names: set[str] = set()
    places: dict[int, str] = {}
    pinned: dict[str, str] = {}
    n_conditions = 0
    for at, rule in enumerate(rules):
        where = f"{pointer}/{at}"
        message = f"a rule's name must be printable, got {rule.name!r}"
        _require(rule.name.isprintable(), message, f"{where}/name")
        message = f"rules must have names of their own, {rule.name!r} comes twice"
        _require(rule.name not in names, message, f"{where}/name")
        names.add(rule.name)
        _check_audience(rule.when, f"{where}/when")
        if isinstance(rule, Pin):
            for offset, item in enumerate(rule.items):
                other = pinned.get(item, places.get(rule.at + offset))
                message = (
                    f"rule {rule.name!r} pins {item!r} to place {rule.at + offset}, "
                    f"rule {other!r} has that item or that place already"
                )
                _require(other is None, message, f"{where}/items/{offset}")
                pinned[item] = places[rule.at + offset] = rule.name
        else:
            n_conditions += _check_condition(rule.where, f"{where}/where", 1)
    message = f"expected at most {MAX_CONDITIONS} conditions, got {n_conditions}"
    _require(n_conditions <= MAX_CONDITIONS, message, pointer)
    _check_pins(rules, pinned, pointer)


def _check_pins(rules: tuple[Rule, ...], pinned: dict[str, str], pointer: str) -> None:
    """Raise if a rule excludes a pinned item by its id."""
    for at, rule in enumerate(rules):
        if not isinstance(rule, Exclude | Only) or rule.where != Condition(items=rule.where.items):
            continue
        named = set(rule.where.items or ())
        hit = [item for item in pinned if (item in named) is isinstance(rule, Exclude)]
        if hit:
            raise InvalidSteering(
                f"rule {pinned[hit[0]]!r} pins {hit[0]!r}, which rule {rule.name!r} leaves out",
                pointer=f"{pointer}/{at}",
            )


def _check_condition(condition: Condition, pointer: str, depth: int) -> int:
    """Return the number of conditions in one; raise if one of them is invalid."""
    message = f"conditions may be nested {MAX_DEPTH} deep, got more"
    _require(depth <= MAX_DEPTH, message, pointer)
    _require(condition != Condition(), "a condition must say something, got {}", pointer)
    _check_fields(condition, pointer)
    n_conditions = 1
    for place, part in _inner(condition):
        n_conditions += _check_condition(part, f"{pointer}/{place}", depth + 1)
    return n_conditions


def _check_fields(condition: Condition, pointer: str) -> None:
    """Raise unless each field of a condition is valid; inner conditions are not checked."""
    for name in ("category", "brand"):
        texts: Texts | None = getattr(condition, name)
        is_valid = texts is None or (0 < len(texts) <= MAX_VALUES and "" not in as_texts(texts))
        message = f"expected a text, or 1 to {MAX_VALUES} of them"
        _require(is_valid, message, f"{pointer}/{name}")
    for name in ("price", "users", "from_", "until"):
        span: Range | Moments | None = getattr(condition, name)
        if span is not None:
            place = f"{pointer}/{name.rstrip('_')}"
            _check_bounds(span.min, span.max, place, is_time=isinstance(span, Moments))
    _require(condition.items != (), "expected at least one item", f"{pointer}/items")
    if condition.attributes is not None:
        _check_attributes(condition.attributes, f"{pointer}/attributes")
    for name in ("all", "any"):
        has_part = getattr(condition, name) != ()
        _require(has_part, "expected at least one condition", f"{pointer}/{name}")


def _inner(condition: Condition) -> Iterator[tuple[str, Condition]]:
    """Yield the inner conditions of one, each with its pointer."""
    for name in ("all", "any"):
        for at, part in enumerate(getattr(condition, name) or ()):
            yield f"{name}/{at}", part
    if condition.not_ is not None:
        yield "not", condition.not_


def _check_bounds(
    least: Bound | None, most: Bound | None, pointer: str, *, is_time: bool = False
) -> None:
    for name, bound in (("min", least), ("max", most)):
        is_known = not (is_time and isinstance(bound, str)) or moment_ms(bound) is not None
        message = f"expected a time like 2026-11-22T10:00:00Z, got {bound!r}"
        _require(is_known, message, f"{pointer}/{name}")
        is_finite = not isinstance(bound, float) or math.isfinite(bound)
        _require(is_finite, "expected a finite number", f"{pointer}/{name}")
    _require(not (least is None and most is None), "expected min, max or both", pointer)
    if isinstance(least, Now) and isinstance(most, Now):
        least, most = least.now, most.now
    if isinstance(least, Now) or isinstance(most, Now):
        return
    if least is not None and most is not None:
        are_alike = isinstance(least, str) is isinstance(most, str)
        _require(are_alike, "min and max must both be numbers or both be text", pointer)
        is_above = _is_above(least, most, is_time=is_time)
        _require(not is_above, f"min {least!r} is above max {most!r}", pointer)


def _is_above(least: Any, most: Any, *, is_time: bool) -> bool:
    """Return whether a bound is above another of its kind; times with zones compare as times."""
    if isinstance(least, str):
        read = moment_ms if is_time else instant
        times: tuple[Any, Any] = read(least), read(most)
        if None not in times:
            least, most = times
    return bool(least > most)


def _check_attributes(attributes: dict[str, AttributeTest], pointer: str) -> None:
    _require(attributes, "expected at least one attribute", pointer)
    for name, test in attributes.items():
        where = f"{pointer}/{name}"
        _require(test != AttributeTest(), "expected eq, in, min, max or exists", where)
        _require(test.one_of != (), "expected at least one value", f"{where}/in")
        if test.min is not None or test.max is not None:
            _check_bounds(test.min, test.max, where)
        is_alone = test.exists is not False or test == AttributeTest(exists=False)
        _require(is_alone, "what does not exist has no value to test", where)
