"""Step 8 of the flow, steered: the document by which a shop shapes its lists.

A document is plain JSON: named rules over items (leave out, keep only, boost, pin), and a few numbers
for the list as a whole (blend, diversity, rotation, least relevance). It may name arms: users are
divided among them by a hash, and each arm overrides parts of the document. Bounded in size and
depth, and without loops, so that every document is read and carried out in bounded time.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Literal

import msgspec

from recstream.core.events import MAX_ID_CHARACTERS

MAX_BYTES = 64 * 1024
MAX_RULES = 100
MAX_ARMS = 16
MAX_DEPTH = 8
MAX_CONDITIONS = 1_000
MAX_VALUES = 1_000
MAX_BOOST = 10.0
MAX_BLEND = 10.0
MAX_PLACE = 500
MAX_NAME = 64

Scalar = bool | int | float | str
Texts = str | tuple[str, ...]
Bound = int | float | str
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a document: a field that nobody knows is a mistake."""


class Range(_Strict, frozen=True):
    """Numbers from ``min`` to ``max``, both included; either may be left out."""

    min: float | None = None
    max: float | None = None


class AttributeTest(
    _Strict,
    frozen=True,
    rename={"one_of": "in"},
):
    """What an attribute must be; all that is given must hold. A list passes if one of its values does.

    Attributes
    ----------
    eq : scalar
    one_of : tuple of scalar
        ``in`` in JSON.
    min, max : number or text
        Numbers compare with numbers, text with text (dates as ``2026-11-22`` do as they should).
    exists : bool
        Whether the item has the attribute at all.
    """

    __test__ = False  # nothing for pytest

    eq: Scalar | None = None
    one_of: Annotated[tuple[Scalar, ...], msgspec.Meta(max_length=MAX_VALUES)] | None = None
    min: Bound | None = None
    max: Bound | None = None
    exists: bool | None = None


class Condition(
    _Strict,
    frozen=True,
    rename={"not_": "not"},
):
    """Which items: all fields that are given must hold.

    Attributes
    ----------
    category : text or tuple of text
        The category or one below it: ``Books`` covers ``Books > Poetry`` and ``Books|Poetry``.
    brand : text or tuple of text
    price : Span
        Items without a price are outside every span.
    attributes : dict of str to AttributeTest
    items : tuple of str
        Ids.
    users : Span
        How many users have the item by now: ``{"max": 0}`` is what nobody has touched.
    all, any, not_ : conditions
        Every one, at least one, or not this one (``not`` in JSON).
    """

    category: Annotated[Texts, msgspec.Meta()] | None = None
    brand: Annotated[Texts, msgspec.Meta()] | None = None
    price: Range | None = None
    attributes: dict[str, AttributeTest] | None = None
    items: Annotated[tuple[ItemId, ...], msgspec.Meta(max_length=MAX_VALUES)] | None = None
    users: Range | None = None
    all: tuple[Condition, ...] | None = None
    any: tuple[Condition, ...] | None = None
    not_: Condition | None = None


class Exclude(
    _Strict,
    frozen=True,
    kw_only=True,
    tag="exclude",
    tag_field="action",
):
    """Leave these items out of every list."""

    name: Name
    where: Condition


class Only(
    _Strict,
    frozen=True,
    kw_only=True,
    tag="only",
    tag_field="action",
):
    """Leave all other items out of every list."""

    name: Name
    where: Condition


class Boost(
    _Strict,
    frozen=True,
    kw_only=True,
    tag="boost",
    tag_field="action",
):
    """Add to the score of these items.

    ``by`` is in units of the generation's typical score: 1 lifts an item by as much as the mean of
    what users have; below 0 it sinks.
    """

    name: Name
    where: Condition
    by: Annotated[float, msgspec.Meta(ge=-MAX_BOOST, le=MAX_BOOST)]


class Pin(
    _Strict,
    frozen=True,
    kw_only=True,
    tag="pin",
    tag_field="action",
):
    """Put items at fixed places of every list: the first at ``at``, the next one after it.

    Who has an item in the history does not get it pinned, nor anybody an item that is left out.
    """

    name: Name
    items: Annotated[tuple[ItemId, ...], msgspec.Meta(min_length=1, max_length=50)]
    at: Annotated[int, msgspec.Meta(ge=1, le=MAX_PLACE)] = 1


Rule = Exclude | Only | Boost | Pin

Gain = Annotated[float, msgspec.Meta(ge=0.0, le=MAX_BLEND)]


class Blend(_Strict, frozen=True):
    """How much each source of a score counts, relative to what the generation was made with."""

    factors: Gain = 1.0
    popularity: Gain = 1.0
    content: Gain = 1.0
    behaviour: Gain = 1.0


Aspect = Literal["category", "brand", "taste"]
ASPECTS: tuple[Aspect, ...] = ("category", "brand", "taste")


