"""`MongoCatalogue`: the catalogue in MongoDB or a compatible server, shared by several processes.

A document is an item with its search fields ``sort``, ``title_words`` and ``words``
(`recstream.catalogue.text.terms`) and ``at``, its offset in the topic. Several bridges may follow the
topic into one collection: a document is replaced only by a newer one, and a deleted item leaves
``{_id, at}`` behind, so that a follower that lags can't bring it back.

Only operations that MongoDB and FerretDB share are used. ``attributes`` are stored as JSON text: not
every server takes any field name, or arrays in arrays. FerretDB over SQLite, the test server, reads
every document for a query, because it has no indexes.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import bson
import msgspec
import pymongo
from pymongo import DeleteOne, InsertOne, MongoClient, ReplaceOne
from pymongo.collection import Collection
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from recstream.catalogue.port import Page, ViewPosition
from recstream.catalogue.text import (
    TIERS,
    TierQuery,
    held_epoch,
    merged_forms,
    search_page,
    stored_epoch,
    terms,
    unicode_forms,
)
from recstream.core.records import Item
from recstream.errors import CatalogueUnavailable, InvalidInput, InvalidSetting

log = logging.getLogger(__name__)

Document = dict[str, Any]
Write = InsertOne[Document] | ReplaceOne[Document] | DeleteOne

_DEFAULTS: dict[str, Any] = {
    "timeoutMS": 10_000,
    "serverSelectionTimeoutMS": 3_000,
    "appname": "recstream",
}
_VIEW = "catalogue"
_DUPLICATE = 11_000
_REFUSED = {13, 18}
_BAD_DOCUMENT = {2, 121, 10334, 17280}
"""A value, a document's form or size, or the size of an index key: the same again next time."""
_AT_ONCE = 1000
_PLAIN_FIELDS = ("title", "category", "brand", "price", "description", "image")
_encode_item, _decode_item = msgspec.json.Encoder().encode, msgspec.json.Decoder(Item).decode
_INDEXES = (("sort",), ("category", "sort"), ("title_words", "sort"), ("words", "sort"))
_SHORT_TEXT = 64 << 10
"""Characters of a document that is surely small enough."""
_MAX_BYTES = (16 << 20) - 1024
_LIVE: Document = {"sort": {"$gt": ""}}


