"""The store is a view of the topic: whatever happens to it, the log makes it equal again."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from recstream.catalogue.embedded import EmbeddedCatalogue
from recstream.catalogue.port import ViewPosition
from recstream.catalogue.view import CatalogueView, delete_record, upsert_record
from recstream.core.records import Item
from recstream.errors import CatalogueUnavailable
from recstream.log import open_log
from recstream.log.port import EventLog, NewRecord
from recstream.log.topics import CATALOGUE, topic_specs
from tests.waiting import wait_until

TENT = Item(item="p1", title="Red tent", category="Outdoor")
MUG = Item(item="p2", title="Blue mug", price=4.5)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = open_log(f"embedded://{tmp_path / 'log.db'}")
    opened.create_topics(topic_specs(2))
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedCatalogue]:
    opened = EmbeddedCatalogue(tmp_path / "view")
    yield opened
    opened.close()


def catch_up(view: CatalogueView) -> int:
    """Apply all records that the topic has now; return their number."""
    return sum(iter(view.poll, 0))


def contents(store: EmbeddedCatalogue) -> dict[str, Item]:
    return {item.item: item for item in store.search(limit=1000).items}


def test_records_become_items_and_tombstones_take_them_out(
    log: EventLog, store: EmbeddedCatalogue
) -> None:
    log.append([upsert_record(TENT), upsert_record(MUG), delete_record("p1")])

    applied = catch_up(CatalogueView(log, store))

    assert applied == 3
    assert contents(store) == {"p2": MUG}
    assert store.position() == ViewPosition(log.epoch, 3)


def test_a_reopened_view_continues_at_its_last_offset(
    log: EventLog, store: EmbeddedCatalogue
) -> None:
    log.append([upsert_record(TENT)])
    catch_up(CatalogueView(log, store))
    log.append([upsert_record(MUG)])

    assert catch_up(CatalogueView(log, store)) == 1
    assert contents(store) == {"p1": TENT, "p2": MUG}


def test_a_deleted_store_is_built_again_equal(log: EventLog, tmp_path: Path) -> None:
    log.append([upsert_record(TENT), upsert_record(MUG)])
    first, second = EmbeddedCatalogue(tmp_path / "a"), EmbeddedCatalogue(tmp_path / "b")

    catch_up(CatalogueView(log, first))
    catch_up(CatalogueView(log, second, batch_size=1))

    assert contents(first) == contents(second) == {"p1": TENT, "p2": MUG}
    first.close()
    second.close()


def test_a_store_of_another_log_is_emptied_first(log: EventLog, store: EmbeddedCatalogue) -> None:
    store.apply({"old": Item(item="old", title="Of another log")}, ViewPosition("OTHER", 1))
    log.append([upsert_record(TENT)])

    catch_up(CatalogueView(log, store))

    assert contents(store) == {"p1": TENT}


def test_a_store_with_words_of_another_version_is_built_again(
    log: EventLog, tmp_path: Path
) -> None:
    log.append([upsert_record(TENT)])
    store = EmbeddedCatalogue(tmp_path / "old")
    store.apply({"p1": Item(item="p1", title="Words made otherwise")}, ViewPosition(log.epoch, 1))
    store.close()
    with closing(sqlite3.connect(tmp_path / "old" / "items.db")) as file, file:
        file.execute("UPDATE position SET epoch = ?", (log.epoch,))  # as earlier versions kept it
    store = EmbeddedCatalogue(tmp_path / "old")

    catch_up(CatalogueView(log, store))

    assert contents(store) == {"p1": TENT}
    store.close()


def test_a_store_ahead_of_its_log_is_built_again(log: EventLog, store: EmbeddedCatalogue) -> None:
    log.append([upsert_record(TENT)])
    store.apply({"lost": Item(item="lost")}, ViewPosition(log.epoch, 99))

    catch_up(CatalogueView(log, store))

    assert contents(store) == {"p1": TENT}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"p1", b"{"),
        (b"p1", b'{"title":"no id"}'),
        (b"other", b'{"item":"p1"}'),
        (None, b'{"item":"p1"}'),
        (b"\xff", None),
        (b"p1", b'{"item":"p1","price":"cheap"}'),
    ],
)
def test_a_record_that_is_no_item_is_counted_and_passed_over(
    log: EventLog, store: EmbeddedCatalogue, key: bytes | None, value: bytes | None
) -> None:
    log.append([NewRecord(CATALOGUE, key, value, 0), upsert_record(MUG)])
    view = CatalogueView(log, store)

    catch_up(view)

    assert view.unreadable == 1
    assert contents(store) == {"p2": MUG}


def test_a_follower_applies_new_records_and_notifies_listeners(
    log: EventLog, store: EmbeddedCatalogue
) -> None:
    told: list[dict[str, Item | None]] = []

    view = CatalogueView(log, store, on_change=told.append)
    stopping = threading.Event()
    follower = threading.Thread(target=view.follow, args=(stopping,))
    follower.start()
    log.append([upsert_record(TENT)])
    wait_until(lambda: told == [{"p1": TENT}])
    log.append([delete_record("p1")])
    wait_until(lambda: told[1:] == [{"p1": None}])
    stopping.set()
    view.wake()
    follower.join(5)

    assert not follower.is_alive()
    assert contents(store) == {}


class Away:
    """A store that can't be reached for a while."""

    def __init__(self, store: EmbeddedCatalogue, times: int) -> None:
        self._store = store
        self.left = times
        self.position = store.position
        self.clear = store.clear

    def apply(self, changes: dict[str, Item | None], position: ViewPosition | None = None) -> None:
        if self.left:
            self.left -= 1
            raise CatalogueUnavailable("away")
        self._store.apply(changes, position)


def test_nothing_is_lost_while_the_store_is_away(log: EventLog, store: EmbeddedCatalogue) -> None:
    log.append([upsert_record(TENT), upsert_record(MUG)])
    view = CatalogueView(log, Away(store, 2), batch_size=1)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(CatalogueUnavailable):
            catch_up(view)

    catch_up(view)

    assert contents(store) == {"p1": TENT, "p2": MUG}


def test_a_folder_that_another_holds_is_refused_with_advice(
    store: EmbeddedCatalogue, tmp_path: Path
) -> None:
    assert store.count() == 0
    with pytest.raises(CatalogueUnavailable, match="no other process may use it"):
        EmbeddedCatalogue(tmp_path / "view")


@pytest.mark.parametrize("content", [b"no database", b"\0" * 10_000])
def test_a_damaged_file_is_set_aside_and_built_again(
    log: EventLog, tmp_path: Path, content: bytes
) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "items.db").write_bytes(content)
    log.append([upsert_record(Item(item="p1", title="One"))])

    opened = EmbeddedCatalogue(folder)
    view = CatalogueView(log, opened)
    catch_up(view)

    assert contents(opened) == {"p1": Item(item="p1", title="One")}
    assert (folder / "items.db.damaged").read_bytes() == content
    view.close()
    opened.close()
