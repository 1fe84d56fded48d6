"""The steering document: how a shop shapes its lists, as plain JSON.

It holds named rules over items (exclude, only, boost, pin) and options of the list as a whole. It
may divide users among A/B arms; each arm overrides parts of the document. Size, depth and number of
conditions are bounded, so that every document is read and applied in bounded time.
"""

import hashlib
from functools import cached_property
from typing import Annotated

import msgspec

from recstream.core.steering.arms import Arm, Pairs, assign_arm
from recstream.core.steering.audience import is_for
from recstream.core.steering.options import Blend, ListOptions
from recstream.core.steering.placements import Placement, override
from recstream.core.steering.rules import MAX_NAME

MAX_BYTES = 64 * 1024
MAX_RULES = 100
MAX_ARMS = 16
MAX_PLACEMENTS = 32
MAX_DEPTH = 8
MAX_CONDITIONS = 1_000


class Steering(ListOptions, frozen=True, kw_only=True, dict=True):
    """How a shop shapes its lists.

    Attributes
    ----------
    min_relevance : float
        Items whose personal score (without popularity and boosts) is below this part of the list's
        best one are excluded. 0: none.
    arms : tuple of Arm
        Empty: all users get the same lists.
    placements : tuple of Placement
        Places with lists of their own.
    salt : str
        A new salt assigns users to arms anew.
    """

    blend: Blend = Blend()
    min_relevance: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    arms: Annotated[tuple[Arm, ...], msgspec.Meta(max_length=MAX_ARMS)] = ()
    placements: Annotated[tuple[Placement, ...], msgspec.Meta(max_length=MAX_PLACEMENTS)] = ()
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
    def digest(self) -> bytes:
        """8-byte digest of the document."""
        return hashlib.blake2b(encode_steering(self), digest_size=8).digest()

    def arm_of(
        self, user: str, placement: str = "", properties: Pairs = (), context: Pairs = ()
    ) -> Arm:
        """Return the arm of a user, with the document's options filled in, then a placement's.

        Parameters
        ----------
        properties, context : iterable of (name, value)
            Rules and arms whose audience they do not meet are removed.
        """
        if any(arm.when is not None for arm in self.arms):
            held = dict(properties), dict(context)
            open_arms = [arm for arm in self.resolved if is_for(arm.when, *held)]
            total = sum(arm.share for arm in open_arms)
            arms = open_arms or [self._resolve(_EVERYBODY)]
            arm = assign_arm(arms, self.salt, user, total)
        else:
            arm = assign_arm(self.resolved, self.salt, user)
        arm = self.placed(arm, placement) if placement else arm
        return arm.applying_to(properties, context)

    @cached_property
    def uses_context(self) -> bool:
        """Whether an audience tests the context, so that histories must keep it."""
        parts: tuple[ListOptions, ...] = (self, *self.arms, *self.placements)
        whens = [rule.when for part in parts for rule in part.rules]
        whens += [arm.when for arm in self.arms]
        return any(when is not None and bool(when.context) for when in whens)

    def everybody(self, placement: str = "") -> Arm:
        """Return the document's rules and options without those of arms, as an arm."""
        arm = self._resolve(_EVERYBODY)
        return self.placed(arm, placement) if placement else arm

    def placement(self, name: str) -> Placement | None:
        """Return a placement, or None."""
        return next((each for each in self.placements if each.name == name), None)

    def placed(self, arm: Arm, name: str) -> Arm:
        """Return an arm as it is in a placement."""
        key = arm.name, name
        placed: Arm | None = self._placed_arms.get(key)
        if placed is None:
            place = self.placement(name)
            if place is None:
                return arm
            base = next((each for each in self.resolved if each.name == place.arm), arm)
            placed = self._placed_arms[key] = override(base, place, base)
        return placed

    @cached_property
    def _placed_arms(self) -> dict[tuple[str, str], Arm]:
        return {}

    def _resolve(self, arm: Arm) -> Arm:
        return override(self, arm, arm)


_EVERYBODY = Arm(name="", share=1.0)
_encoder = msgspec.json.Encoder()


def encode_steering(steering: Steering) -> bytes:
    """Return a document as JSON."""
    return _encoder.encode(steering)
