"""Items of the catalogue over REST; a change is appended to the log first."""

from typing import Annotated

import msgspec
from flask import Response
from msgspec import UNSET, UnsetType

from recstream.bridge.http.bodies import (
    JSON,
    MAX_BODY_BYTES,
    NDJSON,
    answer_batch,
    json_response,
    read_entries,
)
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem, invalid
from recstream.bridge.http.routes.events import LogPosition, positioned
from recstream.bridge.http.routes.list_query import (
    DEFAULT_FIELDS,
    AnswerFields,
    ListBody,
    ListParameters,
    SimilarAnswer,
    SimilarItem,
    as_body,
)
from recstream.bridge.http.routing import LIST_FORMS, route
from recstream.core.events import MAX_ID_CHARACTERS, is_printable
from recstream.core.json_input import check_depth, decode_json
from recstream.core.records import Item, Time
from recstream.core.serving import next_cursor
from recstream.errors import InvalidInput, InvalidJson, NotFound

MAX_NAMED = 200
Limit = Annotated[int, msgspec.Meta(ge=1, le=200)]


class ItemsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects items: by id, or by text and category."""

    ids: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="Up to 200 ids; the answer keeps the order. Unknown ids are omitted. "
            + LIST_FORMS
        ),
    ] = ()
    q: Annotated[str, msgspec.Meta(max_length=200, description="Words, or prefixes of words")] = ""
    category: Annotated[
        str,
        msgspec.Meta(
            description="Only items of exactly this category, without those below it: a name of "
            "/v1/categories"
        ),
    ] = ""
    cursor: Annotated[str, msgspec.Meta(description="`next` of the previous page")] = ""
    limit: Limit = 20


class ItemsPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of items, and the cursor of the next page; empty on the last one."""

    items: tuple[Item, ...]
    next: str


class CategoriesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every category with the number of its items."""

    categories: dict[str, int]
    n_items: int


class SimilarQuery(ListParameters, frozen=True, kw_only=True):
    """Selects similar items."""

    n: Limit = 10


Title = Annotated[str, msgspec.Meta(max_length=1000)]
Name = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARACTERS)]
Price = Annotated[float, msgspec.Meta(ge=0)]
Description = Annotated[str, msgspec.Meta(max_length=20_000)]
Image = Annotated[str, msgspec.Meta(max_length=2000)]
Attributes = dict[str, str | int | float | bool | list[str] | None]
Vector = Annotated[
    tuple[float, ...],
    msgspec.Meta(
        max_length=4_096,
        description="Of any text or image model, the same for all items: a content feature",
    ),
]


class ItemFields(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}
):
    """A product as a client sends it; ``item`` is optional where the URL contains it.

    An item that is not ``available`` leaves all lists. ``from`` and ``until`` limit when it is
    listed.
    """

    item: str = ""
    title: Title = ""
    category: Name = ""
    brand: Name = ""
    price: Price | None = None
    description: Description = ""
    image: Image = ""
    attributes: Attributes = {}
    available: bool = True
    from_: Time | None = None
    until: Time | None = None
    vector: Vector = ()

    def as_item(self, name: str) -> Item:
        """Return the item with an id.

        Raises
        ------
        InvalidJson
            ``until`` is not after ``from``.
        """
        if self.from_ is not None and self.until is not None and self.until <= self.from_:
            message = f"expected a time after from, {self.from_.isoformat()}"
            raise InvalidJson(message, code="out-of-range", pointer="/until")
        return Item(**msgspec.structs.asdict(self) | {"item": name})


class ItemChanges(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}
):
    """The fields of a product to change; others stay.

    ``attributes`` are changed by name. ``null`` removes one, and a price, ``from`` or ``until``.
    """

    title: Title | UnsetType = UNSET
    category: Name | UnsetType = UNSET
    brand: Name | UnsetType = UNSET
    price: Price | UnsetType | None = UNSET
    description: Description | UnsetType = UNSET
    image: Image | UnsetType = UNSET
    attributes: Attributes | UnsetType = UNSET
    available: bool | UnsetType = UNSET
    from_: Time | UnsetType | None = UNSET
    until: Time | UnsetType | None = UNSET
    vector: Vector | UnsetType = UNSET

    def applied_to(self, item: Item) -> Item:
        """Return the changed item; raises as `ItemFields.as_item`."""
        given = {k: v for k, v in msgspec.structs.asdict(self).items() if v is not UNSET}
        if self.attributes is not UNSET:
            merged = item.attributes | self.attributes
            given["attributes"] = {k: v for k, v in merged.items() if v is not None}
        return ItemFields(**msgspec.structs.asdict(item) | given).as_item(item.item)


class RejectedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item that was not accepted: its place in the request, what is wrong, and where."""

    index: int
    item: str = ""
    pointer: str
    code: str
    detail: str


class ItemsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The result for the items of a request."""

    accepted: int
    rejected: tuple[RejectedItem, ...]
    position: LogPosition


_decode_fields = msgspec.json.Decoder(ItemFields).decode


_UNAVAILABLE = {503: "The catalogue or the log can't be reached"}
_NO_ITEM = {404: "No such item"} | _UNAVAILABLE


class ItemRoutes:
    """Items."""

    tag = "items"

    def __init__(self, deps: Deps) -> None:
        self._items = deps.items
        self._limiter = deps.limiter
        self._recommender = deps.recommender
        self._shelves = deps.shelves
        self._steering = deps.steering
        self._fields = AnswerFields(deps)
        self._epoch = deps.log.epoch

    @route("GET", "/v1/items", access="public", problems=_UNAVAILABLE)
    def list_items(self, query: ItemsQuery) -> ItemsPage:
        """Search items by text and category, page by page."""
        if query.ids:
            return self._by_id(query)
        found = self._items.catalogue.search(
            query.q, category=query.category, cursor=query.cursor, limit=query.limit
        )
        return ItemsPage(items=found.items, next=found.next)

    def _by_id(self, query: ItemsQuery) -> ItemsPage:
        if query.q or query.category or query.cursor:
            raise InvalidInput("ids can't be combined with q, category or cursor")
        if len(query.ids) > MAX_NAMED:
            raise InvalidInput(f"expected at most {MAX_NAMED} ids, got {len(query.ids)}")
        found = self._items.catalogue.get_many(query.ids)
        items = tuple(found[name] for name in dict.fromkeys(query.ids) if name in found)
        return ItemsPage(items=items, next="")

    @route(
        "POST",
        "/v1/items",
        consumes={JSON: ItemFields | list[ItemFields], NDJSON: str},
        returns=ItemsAnswer,
        status=202,
        problems={
            413: "More than 1 MiB, or more than 1,000 items",
            422: "No item was accepted; `rejected` contains the reasons",
        }
        | _UNAVAILABLE,
    )
    def post_items(self) -> Response:
        """Add or replace many items: an array, or lines of JSON."""
        entries, is_batch = read_entries((JSON, NDJSON), "items")
        self._limiter.charge(len(entries))
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
        return answer_batch(answer, rejected, is_accepted=bool(items), what="item")

    @route("GET", "/v1/categories", access="public", problems=_UNAVAILABLE)
    def list_categories(self) -> CategoriesAnswer:
        """List categories with the number of their items."""
        catalogue = self._items.catalogue
        return CategoriesAnswer(categories=catalogue.categories(), n_items=catalogue.count())

    @route("GET", "/v1/items/<item>", access="public", problems=_NO_ITEM)
    def get_item(self, item: str) -> Item:
        """Return an item."""
        found = self._items.catalogue.get_many([item]).get(item)
        if found is None:
            raise NotFound(f"the catalogue has no item {item!r}")
        return found

    @route(
        "PUT",
        "/v1/items/<item>",
        returns=Item,
        also={202: "Appended to the log; reads will return it later"},
        examples={
            "a product": {"title": "Lute", "category": "Music > Strings", "price": 420.0},
            "a product that is out of stock, for a season": {
                "title": "Sledge",
                "available": False,
                "from": "2026-11-01T00:00:00Z",
                "until": "2027-03-01T00:00:00Z",
            },
        },
        problems=_UNAVAILABLE,
    )
    def put_item(self, item: str, body: ItemFields) -> Response:
        """Add an item or replace it."""
        if body.item not in {"", item}:
            message = f"the body has item {body.item!r}, the URL has {item!r}; expected the same"
            raise HttpProblem(422, message, code="item-mismatch")
        try:
            changed = body.as_item(item)
        except InvalidJson as error:
            raise invalid(error, error.code) from error
        is_readable = self._items.change(item, changed)
        return json_response(changed, 200 if is_readable else 202)

    @route(
        "PATCH",
        "/v1/items/<item>",
        returns=Item,
        also={202: "Appended to the log; reads will return it later"},
        examples={
            "sold out, one attribute less": {"available": False, "attributes": {"new": None}}
        },
        problems=_NO_ITEM,
    )
    def patch_item(self, item: str, body: ItemChanges) -> Response:
        """Change some fields of an item; the others stay."""
        try:
            changed, is_readable = self._items.modify(item, body.applied_to)
        except InvalidJson as error:
            raise invalid(error, error.code) from error
        return json_response(changed, 200 if is_readable else 202)

    @route(
        "DELETE",
        "/v1/items/<item>",
        status=204,
        also={202: "Appended to the log; reads will omit it later"},
        problems=_NO_ITEM,
    )
    def delete_item(self, item: str) -> Response:
        """Delete an item from the catalogue and withdraw it from all lists.

        Items known from events only can be withdrawn too.
        """
        if not self._shelves.may_list(item):
            self.get_item(item)
        is_readable = self._items.change(item, None)
        response = Response(status=204 if is_readable else 202)
        response.headers["Cache-Control"] = "no-store"
        return response

    @route(
        "POST",
        "/v1/items/<item>/similar",
        access="public",
        query=SimilarQuery,
        as_body=as_body,
        returns=SimilarAnswer,
        examples={"cheaper ones": {"n": 5, "filter": {"price": {"max": 10}}}},
        problems=_NO_ITEM | {422: "A condition is invalid, or no placement has this name"},
    )
    def post_similar_items(self, item: str, body: ListBody) -> Response:
        """List the items most similar to one, by behaviour and by content."""
        request = body.request(self._steering.document()[1])
        found = self._shelves.similar(item, request)
        if found is None:
            self.get_item(item)
        neighbours = found or ()
        current = self._recommender.current
        answer = SimilarAnswer(
            item=item,
            generation=None if current is None else current[0],
            known=found is not None,
            next=next_cursor(request, [one.item for one in neighbours]),
            warnings=self._shelves.warnings(request),
            items=tuple(
                SimilarItem(item=one.item, score=one.score, why=one.why) for one in neighbours
            ),
        )
        fields = (*DEFAULT_FIELDS, "details") if body.fields is None else body.fields
        return self._fields.of(answer, fields)


def _read_item(index: int, raw: msgspec.Raw | bytes, *, is_batch: bool) -> Item | RejectedItem:
    """Return an entry of a request as an item, or the reason of its rejection."""
    name = ""
    try:
        fields = decode_json(
            _decode_fields, raw, InvalidJson, max_bytes=MAX_BODY_BYTES, kind=ItemFields
        )
        name = fields.item
        check_depth(fields.attributes, InvalidJson, pointer="/attributes", depth=2)
        found = fields.as_item(name)
    except InvalidJson as wrong:
        pointer, code, detail = wrong.pointer, wrong.code, wrong.reason
    else:
        if 0 < len(name) <= MAX_ID_CHARACTERS and is_printable(name):
            return found
        pointer, code = "/item", "invalid-name" if name else "missing"
        detail = f"expected an id of 1 to {MAX_ID_CHARACTERS} printable characters"
    prefix = f"/{index}" if is_batch else ""
    name = name[:MAX_ID_CHARACTERS]
    return RejectedItem(index=index, item=name, pointer=prefix + pointer, code=code, detail=detail)
