"""Placements: named places of a shop, such as its home page or cart, with lists of their own."""

from typing import Annotated

import msgspec

from recstream.core.steering.arms import JSON_NAMES, Arm
from recstream.core.steering.options import Blend, Dislikes, Diversity, ImpressionFatigue
from recstream.core.steering.rules import MAX_POSITION, Name, Rule, Strict


class Placement(Strict, frozen=True, kw_only=True, rename=JSON_NAMES):
    """Where a list is displayed, and how it differs from the user's other lists.

    Attributes
    ----------
    name : str
        Requests and subscriptions name it.
    size : int or None
        Items of a list whose request names no number.
    arm : str
        The arm whose rules and options hold here for everybody; empty: each user's own.
    rules, without, and options
        As in `recstream.core.steering.arms.Arm`, on top of the arm's.
    """

    name: Name
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_POSITION)] | None = None
    arm: str = ""
    blend: Blend | None = None
    diversity: Diversity | None = None
    fatigue: ImpressionFatigue | None = None
    min_relevance: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    cold_start_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    rules: tuple[Rule, ...] = ()
    without: tuple[str, ...] = ()
    dislikes: Dislikes | None = None


OPTIONS = ("blend", "diversity", "fatigue", "min_relevance", "cold_start_share", "dislikes")


def override(base: msgspec.Struct, over: Arm | Placement, into: Arm) -> Arm:
    """Return an arm with the rules and options of ``base``, where ``over`` has none of its own.

    Parameters
    ----------
    base : Steering or Arm
    over : Arm or Placement
    into : Arm
        Its other fields are kept.
    """
    replaced = {rule.name for rule in over.rules} | set(over.without)
    rules: tuple[Rule, ...] = getattr(base, "rules")  # noqa: B009 - of either type
    kept = tuple(rule for rule in rules if rule.name not in replaced)
    own = {name: getattr(over, name) for name in OPTIONS}
    options = {
        name: getattr(base, name) if option is None else option for name, option in own.items()
    }
    return msgspec.structs.replace(into, **options, rules=(*kept, *over.rules), without=())
