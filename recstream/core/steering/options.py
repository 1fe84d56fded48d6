"""Options of a list as a whole: blend of scores, diversity, impression fatigue, dislikes."""

from typing import Annotated, Literal

import msgspec

from recstream.core.steering.rules import Strict

MAX_BLEND = 10.0

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

    After ``after`` impressions without an event of the user on the item, it is excluded until enough
    other items have been shown.
    """

    after: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 3
