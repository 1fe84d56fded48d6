"""The hyper-parameters that scores use, typed, with the defaults of generations that lack them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from recstream.core.neighbours import SeedRule


class ScoringParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Weights of a score's parts.

    Attributes
    ----------
    popularity_unit : float
        Mean score of items that users have: the unit of weights and boosts.
    content_weight, behaviour_weight : float
        Weights of neighbour scores, in that unit.
    content_unit, behaviour_unit : float
        Scales of the neighbour tables (`recstream.core.content.content_scale`).
    newcomer_content : float
        Additional weight of content for items without events.
    newcomer_share : float
        Share of a list's slots that is reserved for cold items.
    behaviour_version : int
        Version of `recstream.core.neighbours.fit_behaviour`.
    seed_decay : float
        Of `recstream.core.neighbours.SeedRule`.
    fold_in_version : int
        Version of the fold-in of users for lists. From 2 on, negligible entries are left out
        (`recstream.core.als.ALSModel.fold_in`).
    """

    popularity_unit: float = 1.0
    content_weight: float = 0.0
    behaviour_weight: float = 0.0
    content_unit: float = 1.0
    behaviour_unit: float = 1.0
    newcomer_content: float = 0.0
    newcomer_share: float = 0.0
    behaviour_version: int = 1
    seed_decay: float = SeedRule().decay
    fold_in_version: int = 1

    @classmethod
    def of(cls, hyperparameters: Mapping[str, Any]) -> ScoringParameters:
        """Return the parameters that are among a generation's hyper-parameters."""
        return cls(
            **{
                name: type(getattr(cls(), name))(hyperparameters[name])
                for name in cls.__struct_fields__
                if name in hyperparameters
            }
        )

    @property
    def seeds(self) -> SeedRule:
        """The rule for the seeds of neighbour scores."""
        return _seed_rule(self.behaviour_version, self.seed_decay)

    def gain(self, table: Literal["content", "behaviour"]) -> float:
        """Return the factor from a neighbour table's weights to scores.

        For content it holds for items with many events; others have a multiplier of their own.
        """
        weight, unit = (
            (self.content_weight, self.content_unit)
            if table == "content"
            else (self.behaviour_weight, self.behaviour_unit)
        )
        return weight * unit * self.popularity_unit


@functools.cache
def _seed_rule(version: int, decay: float) -> SeedRule:
    return SeedRule.of(version)._replace(decay=decay)
