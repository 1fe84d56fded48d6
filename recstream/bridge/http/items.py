"""Beside the flow: items over REST; a change goes into the log first, as everything does."""

from __future__ import annotations

from typing import Annotated

import msgspec
from flask import Response

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.routing import Endpoint, json_response
from recstream.core.events import MAX_ID_CHARACTERS
from recstream.core.records import Item
from recstream.errors import NotFound

Limit = Annotated[int, msgspec.Meta(ge=1, le=200)]


class ItemsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which items."""

    q: Annotated[str, msgspec.Meta(max_length=200, description="Words, or their beginnings")] = ""
    category: str = ""
    cursor: Annotated[str, msgspec.Meta(description="`next` of the page before")] = ""
    limit: Limit = 20


class ItemsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some items, and the cursor of the next page: empty on the last one."""

    items: tuple[Item, ...]
    next: str


class CategoriesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every category with the number of its items."""

    categories: dict[str, int]
    n_items: int


class SimilarQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How many neighbours."""

    n: Limit = 10


class SimilarItem(msgspec.Struct, frozen=True, kw_only=True):
    """A neighbour: cosine of the items' factors, and what the catalogue says of it."""

    item: str
    score: float
    details: Item | None


class SimilarAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The items nearest to one; none while no trained generation knows it."""

    item: str
    generation: int | None
    items: tuple[SimilarItem, ...]


class ItemFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A product as a client sends it; ``item`` may be left out, the address says it."""

    item: str = ""
    title: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    category: Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARACTERS)] = ""
    brand: Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARACTERS)] = ""
    price: Annotated[float, msgspec.Meta(ge=0)] | None = None
    description: Annotated[str, msgspec.Meta(max_length=20_000)] = ""
    image: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    attributes: dict[str, str | int | float | bool | list[str] | None] = {}


class ItemRoutes:
    """Items."""

    def __init__(self, deps: Deps) -> None:
        self._items = deps.items
        self._serving = deps.serving

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this module."""
        no_item = {404: "No such item"}
        unavailable = {503: "The catalogue or the log can't be reached"}
        return [
            Endpoint(
                method="GET",
                rule="/v1/items",
                handler=self.search,
                name="list_items",
                summary="Items by text and category, page by page",
                tag="items",
                access="public",
                query=ItemsQuery,
                returns=ItemsPage,
                problems=unavailable,
            ),
            Endpoint(
                method="GET",
                rule="/v1/categories",
                handler=self.categories,
                name="list_categories",
                summary="Categories with the number of their items",
                tag="items",
                access="public",
                returns=CategoriesAnswer,
                problems=unavailable,
            ),
            Endpoint(
                method="GET",
                rule="/v1/items/<item>",
                handler=self.get,
                name="get_item",
                summary="An item",
                tag="items",
                access="public",
                returns=Item,
                problems=no_item | unavailable,
            ),
            Endpoint(
                method="PUT",
                rule="/v1/items/<item>",
                handler=self.put,
                name="put_item",
                summary="Add an item or replace it",
                tag="items",
                body=ItemFields,
                returns=Item,
                problems={415: "Another media type", 422: "A field is not what it must be"}
                | unavailable,
            ),
            Endpoint(
                method="DELETE",
                rule="/v1/items/<item>",
                handler=self.delete,
                name="delete_item",
                summary="Take an item out of the catalogue",
                tag="items",
                status=204,
                problems=no_item | unavailable,
            ),
            Endpoint(
                method="GET",
                rule="/v1/items/<item>/similar",
                handler=self.similar,
                name="get_similar_items",
                summary="The items nearest to one",
                tag="items",
                access="public",
                query=SimilarQuery,
                returns=SimilarAnswer,
                problems=no_item | unavailable,
            ),
        ]

    def search(self, query: ItemsQuery) -> ItemsPage:
        """Return a page of items."""
        found = self._items.catalogue.search(
            query.q, category=query.category, cursor=query.cursor, limit=query.limit
        )
        return ItemsPage(items=found.items, next=found.next)

    def categories(self) -> CategoriesAnswer:
        """Return the categories."""
        catalogue = self._items.catalogue
        return CategoriesAnswer(categories=catalogue.categories(), n_items=catalogue.count())

    def _have(self, item: str) -> Item:
        found = self._items.catalogue.get_many([item]).get(item)
        if found is None:
            raise NotFound(f"the catalogue has no item {item!r}")
        return found

    def get(self, item: str) -> Item:
        """Return an item."""
        return self._have(item)

    def put(self, item: str, body: ItemFields) -> Item:
        """Add an item or replace it."""
        if body.item not in {"", item}:
            message = f"the body is of item {body.item!r}, the address of {item!r}"
            raise HttpProblem(422, message, code="item-mismatch")
        fields = msgspec.structs.asdict(body) | {"item": item}
        changed = Item(**fields)
        self._items.change(item, changed)
        return changed

    def delete(self, item: str) -> Response:
        """Take an item out."""
        self._have(item)
        self._items.change(item, None)
        response = json_response(None, 204)
        response.set_data(b"")
        return response

    def similar(self, item: str, query: SimilarQuery) -> SimilarAnswer:
        """Return an item's neighbours."""
        near = self._serving.similar(item, query.n)
        if near is None:
            self._have(item)
        details = self._items.catalogue.get_many([name for name, _ in near or ()])
        current = self._serving.current
        return SimilarAnswer(
            item=item,
            generation=None if current is None else current[0],
            items=tuple(
                SimilarItem(item=name, score=score, details=details.get(name))
                for name, score in near or ()
            ),
        )
