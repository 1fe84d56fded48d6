"""What one request adds to the steering document: a filter, boosts, excluded items, a page.

Conditions are those of rules, checked and compiled by the same code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from recstream.core.steering.arms import Arm
from recstream.core.steering.rules import (
    MAX_BOOST,
    MAX_VALUES,
    Boost,
    Condition,
    Exclude,
    ItemId,
    Only,
    Rule,
    Scalar,
    Strict,
)

MAX_LIST = 1_000
"""Items of a list, which is as many as may be candidates."""
MAX_OFFSET = 500
MAX_PROPERTIES = 32
MAX_CURSOR = 4_096
MAX_REQUEST_BOOSTS = 20


class RequestBoost(Strict, frozen=True):
    """Add ``by`` typical scores to items that meet a condition, as a ``boost`` rule does."""

    where: Condition
    by: Annotated[float, msgspec.Meta(ge=-MAX_BOOST, le=MAX_BOOST)]


class ListRequest(Strict, frozen=True, kw_only=True):
    """What a request asks of a list; lists that are made for a request contain it."""

    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIST, description="Items")] = 20
    offset: Annotated[
        int, msgspec.Meta(ge=0, le=MAX_OFFSET, description="Skip this many first items")
    ] = 0
    cursor: Annotated[
        str,
        msgspec.Meta(
            max_length=MAX_CURSOR,
            description="`next` of the previous page. No item of an earlier page comes again",
        ),
    ] = ""
    exclude: Annotated[
        tuple[ItemId, ...],
        msgspec.Meta(max_length=MAX_VALUES, description="Ids that must not be listed"),
    ] = ()
    filter: Annotated[
        Condition | None,
        msgspec.Meta(description="Only items that meet this condition of the steering language"),
    ] = None
    boost: Annotated[
        tuple[RequestBoost, ...],
        msgspec.Meta(
            max_length=MAX_REQUEST_BOOSTS, description="Additions to scores, as rules make them"
        ),
    ] = ()
    category: Annotated[
        str, msgspec.Meta(description="Only items of this category and those below it")
    ] = ""
    placement: Annotated[
        str, msgspec.Meta(description="Where the list is displayed: a placement's name")
    ] = ""
    context: Annotated[
        dict[str, Scalar],
        msgspec.Meta(
            max_length=MAX_PROPERTIES,
            description="Device, hour, …: tested by rules; default: that of the newest event",
        ),
    ] = {}  # noqa: RUF012 - of a struct, copied for each
    known: Annotated[bool, msgspec.Meta(description="Include items that the user has seen")] = False

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The request as rules, named ``request: …``."""
        rules: list[Rule] = []
        if self.exclude:
            rules.append(Exclude(name="request: exclude", where=Condition(items=self.exclude)))
        if self.category:
            rules.append(Only(name="request: category", where=Condition(category=self.category)))
        if self.filter is not None:
            rules.append(Only(name="request: filter", where=self.filter))
        for at, boost in enumerate(self.boost, start=1):
            rules.append(Boost(name=f"request: boost {at}", where=boost.where, by=boost.by))
        return tuple(rules)

    @property
    def is_plain(self) -> bool:
        """Whether the request asks for the first items of the user's list as it is."""
        return self == ListRequest(n=self.n)

    def excluding(self, items: Iterable[str]) -> ListRequest:
        """Return the request with more items excluded."""
        return msgspec.structs.replace(self, exclude=(*self.exclude, *sorted(items)))

    def applied_to(self, arm: Arm) -> Arm:
        """Return an arm with the request's rules added."""
        rules = self.rules
        return msgspec.structs.replace(arm, rules=(*arm.rules, *rules)) if rules else arm