class MongoCatalogue:
    """Items in MongoDB. See `recstream.catalogue.port.Catalogue`.

    Parameters
    ----------
    url : str
        ``mongodb://[user:password@]host[:port][/database][?options]``; time-outs may be among the
        options (``timeoutMS``, default 10 s an operation).

    Raises
    ------
    InvalidSetting
        The URL can't be read.
    CatalogueUnavailable
        The server can't be reached, or rejects user or password.
    """

    def __init__(self, url: str) -> None:
        try:
            given = {
                name.lower() for name in pymongo.uri_parser.parse_uri(url, warn=False)["options"]
            }
            defaults = {
                name: value for name, value in _DEFAULTS.items() if name.lower() not in given
            }
            self._client: MongoClient[Document] = MongoClient(url, **defaults)
            database = self._client.get_default_database("recstream")
        except (InvalidURI, ConfigurationError, ValueError) as error:
            message = f"catalogue must be mongodb://[user:password@]host[:port][/database]: {error}"
            raise InvalidSetting(message) from error
        self._items: Collection[Document] = database["items"]
        self._views: Collection[Document] = database["views"]
        nodes = pymongo.uri_parser.parse_uri(url, warn=False)["nodelist"]
        self._where = ", ".join(f"{host}:{port}" for host, port in nodes)
        try:
            with self._translated_errors():
                self._create_indexes()
        except CatalogueUnavailable:
            self._client.close()
            raise

    def apply(
        self, changes: Mapping[str, Item | None], position: ViewPosition | None = None
    ) -> None:
        """Upsert items, and delete those whose value is ``None``; then store the position."""
        names = list(changes)
        for start in range(0, len(names), _AT_ONCE):
            part = {name: changes[name] for name in names[start : start + _AT_ONCE]}
            with self._translated_errors():
                self._write(part, position)
        if position is not None:
            with self._translated_errors():
                self._store_position(position)

    def get_many(self, ids: Iterable[str]) -> dict[str, Item]:
        """Return the items that exist, by id."""
        with self._translated_errors():
            found = self._by_id(list(ids))
        return {document["_id"]: _item(document) for document in found if "sort" in document}

    def search(
        self, text: str = "", *, category: str = "", cursor: str = "", limit: int = 20
    ) -> Page:
        """Return items by title, or those that match a text, best first."""

        def find(query: TierQuery, limit: int) -> list[tuple[str, Item]]:
            found = self._items.find(_query(query)).sort("sort", 1).limit(limit)
            return [(document["sort"], _item(document)) for document in found]

        with self._translated_errors():
            return search_page(find, text, category=category, cursor=cursor, limit=limit)

    def categories(self) -> dict[str, int]:
        """Return the categories that have items, by name, with their number of items."""
        counted: list[Document] = [
            {"$match": {"category": {"$gt": ""}}},
            {"$group": {"_id": "$category", "items": {"$sum": 1}}},
        ]
        with self._translated_errors():
            found = self._items.aggregate(counted)
            return merged_forms((each["_id"], int(each["items"])) for each in found)

    def count(self) -> int:
        """Return the number of items."""
        with self._translated_errors():
            return self._items.count_documents(_LIVE)

    def position(self) -> ViewPosition | None:
        """Return how far the topic was applied."""
        with self._translated_errors():
            held = self._views.find_one({"_id": _VIEW})
        return (
            None if held is None else ViewPosition(held_epoch(held["epoch"]), int(held["offset"]))
        )

    def clear(self) -> None:
        """Delete every item and the position."""
        with self._translated_errors():
            self._views.delete_one({"_id": _VIEW})
            self._items.delete_many({})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _by_id(self, names: list[str], fields: Document | None = None) -> list[Document]:
        """Return the documents that exist, those of deleted items included."""
        found: list[Document] = []
        for start in range(0, len(names), _AT_ONCE):
            found += self._items.find({"_id": {"$in": names[start : start + _AT_ONCE]}}, fields)
        return found

    def _create_indexes(self) -> None:
        """Create the missing indexes, one by one.

        FerretDB closes the connection when several are requested and some exist, as happens when two
        bridges start at once.
        """
        for fields in _INDEXES:
            name = "_".join(f"{field}_1" for field in fields)
            if name not in self._items.index_information():
                try:
                    self._items.create_index([(field, 1) for field in fields], name=name)
                except AutoReconnect:
                    if name not in self._items.index_information():
                        raise

    def _write(self, changes: Mapping[str, Item | None], position: ViewPosition | None) -> None:
        """Write changes; a newer document is never replaced, and one that can't be stored is skipped."""
        at = -1 if position is None else position.offset
        held = {each["_id"]: each["at"] for each in self._by_id(list(changes), {"at": 1})}
        added: list[Write] = []
        replaced: list[Write] = []
        for name, item in changes.items():
            if position is not None and held.get(name, at - 1) >= at:
                continue
            try:
                document = _document(name, item, at)
            except InvalidInput as error:
                log.warning("catalogue item skipped reason=%s", error)
                continue
            if position is None and item is None:
                replaced.append(DeleteOne({"_id": name}))
            elif name not in held:
                added.append(InsertOne(document))
            else:
                older = {} if position is None else {"at": {"$lt": at}}
                replaced.append(ReplaceOne({"_id": name} | older, document))
        self._write_all(replaced)
        if failed := self._write_all(added):
            # Another follower inserted these first: write them again, compared with its documents.
            self._write({name: changes[name] for name in failed}, position)

    def _write_all(self, writes: list[Write]) -> list[str]:
        """Write documents; return the ids of those to insert that existed already."""
        if not writes:
            return []
        try:
            self._items.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            failed = error.details.get("writeErrors", [])
            if any(each["code"] not in {_DUPLICATE, *_BAD_DOCUMENT} for each in failed):
                raise
            for each in failed:
                if each["code"] != _DUPLICATE:
                    log.warning("catalogue item skipped reason=%s", str(each["errmsg"])[:300])
            return [str(each["op"]["_id"]) for each in failed if each["code"] == _DUPLICATE]
        return []

    def _store_position(self, position: ViewPosition) -> None:
        epoch = stored_epoch(position.epoch)
        same = {"_id": _VIEW, "epoch": epoch}
        fresh = {"epoch": epoch, "offset": position.offset}
        while not self._views.update_one(same, {"$max": {"offset": position.offset}}).matched_count:
            other = {"_id": _VIEW, "epoch": {"$ne": epoch}}
            if self._views.replace_one(other, fresh).matched_count:
                return
            try:
                self._views.insert_one({"_id": _VIEW, **fresh})
            except DuplicateKeyError:
                continue  # another follower inserted it first: update that one
            return

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise pymongo's errors as `CatalogueUnavailable`."""
        try:
            yield
        except OperationFailure as error:
            if error.code in _REFUSED:
                message = f"MongoDB at {self._where} rejects user or password: {_first_line(error)}"
            else:
                message = f"MongoDB at {self._where} refused an operation: {_first_line(error)}"
            raise CatalogueUnavailable(message) from error
        except PyMongoError as error:
            raise CatalogueUnavailable(
                f"MongoDB at {self._where} can't be reached: {_first_line(error)}; check that it"
                " runs and that the catalogue setting names it"
            ) from error


