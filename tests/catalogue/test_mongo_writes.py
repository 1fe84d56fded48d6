"""Writes to MongoDB, without a server: what can't be stored holds up nothing else."""

import pytest
from pymongo.errors import BulkWriteError

from recstream.catalogue.mongo import MongoCatalogue
from recstream.catalogue.port import ViewPosition
from recstream.core.records import Item
from recstream.errors import CatalogueUnavailable

BAD_VALUE, NOT_PRIMARY = 2, 10107


class Collection:
    """Documents by id; one of them is refused with a code."""

    def __init__(self, refused="", code=0):
        self.documents, self.refused, self.code = {}, refused, code

    def find(self, query, fields):
        del fields
        return [self.documents[each] for each in query["_id"]["$in"] if each in self.documents]

    def bulk_write(self, writes, *, ordered):
        assert not ordered
        documents = [each._doc for each in writes]
        errors = [
            {"code": self.code, "errmsg": "bad", "op": each}
            for each in documents
            if each["_id"] == self.refused
        ]
        self.documents |= {each["_id"]: each for each in documents if each["_id"] != self.refused}
        if errors:
            raise BulkWriteError({"writeErrors": errors})


class Catalogue(MongoCatalogue):
    def __init__(self, items):
        self._items, self._where, self.stored = items, "here", None

    def _store_position(self, position):
        self.stored = position


def items(**titles):
    return {name: Item(item=name, title=title) for name, title in titles.items()}


@pytest.mark.slow
def test_an_item_too_large_for_a_document_is_skipped():
    catalogue = Catalogue(Collection())

    catalogue.apply(items(a="A", large="ab " * 6_000_000, z="Z"), ViewPosition("e", 3))

    assert catalogue._items.documents.keys() == {"a", "z"}
    assert catalogue.stored == ViewPosition("e", 3)


@pytest.mark.parametrize("known", [False, True])
def test_an_item_that_mongodb_refuses_is_skipped(known):
    collection = Collection(refused="bad", code=BAD_VALUE)
    if known:
        collection.documents["bad"] = {"_id": "bad", "at": 0}
    catalogue = Catalogue(collection)

    catalogue.apply(items(a="A", bad="B", z="Z"), ViewPosition("e", 3))

    assert {"a", "z"} <= collection.documents.keys()
    assert catalogue.stored == ViewPosition("e", 3)


def test_a_refusal_that_passes_is_tried_again():
    catalogue = Catalogue(Collection(refused="b", code=NOT_PRIMARY))

    with pytest.raises(CatalogueUnavailable):
        catalogue.apply(items(a="A", b="B"), ViewPosition("e", 3))

    assert catalogue.stored is None
