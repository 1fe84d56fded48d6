"""What only a real server shows: it is away, it comes back, it refuses, and several follow at once."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pymongo
import pytest

from recstream.catalogue import open_catalogue
from recstream.catalogue.mongo import MongoCatalogue
from recstream.catalogue.port import ViewPosition
from recstream.core.records import Item
from recstream.errors import CatalogueUnavailable, InvalidSetting, ModelStoreUnavailable
from recstream.models.gridfs import GridFsStore
from recstream.trainer.lease import SESSION_TIMEOUT_S

if TYPE_CHECKING:
    from tests.conftest import Server

pytestmark = pytest.mark.integration


def test_the_indexes_are_there_after_opening(mongo_database_url: str) -> None:
    for _ in range(2):
        open_catalogue(mongo_database_url).close()

    with pymongo.MongoClient(mongo_database_url) as client:
        indexes = client.get_default_database()["items"].index_information()
    assert {tuple(name for name, _ in index["key"]) for index in indexes.values()} == {
        ("_id",),
        ("sort",),
        ("category", "sort"),
        ("title_words", "sort"),
        ("words", "sort"),
    }


def test_a_server_that_is_away_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(CatalogueUnavailable, match=rf"127\.0\.0\.1:{port}.*check that it runs"):
            open_catalogue(f"mongodb://127.0.0.1:{port}/x?serverSelectionTimeoutMS=200")


def test_a_wrong_password_is_reported_and_not_shown(mongo_server: Server) -> None:
    url = f"mongodb://shop:guessed@127.0.0.1:{mongo_server.port}/x"

    with pytest.raises(CatalogueUnavailable, match="rejects user or password") as refused:
        open_catalogue(url)

    assert "guessed" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["mongodb://", "mongodb:///x", "mongodb://h:port/x", "mysql://u:p@h"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match="catalogue must be"):
        open_catalogue(url)


def test_an_item_too_large_for_a_document_is_skipped(mongo_database_url: str) -> None:
    catalogue = open_catalogue(mongo_database_url)
    huge = Item(item="p1", title="Huge", attributes={"x": "x" * 17_000_000})

    catalogue.apply({"p1": huge, "p2": Item(item="p2")}, ViewPosition("E", 2))

    assert catalogue.get_many(["p1", "p2"]).keys() == {"p2"}
    assert catalogue.position() == ViewPosition("E", 2)

    catalogue.close()


def test_a_server_that_comes_back_is_used_again(start_server: Callable[..., Server]) -> None:
    server = start_server("mongo")
    url = f"mongodb://127.0.0.1:{server.port}/x?serverSelectionTimeoutMS=300"
    catalogue, models = open_catalogue(url), GridFsStore(url)
    catalogue.apply({"p1": Item(item="p1", title="Mug")})
    models.put("generation-1.npz", b"content")

    server.kill()
    with pytest.raises(CatalogueUnavailable):
        catalogue.search("mug")
    with pytest.raises(ModelStoreUnavailable):
        models.get("generation-1.npz")
    server.start()

    assert models.get("generation-1.npz") == b"content"
    assert [item.item for item in catalogue.search("mug").items] == ["p1"]
    catalogue.close()
    models.close()


def test_a_look_into_a_store_that_hangs_ends_before_a_trainer_loses_its_lease(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("mongo")
    models = GridFsStore(f"mongodb://127.0.0.1:{server.port}/x")
    models.put("generation-1.npz", b"content")

    pid = int((server.directory / "pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    begun_s = time.monotonic()
    for look in (models.list, lambda: models.stamp("generation-1.npz")):
        with pytest.raises(ModelStoreUnavailable):
            look()
    took_s = time.monotonic() - begun_s
    os.kill(pid, signal.SIGCONT)

    assert took_s < SESSION_TIMEOUT_S
    assert models.list() == ["generation-1.npz"]
    models.close()


def test_followers_at_different_places_leave_the_newest_of_every_item(
    mongo_database_url: str,
) -> None:
    history = [
        (
            f"p{number % 7}",
            None if number % 5 == 0 else Item(item=f"p{number % 7}", title=f"T{number}"),
        )
        for number in range(200)
    ]
    expected = {name: item for name, item in dict(history).items() if item is not None}

    def follow(size: int) -> None:
        with contextlib.closing(MongoCatalogue(mongo_database_url)) as catalogue:
            for start in range(0, len(history), size):
                part = history[start : start + size]
                catalogue.apply(dict(part), ViewPosition("E", start + len(part)))

    threads = [threading.Thread(target=follow, args=(size,)) for size in (1, 3, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    catalogue = MongoCatalogue(mongo_database_url)
    assert catalogue.get_many(dict(history)) == expected
    assert catalogue.count() == len(expected)
    assert catalogue.position() == ViewPosition("E", 200)
    catalogue.close()


def test_names_of_attributes_are_the_shops_own(mongo_database_url: str) -> None:
    catalogue = open_catalogue(mongo_database_url)
    names = ["$where", "a.b", "", "é", "_id"]
    item = Item(item="$p.1", title="T", attributes={name: [[1]] for name in names})
    nested = itertools.chain.from_iterable([[item.item], [item.item]])

    catalogue.apply({item.item: item})

    assert catalogue.get_many(nested) == {item.item: item}
    catalogue.close()
