"""Published lists: which hold an item, what they were made from, and what changed them."""

import time
from typing import Annotated

import msgspec

from recstream.analysis import Causes, ListOrigin, causes, find_origin
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.rate_limit import identity
from recstream.bridge.http.routing import route
from recstream.core.events import MAX_ID_CHARACTERS
from recstream.time_travel import moment

MAX_SECONDS = 1.5
"""Then the answer has the holders that were found so far."""

At = Annotated[str, msgspec.Meta(description="An offset of the user's partition, or a time")]


class CausesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Two moments, the earlier one first."""

    a: At
    b: At


class HoldersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of lists."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 20
    after: Annotated[
        str, msgspec.Meta(max_length=MAX_ID_CHARACTERS, description="`next` of the previous page")
    ] = ""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A user's newest published list that holds an item, and the item's rank in it."""

    user: str
    rec_id: str
    rank: int
    score: float
    generation: int
    published_ts: int


class HoldersAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Lists that hold an item.

    Attributes
    ----------
    n_searched : int
        Lists read for this page.
    next : str
        Value of ``after`` for the next page; empty once all lists were searched.
    """

    item: str
    lists: tuple[Holder, ...]
    n_searched: int
    next: str


class PublishedListRoutes:
    """Published lists and their causes."""

    tag = "recommendations"

    def __init__(self, deps: Deps) -> None:
        self._time_travel = deps.time_travel
        self._views = deps.views

    @route("GET", "/v1/items/<item>/lists", tag="items", max_in_flight=2)
    def get_item_lists(self, item: str, query: HoldersQuery) -> HoldersAnswer:
        """List the users whose newest published list holds an item, page by page."""
        deadline_s = time.monotonic() + MAX_SECONDS
        found: list[Holder] = []
        searched, last = 0, ""
        for user, may_hold in self._views.users_listed(item, query.after):
            searched, last = searched + 1, user
            if may_hold:
                found += self._holder(user, item)
            if len(found) == query.limit or time.monotonic() > deadline_s:
                break
        else:
            last = ""
        return HoldersAnswer(item=item, lists=tuple(found), n_searched=searched, next=last)

    def _holder(self, user: str, item: str) -> list[Holder]:
        body = self._views.latest(user)
        if body is None:
            return []
        return [
            Holder(
                user=user,
                rec_id=body.rec_id,
                rank=each.rank,
                score=each.score,
                generation=body.generation,
                published_ts=body.lineage.published_ts,
            )
            for each in body.items
            if each.item == item
        ]

    @route(
        "GET",
        "/v1/lists/<rec_id>",
        access="user",
        problems={404: "No such list was published, or it is another user's"},
    )
    def get_list(self, rec_id: str) -> ListOrigin:
        """Return a published list with its origin, derived again now, and what the user did with it."""
        who = identity()
        reader = None if who.is_service else who.user
        return self._time_travel.ask(lambda travel: find_origin(travel, rec_id, reader))

    @route(
        "GET",
        "/v1/users/<user>/causes",
        problems={404: "There was no list yet, or its generation is gone"},
    )
    def get_causes(self, user: str, query: CausesQuery) -> Causes:
        """Compare a user's lists at two moments, and name the events, model or rules that did it."""
        a, b = moment(query.a), moment(query.b)
        return self._time_travel.ask(lambda travel: causes(travel, user, a, b))
