"""Placements: named places of a shop, such as its home page or cart, with lists of their own."""

from typing import Annotated

import msgspec

from recstream.core.steering.arms import Arm
from recstream.core.steering.options import ListOptions, ListOverrides
from recstream.core.steering.rules import MAX_POSITION


class Placement(ListOverrides, frozen=True, kw_only=True):
    """Where a list is displayed, and how it differs from the user's other lists.

    Attributes
    ----------
    name : str
        Requests and subscriptions name it.
    size : int or None
        Items of a list whose request names no number.
    arm : str
        The arm whose rules and options hold here for everybody; empty: each user's own.
    """

    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_POSITION)] | None = None
    arm: str = ""


OPTIONS = ("blend", "diversity", "fatigue", "min_relevance", "cold_start_share", "dislikes")


def override(base: ListOptions, over: ListOverrides, into: Arm) -> Arm:
    """Return an arm with the rules and options of ``base``, where ``over`` has none of its own.

    The other fields of ``into`` are kept.
    """
    replaced = {rule.name for rule in over.rules} | set(over.without)
    kept = tuple(rule for rule in base.rules if rule.name not in replaced)
    options = {
        name: getattr(base, name) if (own := getattr(over, name)) is None else own
        for name in OPTIONS
    }
    return msgspec.structs.replace(into, **options, rules=(*kept, *over.rules), without=())
