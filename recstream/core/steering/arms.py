"""A/B arms: part of the users whose lists differ from the rest of the document."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Annotated

import msgspec

from recstream.core.steering.audience import is_for
from recstream.core.steering.options import ListOverrides
from recstream.core.steering.rules import Audience, Pin, Scalar, uses_now

MAX_AUDIENCES = 256
Pairs = Iterable[tuple[str, Scalar]]
"""Properties of a user, or a context."""


class Arm(ListOverrides, frozen=True, kw_only=True, dict=True):
    """Part of the users, and what differs in their lists; absent fields are the document's.

    Attributes
    ----------
    name : str
        Results are reported under it; a new experiment needs new names.
    share : float
        Of the users. All arms' shares sum to 1.
    weights : dict of str to float
        Event weights by type, for the users' events from now on.
    half_life_ms : float
        Half-life of event weights, likewise.
    when : Audience or None
        Only these users can be in the arm; the shares of the arms open to a user are scaled to sum
        to 1.
    """

    share: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
    weights: dict[str, float] | None = None
    half_life_ms: Annotated[float, msgspec.Meta(gt=0.0)] | None = None
    when: Audience | None = None

    @cached_property
    def uses_now(self) -> bool:
        """Whether a rule depends on the time at which a list is made."""
        return any(not isinstance(rule, Pin) and uses_now(rule.where) for rule in self.rules)

    def applying_to(self, properties: Pairs, context: Pairs) -> Arm:
        """Return the arm with the rules for a user and a context; the same object if equal."""
        if not self._has_audience:
            return self
        user, now = dict(properties), dict(context)
        holds = tuple(is_for(rule.when, user, now) for rule in self.rules)
        found = self._applying.get(holds)
        if found is None:
            if len(self._applying) >= MAX_AUDIENCES:
                self._applying.clear()
            rules = tuple(rule for rule, hold in zip(self.rules, holds, strict=True) if hold)
            found = self._applying[holds] = msgspec.structs.replace(self, rules=rules)
        return found

    @cached_property
    def _has_audience(self) -> bool:
        return any(rule.when is not None for rule in self.rules)

    @cached_property
    def _applying(self) -> dict[tuple[bool, ...], Arm]:
        return {}

    @cached_property
    def key(self) -> bytes:
        """Equal for arms with equal fields."""
        return msgspec.json.encode(self)


def assign_arm(arms: Sequence[Arm], salt: str, user: str, total: float = 1.0) -> Arm:
    """Return the arm of a user, by a hash of salt and user: the same wherever it is computed.

    ``total`` is the sum of the arms' shares.
    """
    if len(arms) == 1:
        return arms[0]
    key = f"{salt}\0{user}".encode()
    point = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
    reached = 0.0
    for arm in arms:
        reached += arm.share
        if point * total < reached:
            return arm
    return arms[-1]
