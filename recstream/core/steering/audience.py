"""Test attribute values, and the audience (users, contexts) of a rule or an arm."""

from collections.abc import Callable, Mapping
from typing import Any

from recstream.core.steering.rules import AttributeTest, Audience, Now, instant, moment_ms


def is_for(
    when: Audience | None, properties: Mapping[str, Any], context: Mapping[str, Any]
) -> bool:
    """Return whether an audience holds for a user's properties and the context of a list."""
    if when is None:
        return True
    return all(
        _holds(test, values.get(name))
        for tests, values in ((when.user, properties), (when.context, context))
        for name, test in (tests or {}).items()
    )


def _holds(test: AttributeTest, value: Any) -> bool:
    return value is None if test.exists is False else attribute_predicate(test)(value)


def attribute_predicate(
    test: AttributeTest, now_ms: int = 0, form: Callable[[str], str] = str
) -> Callable[[Any], bool]:
    """Return a predicate for attribute values; a list passes if one of its values passes.

    Parameters
    ----------
    form : callable
        Returns a text in the form in which texts are compared.
    """

    def plain(value: Any) -> Any:
        return form(value) if isinstance(value, str) else value

    eq, low, high = plain(test.eq), plain(test.min), plain(test.max)
    wanted = None if test.one_of is None else {_kind_and_value(plain(each)) for each in test.one_of}

    def one(value: Any) -> bool:
        if value is None:
            return False
        value = plain(value)
        if eq is not None and _kind_and_value(value) != _kind_and_value(eq):
            return False
        if wanted is not None and (
            isinstance(value, dict | list) or _kind_and_value(value) not in wanted
        ):
            return False
        return _within(value, low, now_ms, 1) and _within(value, high, now_ms, -1)

    def passes(value: Any) -> bool:
        if isinstance(value, list | tuple):
            return any(one(each) for each in value) or test == AttributeTest(exists=True)
        return one(value)

    return passes


def _kind_and_value(value: Any) -> tuple[bool, Any]:
    """Return a key that is equal for equal scalars; a boolean equals no number."""
    return isinstance(value, bool), value


def _within(value: Any, bound: Any, now_ms: int, sign: int) -> bool:
    """Return whether a value is at least (sign 1) or at most (-1) a bound; None is no bound.

    Numbers and text do not compare; a bound relative to now compares with times. Times of different
    zones compare as times, not as text.
    """
    if bound is None:
        return True
    if isinstance(bound, Now):
        value, bound = moment_ms(value), now_ms + 1000.0 * bound.now
    numbers = (int, float)
    if isinstance(value, bool) or isinstance(bound, bool):
        return False
    is_alike = isinstance(value, numbers) and isinstance(bound, numbers)
    if not is_alike and not (isinstance(value, str) and isinstance(bound, str)):
        return False
    if not is_alike and (time := instant(bound)) and (found := instant(value)):
        value, bound = found, time
    return bool(value >= bound if sign > 0 else value <= bound)
