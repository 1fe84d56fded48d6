"""Properties of a user, set by events of type ``profile``, and the context of the newest event."""

from collections.abc import Mapping
from typing import Any

Pairs = tuple[tuple[str, bool | int | float | str], ...]
"""Names and values, in the order of the names."""
MAX_KEPT = 64
"""Properties of a user that are kept; more do not fit."""
MAX_CONTEXT = 16
MAX_TEXT = 64
MIN_INT, MAX_INT = -(2**63), 2**64 - 1
"""The integers that a row can hold (MessagePack)."""


def merged(properties: Pairs, changes: Mapping[str, Any]) -> Pairs:
    """Return properties with some changed; None removes one.

    >>> merged((("age", 30), ("segment", "new")), {"segment": "vip", "age": None})
    (('segment', 'vip'),)
    """
    found = dict(properties) | dict(changes)
    kept = sorted((name, value) for name, value in found.items() if value is not None)
    return tuple(kept[:MAX_KEPT])


def kept_context(context: Mapping[str, Any]) -> Pairs:
    """Return the scalars of an event's context that rules can test: short texts, and integers of 64 bits."""
    if not context:
        return ()
    kept = (
        (name, value)
        for name, value in sorted(context.items())
        if isinstance(value, float)
        or (isinstance(value, bool | int) and MIN_INT <= value <= MAX_INT)
        or (isinstance(value, str) and len(value) <= MAX_TEXT)
    )
    return tuple(kept)[:MAX_CONTEXT]
