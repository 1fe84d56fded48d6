"""`EmbeddedCatalogue`: the catalogue on one machine, an SQLite file with an index of words (FTS5).

``items`` holds each item with its sort key, ``words`` indexes its folded words
(`recstream.catalogue.text.terms`). A batch of changes and the topic's position are one transaction.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

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
from recstream.core.records import Item, decode_stored_item
from recstream.errors import CatalogueUnavailable

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sort TEXT NOT NULL, category TEXT NOT NULL,
    json BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS items_by_sort ON items(sort);
CREATE INDEX IF NOT EXISTS items_by_category ON items(category, sort);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
    title, anywhere, content='', detail=column,
    tokenize="unicode61 remove_diacritics 0 categories 'L* N* Cn Co'"
);
CREATE TABLE IF NOT EXISTS position (
    only INTEGER PRIMARY KEY, epoch TEXT NOT NULL, next INTEGER NOT NULL
);
"""
_LAST_CHARACTER = "\U0010ffff"
_IDS_PER_QUERY = 500


class EmbeddedCatalogue:
    """Items in a folder of their own, for one process. See `recstream.catalogue.port.Catalogue`.

    Parameters
    ----------
    folder : str or Path
        Created if missing. It may be deleted: the catalogue is built again from the log. A damaged
        file is set aside and built again too.

    Raises
    ------
    CatalogueUnavailable
        Another process holds the folder, or it can't be read or written.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._path = self._folder / "items.db"
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._is_closed = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._held = os.open(
                self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
            )
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CatalogueUnavailable(
                f"the catalogue folder {self._folder} can't be opened: {error}; it must be writable, "
                "and no other process may use it"
            ) from error
        try:
            self._writer = self._open()
        except sqlite3.Error as error:
            os.close(self._held)
            raise self._unavailable(error) from error

    def apply(
        self, changes: Mapping[str, Item | None], position: ViewPosition | None = None
    ) -> None:
        """Upsert items, and delete those whose value is ``None``, in one transaction."""
        with self._writing() as connection:
            held = _position(connection)
            if position and held and held.epoch == position.epoch and held.offset > position.offset:
                return
            for name, item in changes.items():
                _replace(connection, name, item)
            if position:
                connection.execute(
                    "INSERT OR REPLACE INTO position VALUES (1, ?, ?)",
                    (stored_epoch(position.epoch), position.offset),
                )

    def get_many(self, ids: Iterable[str]) -> dict[str, Item]:
        """Return the items that exist, by id."""
        names = list(ids)
        found: dict[str, Item] = {}
        with self._reading() as connection:
            for at in range(0, len(names), _IDS_PER_QUERY):
                some = names[at : at + _IDS_PER_QUERY]
                marks = ",".join("?" * len(some))
                query = f"SELECT id, json FROM items WHERE id IN ({marks})"  # noqa: S608 - marks alone
                found |= {
                    name: decode_stored_item(json) for name, json in connection.execute(query, some)
                }
        return {name: found[name] for name in names if name in found}

    def search(
        self, text: str = "", *, category: str = "", cursor: str = "", limit: int = 20
    ) -> Page:
        """Return items by title, or those that match a text, best first."""
        with self._reading() as connection:

            def find(query: TierQuery, limit: int) -> list[tuple[str, Item]]:
                statement, values = _statement(query)
                rows = connection.execute(statement, values | {"limit": limit})
                return [(sort, decode_stored_item(json)) for sort, json in rows]

            return search_page(find, text, category=category, cursor=cursor, limit=limit)

    def categories(self) -> dict[str, int]:
        """Return the categories that have items, by name, with their number of items."""
        with self._reading() as connection:
            return merged_forms(
                connection.execute(
                    "SELECT category, count(*) FROM items WHERE category > '' GROUP BY category"
                )
            )

    def count(self) -> int:
        """Return the number of items."""
        with self._reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM items").fetchone()
            return int(count)

    def position(self) -> ViewPosition | None:
        """Return how far the topic was applied."""
        with self._reading() as connection:
            return _position(connection)

    def clear(self) -> None:
        """Delete every item and the position."""
        with self._writing() as connection:
            connection.execute("DELETE FROM items")
            connection.execute("INSERT INTO words(words) VALUES ('delete-all')")
            connection.execute("DELETE FROM position")

    def close(self) -> None:
        """Close the file, so that another process can open it."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._writer.close()
                while self._idle:
                    self._idle.pop().close()
                os.close(self._held)

    def _open(self) -> sqlite3.Connection:
        """Return the writing connection; a damaged file is set aside first."""
        try:
            return self._prepared()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise
            log.warning("catalogue file is damaged and built again path=%s: %s", self._path, error)
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    damaged = self._path.with_name(f"items.db{suffix}")
                    damaged.replace(damaged.with_name(f"{damaged.name}.damaged"))
            return self._prepared()

    def _prepared(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            connection.executescript(_SCHEMA)
            connection.execute("SELECT count(*) FROM items").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA cache_size=-32768")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection, None, None]:
        """Yield a connection that sees one snapshot throughout the block."""
        with self._translated_errors():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
                if self._is_closed:
                    connection.close()
                else:
                    self._idle.append(connection)

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection, None, None]:
        """Yield the writing connection inside a transaction."""
        with self._lock, self._translated_errors():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated_errors(self) -> Generator[None, None, None]:
        if self._is_closed:
            raise CatalogueUnavailable(f"the catalogue in {self._folder} is closed")
        try:
            yield
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> CatalogueUnavailable:
        return CatalogueUnavailable(
            f"the catalogue in {self._folder} failed: {error}; if the folder is damaged, delete it: "
            "it is built again from the log"
        )


