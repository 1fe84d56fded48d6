"""Find users whose newest published list contains an item."""

import time
from typing import Annotated

import msgspec

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routing import route
from recstream.core.events import MAX_ID_CHARACTERS

MAX_SECONDS = 1.5


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


class ItemListRoutes:
    """Lists by item."""

    tag = "items"

    def __init__(self, deps: Deps) -> None:
        self._views = deps.views

    @route("GET", "/v1/items/<item>/lists", max_in_flight=2)
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
