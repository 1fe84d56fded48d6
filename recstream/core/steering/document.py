"""The steering document: how a shop shapes its lists, as plain JSON.

It holds named rules over items (exclude, only, boost, pin) and options of the list as a whole. It may
divide users among A/B arms, each of which overrides parts of the document. Size, depth and number of
conditions are bounded, so that every document is read and applied in bounded time.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated

import msgspec

from recstream.core.steering.arms import JSON_NAMES, Arm, assign_arm
from recstream.core.steering.options import Blend, Diversity, ImpressionFatigue
from recstream.core.steering.rules import MAX_NAME, Rule, Strict

MAX_BYTES = 64 * 1024
MAX_RULES = 100
MAX_ARMS = 16
MAX_DEPTH = 8
MAX_CONDITIONS = 1_000


class Steering(Strict, frozen=True, kw_only=True, dict=True, rename=JSON_NAMES):
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
        best one are excluded. 0: none.
    cold_start_share : float or None
        ``newcomers`` in JSON. Part of a list's slots, rounded down, reserved for cold items. None: the
        generation's own.
    arms : tuple of Arm
        Empty: all users get the same lists.
    salt : str
        A new salt assigns users to arms anew.
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
        """Whether the document changes nothing."""
        return self == Steering()

    @cached_property
    def resolved(self) -> tuple[Arm, ...]:
        """The arms with the document's options filled in; one nameless arm if there are none."""
        return tuple(self._resolve(arm) for arm in self.arms) or (self._resolve(_EVERYBODY),)

    @cached_property
    def everybody(self) -> Arm:
        """The document's rules and options without those of arms."""
        return self._resolve(_EVERYBODY)

    @cached_property
    def digest(self) -> bytes:
        """8-byte digest of the document."""
        return hashlib.blake2b(encode_steering(self), digest_size=8).digest()

    def arm_of(self, user: str) -> Arm:
        """Return the arm of a user, with the document's options filled in."""
        return assign_arm(self.resolved, self.salt, user)

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