def _replace(connection: sqlite3.Connection, name: str, item: Item | None) -> None:
    """Put, replace or delete one item and its words."""
    row = connection.execute("SELECT number, json FROM items WHERE id=?", (name,)).fetchone()
    if row is not None:
        number, json = row
        old = decode_stored_item(json)
        if old == item:
            return
        connection.execute(
            "INSERT INTO words(words, rowid, title, anywhere) VALUES ('delete', ?, ?, ?)",
            (number, *_words(old)),
        )
        connection.execute("DELETE FROM items WHERE number=?", (number,))
    if item is not None:
        sort = terms(item).sort
        added = connection.execute(
            "INSERT INTO items(id, sort, category, json) VALUES (?, ?, ?, ?)",
            (name, sort, item.category, msgspec.json.encode(item)),
        )
        connection.execute(
            "INSERT INTO words(rowid, title, anywhere) VALUES (?, ?, ?)",
            (added.lastrowid, *_words(item)),
        )


def _words(item: Item) -> tuple[str, str]:
    """Return the indexed words of the title, and of the whole item."""
    found = terms(item)
    return " ".join(found.title_words), " ".join(found.words)


def _statement(query: TierQuery) -> tuple[str, dict[str, str | int]]:
    """Return the statement for one tier of the ranking, and its values."""
    tier, words, phrase, category, after = query
    values: dict[str, str | int] = {"end": phrase + _LAST_CHARACTER}
    source = "items"
    conditions = ["sort > :after"]
    if category:
        forms = {f"category{at}": form for at, form in enumerate(unicode_forms(category))}
        values |= forms
        conditions.append(f"category IN ({', '.join(f':{name}' for name in forms)})")
    if tier == 0:
        # A sort key is longer than the phrase it begins with, so one lower bound serves for both.
        values["after"] = max(after, phrase)
        conditions.append("sort < :end")
    else:
        values |= {"after": after, "phrase": phrase}
        source = "words CROSS JOIN items ON items.number = words.rowid"
        conditions.append("NOT (sort > :phrase AND sort < :end)")
        values["match"] = _match("title" if tier == 1 else "anywhere", words)
        conditions.append("words MATCH :match")
    if tier == TIERS - 1:
        values["in_title"] = _match("title", words)
        conditions.append("number NOT IN (SELECT rowid FROM words WHERE words MATCH :in_title)")
    where = " AND ".join(conditions)
    statement = f"SELECT sort, json FROM {source} WHERE {where} ORDER BY sort LIMIT :limit"  # noqa: S608 - no value in it
    return statement, values


def _match(column: str, words: tuple[str, ...]) -> str:
    """Return the FTS5 expression: every word begins a word of the column."""
    return " AND ".join(f'{column}:"{word}"*' for word in words)


def _position(connection: sqlite3.Connection) -> ViewPosition | None:
    row = connection.execute("SELECT epoch, next FROM position").fetchone()
    return None if row is None else ViewPosition(held_epoch(row[0]), row[1])