class Diversity(_Strict, frozen=True):
    """Give up some score so that items of a list differ (maximal marginal relevance).

    Attributes
    ----------
    strength : float
        0 orders by score alone, 1 by difference alone.
    by : tuple of str
        What makes items alike: equal category, equal brand, near factors. The mean of them counts.
    """

    strength: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
    by: tuple[Aspect, ...] = ASPECTS


class ImpressionFatigue(_Strict, frozen=True):
    """Let what was shown and ignored make room for others.

    ``after`` impressions of an item without anything done about it, it waits until enough other
    items have been shown.
    """

    after: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 3


_JSON_NAMES = {"fatigue": "rotation", "cold_start_share": "newcomers"}


class Arm(_Strict, frozen=True, kw_only=True, dict=True, rename=_JSON_NAMES):
    """A part of the users, and how their lists differ from the document's; what is left out holds.

    Attributes
    ----------
    name : str
        Results are told under it; a new experiment needs new names.
    share : float
        Of the users. All arms' shares sum to 1.
    rules : tuple of Rule
        Added to the document's; one of the same name takes its place.
    without : tuple of str
        Names of the document's rules that don't hold here.
    weights : dict of str to float
        By event type; by them the events of these users count from now on.
    half_life_ms : float
        Likewise.
    """

    name: Name
    share: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
    blend: Blend | None = None
    diversity: Diversity | None = None
    fatigue: ImpressionFatigue | None = None
    min_relevance: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    cold_start_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    rules: tuple[Rule, ...] = ()
    without: tuple[str, ...] = ()
    weights: dict[str, float] | None = None
    half_life_ms: Annotated[float, msgspec.Meta(gt=0.0)] | None = None

    @cached_property
    def key(self) -> bytes:
        """Equal for arms that say the same."""
        return _encoder.encode(self)


class Steering(_Strict, frozen=True, kw_only=True, dict=True, rename=_JSON_NAMES):
    """How a shop shapes its lists.

    Attributes
    ----------
    rules : tuple of Rule
    blend : Blend
    diversity : Diversity or None
    fatigue : ImpressionFatigue or None
        ``rotation`` in JSON.
    min_relevance : float
        Items whose personal score (without popularity and boosts) is below this part of the list's
        best one are left out. 0: none.
    cold_start_share : float or None
        ``newcomers`` in JSON.         Part of a list's places, rounded down, that items nobody has touched have in any case. None:
        as the generation was made.
    arms : tuple of Arm
        Empty: everybody gets the same.
    salt : str
        Another one divides the users among the arms anew.
    """

    rules: tuple[Rule, ...] = ()
    blend: Blend = Blend()
    diversity: Diversity | None = None
    fatigue: ImpressionFatigue | None = None
    min_relevance: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    cold_start_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    arms: Annotated[tuple[Arm, ...], msgspec.Meta(max_length=MAX_ARMS)] = ()
    salt: Annotated[str, msgspec.Meta(max_length=MAX_NAME)] = ""

    @cached_property
    def is_empty(self) -> bool:
        """Whether lists are as if there were no document."""
        return self == Steering()

    @cached_property
    def resolved(self) -> tuple[Arm, ...]:
        """The arms with all that holds for them filled in; one nameless arm if there are none."""
        return tuple(self._resolve(arm) for arm in self.arms) or (self._resolve(_EVERYBODY),)

    @cached_property
    def digest(self) -> bytes:
        """8 bytes that differ between documents that say something else."""
        return hashlib.blake2b(encode_steering(self), digest_size=8).digest()

    def arm_of(self, user: str) -> Arm:
        """Return the arm of a user, with all that holds for it.

        A hash of salt and user, so that everybody finds the same one without asking.
        """
        arms = self.resolved
        if len(arms) == 1:
            return arms[0]
        key = f"{self.salt}\0{user}".encode()
        place = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
        reached = 0.0
        for arm in arms:
            reached += arm.share
            if place < reached:
                return arm
        return arms[-1]

    def _resolve(self, arm: Arm) -> Arm:
        replaced = {rule.name for rule in arm.rules} | set(arm.without)
        kept = tuple(rule for rule in self.rules if rule.name not in replaced)
        return msgspec.structs.replace(
            arm,
            blend=arm.blend or self.blend,
            diversity=arm.diversity or self.diversity,
            fatigue=arm.fatigue or self.fatigue,
            min_relevance=self.min_relevance if arm.min_relevance is None else arm.min_relevance,
            cold_start_share=(
                self.cold_start_share if arm.cold_start_share is None else arm.cold_start_share
            ),
            rules=(*kept, *arm.rules),
            without=(),
        )


_EVERYBODY = Arm(name="", share=1.0)
_encoder = msgspec.json.Encoder()


def encode_steering(steering: Steering) -> bytes:
    """Return a document as JSON."""
    return _encoder.encode(steering)


def as_texts(texts: Texts) -> tuple[str, ...]:
    """Return one text or several as several.

    >>> as_texts("Books"), as_texts(("Books", "Toys"))
    (('Books',), ('Books', 'Toys'))
    """
    return (texts,) if isinstance(texts, str) else texts
