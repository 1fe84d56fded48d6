"""Beside the flow: items over REST; a change goes into the log first, as everything does."""

from __future__ import annotations

from typing import Annotated

import msgspec
from flask import Response

from recstream.bridge.http.batches import MAX_BODY_BYTES, NDJSON, split
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.events import LogPosition, positioned
from recstream.bridge.http.problems import HttpProblem, Pointed
from recstream.bridge.http.routing import JSON, Endpoint, json_response
from recstream.core.events import MAX_ID_CHARACTERS
from recstream.core.json_input import check_depth, decode_json
from recstream.core.ranking import Neighbour
from recstream.core.records import Item
from recstream.errors import InvalidInput, InvalidJson, NotFound

MAX_NAMED = 200
Limit = Annotated[int, msgspec.Meta(ge=1, le=200)]


class ItemsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which items."""

    ids: Annotated[
        str,
        msgspec.Meta(
            description="These items, in this order, up to 200 divided by commas; those that are not "
            "there are left out. An id with a comma is asked for at /v1/items/{item}"
        ),
    ] = ""
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


class SimilarItem(Neighbour, frozen=True, kw_only=True, omit_defaults=True):
    """A neighbour, how alike and why, and what the catalogue says of it."""

    details: Item | None


class SimilarAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The items most like one.

    Attributes
    ----------
    known : bool
        Whether the generation served has the item, so that lists can; without it there are no items.
    """

    item: str
    generation: int | None
    known: bool
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


class RejectedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item that was not taken: its place in the request, what is wrong, and where."""

    index: int
    item: str = ""
    pointer: str
    code: str
    detail: str


class ItemsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the items of a request."""

    accepted: int
    rejected: tuple[RejectedItem, ...]
    position: LogPosition


_decode_fields = msgspec.json.Decoder(ItemFields).decode


class ItemRoutes:
    """Items."""

    def __init__(self, deps: Deps) -> None:
        self._items = deps.items
        self._serving = deps.serving
        self._epoch = deps.log.epoch

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
                method="POST",
                rule="/v1/items",
                handler=self.put_many,
                name="post_items",
                summary="Add or replace many items: an array, or lines of JSON",
                tag="items",
                consumes={JSON: ItemFields | list[ItemFields], NDJSON: str},
                returns=ItemsAnswer,
                status=202,
                problems={
                    413: "More than 1 MiB, or more than 1,000 items",
                    415: "Another media type",
                    422: "No item was accepted; `rejected` says why",
                }
                | unavailable,
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
                summary="The items most like one, by behaviour and by content",
                tag="items",
                access="public",
                query=SimilarQuery,
                returns=SimilarAnswer,
                problems=no_item | unavailable,
            ),
        ]

    def search(self, query: ItemsQuery) -> ItemsPage:
        """Return a page of items."""
        if query.ids:
            return self._named(query)
        found = self._items.catalogue.search(
            query.q, category=query.category, cursor=query.cursor, limit=query.limit
        )
        return ItemsPage(items=found.items, next=found.next)

    def _named(self, query: ItemsQuery) -> ItemsPage:
        if query.q or query.category or query.cursor:
            raise InvalidInput("ids asks for items by name; leave q, category and cursor out")
        ids = [name for name in query.ids.split(",") if name]
        if len(ids) > MAX_NAMED:
            raise InvalidInput(f"expected at most {MAX_NAMED} ids, got {len(ids)}")
        found = self._items.catalogue.get_many(ids)
        items = tuple(found[name] for name in dict.fromkeys(ids) if name in found)
        return ItemsPage(items=items, next="")

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

    def put_many(self) -> Response:
        """Check each item, append the good ones, say what became of all."""
        entries, is_batch = split((JSON, NDJSON), "items")
        items: list[Item] = []
        rejected: list[RejectedItem] = []
        for index, raw in enumerate(entries):
            read = _read_item(index, raw, is_batch=is_batch)
            if isinstance(read, Item):
                items.append(read)
            else:
                rejected.append(read)
        positions = self._items.put_many(items) if items else []
        answer = ItemsAnswer(
            accepted=len(items),
            rejected=tuple(rejected),
            position=positioned(self._epoch, positions),
        )
        if items:
            return json_response(answer, 202)
        raise HttpProblem(
            422,
            "no item was accepted",
            code="no-item-accepted",
            errors=tuple(
                Pointed(pointer=one.pointer, code=one.code, detail=one.detail) for one in rejected
            ),
            more=answer,
        )

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
        is_known = near is not None
        if not is_known:
            self._have(item)
        near = near or ()
        details = self._items.catalogue.get_many([one.item for one in near])
        current = self._serving.current
        return SimilarAnswer(
            item=item,
            generation=None if current is None else current[0],
            known=is_known,
            items=tuple(
                SimilarItem(
                    item=one.item, score=one.score, why=one.why, details=details.get(one.item)
                )
                for one in near
            ),
        )


def _read_item(index: int, raw: msgspec.Raw | bytes, *, is_batch: bool) -> Item | RejectedItem:
    """Return an entry of a request as an item, or why it is none."""
    name = ""
    try:
        fields = decode_json(_decode_fields, raw, InvalidJson, max_bytes=MAX_BODY_BYTES)
        name = fields.item
        check_depth(fields.attributes, InvalidJson, pointer="/attributes", depth=2)
    except InvalidJson as wrong:
        pointer, code, detail = wrong.pointer, wrong.code, wrong.reason
    else:
        if 0 < len(name) <= MAX_ID_CHARACTERS and name.isprintable():
            return Item(**msgspec.structs.asdict(fields))
        pointer, code = "/item", "invalid-name" if name else "missing"
        detail = f"expected an id of 1 to {MAX_ID_CHARACTERS} printable characters"
    prefix = f"/{index}" if is_batch else ""
    shown = name[:MAX_ID_CHARACTERS]
    return RejectedItem(index=index, item=shown, pointer=prefix + pointer, code=code, detail=detail)