def _document(name: str, item: Item | None, at: int) -> Document:
    """Return the document of an item, or of a deleted one."""
    if item is None:
        return {"_id": name, "at": at}
    found = terms(item)
    plain = {field: getattr(item, field) for field in _PLAIN_FIELDS}
    attributes = msgspec.json.encode(item.attributes).decode()
    document = {
        "_id": name,
        **plain,
        "attributes": attributes,
        **_rest(item),
        "sort": found.sort,
        "title_words": list(found.title_words),
        "words": list(found.words),
        "at": at,
    }
    n_characters = sum(len(each) for each in document.values() if isinstance(each, str))
    if n_characters > _SHORT_TEXT and (size := len(bson.encode(document))) > _MAX_BYTES:
        raise InvalidInput(
            f"item {name[:80]!r} must have at most {_MAX_BYTES} bytes as a document of MongoDB, got "
            f"{size}; shorten its description or attributes"
        )
    return document


def _item(document: Document) -> Item:
    plain = {field: document[field] for field in _PLAIN_FIELDS}
    attributes = msgspec.json.decode(document["attributes"])
    if "rest" not in document:
        return Item(item=document["_id"], **plain, attributes=attributes)
    rest = _decode_item(document["rest"])
    return msgspec.structs.replace(rest, item=document["_id"], **plain, attributes=attributes)


def _rest(item: Item) -> Document:
    """Return the fields of an item that few have, as JSON; nothing if it has none of them."""
    cleared = dict.fromkeys((*_PLAIN_FIELDS[:3], *_PLAIN_FIELDS[4:]), "")
    rest = msgspec.structs.replace(item, item="", price=None, attributes={}, **cleared)
    return {} if rest == Item(item="") else {"rest": _encode_item(rest).decode()}


def _query(query: TierQuery) -> Document:
    """Return the query for the items of one tier of the ranking, after a sort key."""
    tier, words, phrase, category, after = query
    begins = {"sort": {"$regex": f"^{phrase}"}}
    conditions: list[Document] = [{"sort": {"$gt": after}}]
    if category:
        conditions.append({"category": {"$in": list(unicode_forms(category))}})
    if tier == 0 and words:
        conditions.append(begins)
    if tier > 0:
        field = "title_words" if tier == 1 else "words"
        conditions += [{field: {"$regex": f"^{word}"}} for word in words]
        conditions.append({"$nor": [begins]})
    if tier == TIERS - 1:
        in_title = [{"title_words": {"$regex": f"^{word}"}} for word in words]
        conditions.append({"$nor": [{"$and": in_title}]})
    return {"$and": conditions}


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(", full error:")[0][:300]
