"""Shelves over REST: because you viewed, trending, newest, popular, bought together, again."""

from typing import Annotated, Literal

import msgspec
from flask import Response

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routes.list_query import (
    AnswerFields,
    ListBody,
    ListParameters,
    PositionWaiter,
    as_body,
)
from recstream.bridge.http.routing import route
from recstream.bridge.shelves import CategoryShelf, ShelfAnswer, ShelfEntry, Shelves
from recstream.core.records import Item
from recstream.core.serving import Shelf
from recstream.core.steering import ListRequest
from recstream.errors import NotFound

Kinds = Literal["trending", "newest", "popular"]
_PROBLEMS = {
    422: "A condition is invalid, or contradicts another",
    409: "min_position was not reached in time; try again",
}
_NO_SHELF = {404: "No such shelf, or no generation yet", **_PROBLEMS}


NumberOfShelves = Annotated[int, msgspec.Meta(ge=1, le=20, description="Shelves")]
NumberOfItems = Annotated[int, msgspec.Meta(ge=1, le=50, description="Items on a shelf")]
Skip = Annotated[
    int,
    msgspec.Meta(
        ge=0,
        le=500,
        description="Skip this many first places of the list: they are displayed elsewhere",
    ),
]
By = Annotated[
    Literal["", "category"],
    msgspec.Meta(description="category: a shelf of each of the best categories"),
]
NumberOfCategories = Annotated[int, msgspec.Meta(ge=1, le=50, description="Categories, at most")]


class ShelfBody(ListBody, frozen=True, kw_only=True):
    """Number of shelves, items on each, and places of the list that are displayed elsewhere."""

    n: NumberOfShelves = 3
    items: NumberOfItems = 8
    skip: Skip = 0


class ShelvesQuery(ListParameters, frozen=True, kw_only=True):
    """The same as parameters."""

    n: NumberOfShelves = 3
    items: NumberOfItems = 8
    skip: Skip = 0


class KindBody(ListBody, frozen=True, kw_only=True):
    """A shelf for everybody; one, or one of each category."""

    by: By = ""
    shelves: NumberOfCategories = 5


class KindQuery(ListParameters, frozen=True, kw_only=True):
    """The same as parameters."""

    by: By = ""
    shelves: NumberOfCategories = 5


class ViewedEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item of a shelf, with the fields that were asked for.

    Attributes
    ----------
    rank : int
        In the list that the shelves are made from.
    share : float
        Share of the history entry in the sum of the score's positive terms.
    shared : tuple of str
        Common features of the item and the entry's item: ``brand: Acme``.
    """

    item: str
    rank: int = 0
    score: float | None = None
    share: float
    shared: tuple[str, ...] = ()
    details: Item | None = None


class ViewedShelf(Shelf, frozen=True, kw_only=True):
    """Items recommended because of one history entry."""

    items: tuple[ViewedEntry, ...]  # type: ignore[assignment]


class ShelvesAnswer(Shelves, frozen=True, kw_only=True, omit_defaults=True):
    """A user's shelves, with the fields of their items that were asked for."""

    shelves: tuple[ViewedShelf, ...]


class ListedEntry(ShelfEntry, frozen=True, kw_only=True, omit_defaults=True):
    """An item of a shelf, with the fields that were asked for."""

    details: Item | None = None


class ListedShelf(CategoryShelf, frozen=True, kw_only=True, omit_defaults=True):
    """The best items of a category, or of all if it is empty."""

    items: tuple[ListedEntry, ...]


class KindAnswer(ShelfAnswer, frozen=True, kw_only=True, omit_defaults=True):
    """Shelves of one kind, with the fields of their items that were asked for."""

    shelves: tuple[ListedShelf, ...]


class ShelfRoutes:
    """Shelves."""

    tag = "shelves"

    def __init__(self, deps: Deps) -> None:
        self._maker = deps.shelves
        self._steering = deps.steering
        self._catalogue = deps.items.catalogue
        self._fields = AnswerFields(deps)
        self._waiter = PositionWaiter(deps)

    def _request(self, body: ListBody) -> ListRequest:
        return body.request(self._steering.document()[1])

    @route(
        "POST",
        "/v1/users/<user>/shelves",
        query=ShelvesQuery,
        as_body=as_body,
        returns=ShelvesAnswer,
        examples={"two shelves of books": {"n": 2, "filter": {"category": "Books"}}},
        problems=_PROBLEMS,
    )
    def post_shelves(self, user: str, body: ShelfBody) -> Response:
        """Return shelves of items related to a user's strongest items: because you viewed X."""
        request = self._request(body)
        self._waiter.wait(user, body)
        found = self._maker.because(
            user, request, n_shelves=body.n, n_items=body.items, skip=body.skip
        )
        return self._fields.of(found, body.fields)

    @route(
        "POST",
        "/v1/shelves/<kind>",
        access="public",
        query=KindQuery,
        as_body=as_body,
        returns=KindAnswer,
        examples={"the best of three categories": {"by": "category", "shelves": 3, "n": 4}},
        problems=_NO_SHELF,
    )
    def post_shelf(self, kind: str, body: KindBody) -> Response:
        """Return items that are trending, newest or popular, also by category."""
        try:
            known = msgspec.convert(kind, Kinds)
        except msgspec.ValidationError as error:
            raise NotFound(
                f"no shelf is named {kind!r}; known: trending, newest, popular"
            ) from error
        found = self._maker.of_kind(
            known, self._request(body), by_category=body.by == "category", n_shelves=body.shelves
        )
        return self._fields.of(found, body.fields)

    @route(
        "POST",
        "/v1/items/<item>/bought-together",
        access="public",
        query=ListParameters,
        as_body=as_body,
        returns=KindAnswer,
        examples={"three": {"n": 3}},
        problems={**_NO_SHELF, 404: "No such item, or no generation yet"},
    )
    def post_bought_together(self, item: str, body: ListBody) -> Response:
        """Return items that are likelier in a basket with this one: lift, shrunk towards 1."""
        found = self._maker.bought_together(item, self._request(body))
        if not self._maker.knows(item) and not self._catalogue.get_many([item]):
            raise NotFound(f"the catalogue has no item {item!r}")
        return self._fields.of(found, body.fields)

    @route(
        "POST",
        "/v1/users/<user>/again",
        query=ListParameters,
        as_body=as_body,
        returns=KindAnswer,
        examples={"ten": {"n": 10}},
        problems=_NO_SHELF,
    )
    def post_again(self, user: str, body: ListBody) -> Response:
        """Return items that a user is due to buy again, where repeats are normal."""
        self._waiter.wait(user, body)
        return self._fields.of(self._maker.again(user, self._request(body)), body.fields)
