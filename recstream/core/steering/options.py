"""Options of a list as a whole: blend of scores, diversity, impression fatigue, dislikes."""

from typing import Annotated, Literal

import msgspec

from recstream.core.steering.rules import Name, Rule, Strict

MAX_BLEND = 10.0
JSON_NAMES = {"fatigue": "rotation", "cold_start_share": "newcomers"}

Gain = Annotated[float, msgspec.Meta(ge=0.0, le=MAX_BLEND)]


class Blend(Strict, frozen=True):
    """Factors on each source of a score, relative to the generation's own weights."""

    factors: Gain = 1.0
    popularity: Gain = 1.0
    content: Gain = 1.0
    behaviour: Gain = 1.0


Aspect = Literal["category", "brand", "taste"]
ASPECTS: tuple[Aspect, ...] = ("category", "brand", "taste")


class Diversity(Strict, frozen=True):
    """Trade score for diversity of a list (maximal marginal relevance).

    Attributes
    ----------
    strength : float
        0 orders by score alone, 1 by diversity alone.
    by : tuple of str
        What makes items similar: equal category, equal brand, similar factors. Their mean counts.
    """

    strength: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
    by: tuple[Aspect, ...] = ASPECTS


class Dislikes(Strict, frozen=True):
    """Dislikes push away similar items.

    Attributes
    ----------
    strength : float
        What the score of an item loses for a disliked one that is as similar as can be, in typical
        scores.
    """

    strength: Annotated[float, msgspec.Meta(ge=0.0, le=MAX_BLEND)] = 1.0


class ImpressionFatigue(Strict, frozen=True):
    """Impression fatigue: an item shown and ignored cools down.

    After ``after`` impressions without an event of the user on the item, it is excluded until
    enough other items have been shown.
    """

    after: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 3


class ListOptions(Strict, frozen=True, kw_only=True, rename=JSON_NAMES):
    """Rules and options of lists.

    Attributes
    ----------
    fatigue : ImpressionFatigue or None
        ``rotation`` in JSON.
    cold_start_share : float or None
        ``newcomers`` in JSON. Part of a list's slots, rounded down, reserved for cold items. None:
        the generation's own.
    dislikes : Dislikes or None
        None: a dislike only keeps the item itself out.
    """

    rules: tuple[Rule, ...] = ()
    diversity: Diversity | None = None
    fatigue: ImpressionFatigue | None = None
    cold_start_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    dislikes: Dislikes | None = None


class ListOverrides(ListOptions, frozen=True, kw_only=True):
    """How some lists differ from the document's; absent options are the document's.

    Attributes
    ----------
    rules : tuple of Rule
        Added to the document's; a rule of the same name replaces it.
    without : tuple of str
        Names of the document's rules that do not apply.
    """

    name: Name
    blend: Blend | None = None
    min_relevance: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    without: tuple[str, ...] = ()
