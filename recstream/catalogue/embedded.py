"""The catalogue on one machine: a rocksdict database that one process holds and anybody may delete.

Keys begin with a letter that says what they are::

    i <id>                                   the item as JSON
    o <sort>                          → category        every item in order
    c <length><category><sort>        → nothing         the items of a category in order
    t <word> 0x1f <sort>              → T or O, category  the items of a word: in its title, or elsewhere
    n <category>                      → number of items
    m count, m position

``<sort>`` is the folded title and the id (`recstream.catalogue.text.terms`). A change and all the keys
that follow from it, the topic's position included, are written in one batch.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec
from rocksdict import Options, Rdict, ReadOptions, WriteBatch

from recstream.catalogue import text as words_of
from recstream.catalogue.port import Page, ViewPosition
from recstream.catalogue.text import SEPARATOR, TIERS, Cursor
from recstream.core.records import Item, decode_item
from recstream.errors import CatalogueUnavailable

_COUNT = b"mcount"
_POSITION = b"mposition"
_MARK = SEPARATOR.encode()
_encode = msgspec.json.Encoder().encode


class EmbeddedCatalogue:
    """Items in a folder of their own. See `recstream.catalogue.port.Catalogue`.

    Parameters
    ----------
    folder : str or Path
        Created when it is not there.

    Raises
    ------
    CatalogueUnavailable
        Another process holds the folder, or it can't be read or written.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._lock = threading.Lock()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._db = Rdict(str(self._folder), _options())
        except Exception as error:
            message = (
                f"the catalogue folder {self._folder} can't be opened: {error}; it must be writable and"
                " no other process may hold it. It may be deleted: it is built again from the log"
            )
            raise CatalogueUnavailable(message) from error

    def apply(
        self, changes: Mapping[str, Item | None], position: ViewPosition | None = None
    ) -> None:
        """Upsert items, and delete those whose value is ``None``, in one batch."""
        with self._lock:
            held = self.position()
            if position and held and held.epoch == position.epoch and held.offset > position.offset:
                return
            before = self.get_many(changes)
            batch = WriteBatch(raw_mode=True)
            counts: dict[str, int] = {}
            for name, item in changes.items():
                old = before.get(name)
                if old == item:
                    continue
                added = {} if item is None else _keys(item)
                removed = {} if old is None else _keys(old)
                for key in removed.keys() - added.keys():
                    batch.delete(key)
                for key, value in added.items():
                    batch.put(key, value)
                if old is not None:
                    counts[old.category] = counts.get(old.category, 0) - 1
                if item is not None:
                    counts[item.category] = counts.get(item.category, 0) + 1
            self._write_counts(batch, counts)
            if position:
                batch.put(_POSITION, msgspec.msgpack.encode(position))
            self._write(batch)

    def get_many(self, ids: Iterable[str]) -> dict[str, Item]:
        """Return the items that are there, by id."""
        names = list(ids)
        values = self._get([b"i" + name.encode() for name in names])
        return {
            name: decode_item(value)
            for name, value in zip(names, values, strict=True)
            if value is not None
        }

    def search(
        self, text: str = "", *, category: str = "", cursor: str = "", limit: int = 20
    ) -> Page:
        """Return items by title, or those that match a text, best first."""
        words_of.check_limit(limit)
        start = words_of.decode_cursor(cursor)
        phrase = words_of.phrase(text)
        words = words_of.query_words(text)
        places: list[Cursor] = []
        matches: dict[str, bool] | None = None
        for tier in range(start.tier, TIERS if words else 1):
            after = start.after if tier == start.tier else ""
            wanted = limit + 1 - len(places)
            if tier == 0:
                sorts: Iterable[str] = self._in_order(phrase, category, after, wanted)
            else:
                matches = self._matches(words, category) if matches is None else matches
                sorts = heapq.nsmallest(
                    wanted,
                    (
                        sort
                        for sort, in_title in matches.items()
                        if in_title == (tier == 1) and sort > after and not sort.startswith(phrase)
                    ),
                )
            places += [Cursor(tier, sort) for sort in sorts]
            if len(places) > limit:
                break
        shown = places[:limit]
        names = [words_of.item_id(place.after) for place in shown]
        items = self.get_many(names)
        return Page(
            tuple(items[name] for name in names if name in items),
            words_of.encode_cursor(shown[-1]) if len(places) > limit else "",
        )

    def categories(self) -> dict[str, int]:
        """Return the categories that have items, by name, with how many."""
        return {
            key[1:].decode(): int.from_bytes(value, "big")
            for key, value in self._scan(b"n")
            if len(key) > 1
        }

    def count(self) -> int:
        """Return the number of items."""
        return int.from_bytes(self._get([_COUNT])[0] or b"", "big")

    def position(self) -> ViewPosition | None:
        """Return how far the topic was applied."""
        raw = self._get([_POSITION])[0]
        return None if raw is None else msgspec.msgpack.decode(raw, type=ViewPosition)

    def clear(self) -> None:
        """Delete every item and the position."""
        with self._lock:
            batch = WriteBatch(raw_mode=True)
            batch.delete_range(b"", b"\xff")
            self._write(batch)

    def close(self) -> None:
        """Close the database and let another process open it."""
        with self._lock:
            self._db.close()

    def _in_order(self, phrase: str, category: str, after: str, wanted: int) -> list[str]:
        """Return sort keys that begin with a phrase, in order, after one of them."""
        prefix = _category_key(category) if category else b"o"
        begin = prefix + phrase.encode()
        first = max(begin, prefix + after.encode() + b"\0") if after else begin
        found: list[str] = []
        for key, _ in self._scan(begin, first):
            found.append(key[len(prefix) :].decode())
            if len(found) == wanted:
                break
        return found

    def _matches(self, words: tuple[str, ...], category: str) -> dict[str, bool]:
        """Return the sort keys that hold every word, and whether all of them are in the title."""
        wanted = category.encode()
        matches: dict[bytes, bool] | None = None
        for word in sorted(words, key=len, reverse=True):
            found: dict[bytes, bool] = {}
            for key, value in self._scan(b"t" + word.encode()):
                if not category or value[1:] == wanted:
                    sort = key.partition(_MARK)[2]
                    found[sort] = found.get(sort, False) or value[:1] == b"T"
            if matches is None:
                matches = found
            else:
                matches = {
                    sort: in_title and found[sort]
                    for sort, in_title in matches.items()
                    if sort in found
                }
        return {sort.decode(): in_title for sort, in_title in (matches or {}).items()}

    def _scan(self, prefix: bytes, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values that begin with a prefix, from ``first`` on, as of now."""
        options = ReadOptions()
        options.set_iterate_upper_bound(prefix + b"\xff")
        try:
            yield from self._db.items(from_key=first or prefix, read_opt=options)
        except Exception as error:
            raise self._unavailable(error) from error

    def _get(self, keys: Sequence[bytes | str]) -> list[bytes | None]:
        try:
            return cast("list[bytes | None]", self._db.get(list(keys)))
        except Exception as error:
            raise self._unavailable(error) from error

    def _write(self, batch: WriteBatch) -> None:
        try:
            self._db.write(batch)
        except Exception as error:
            raise self._unavailable(error) from error

    def _write_counts(self, batch: WriteBatch, counts: Mapping[str, int]) -> None:
        """Add what the changes mean for the number of items, in all and in each category."""
        total = self.count() + sum(counts.values())
        batch.put(_COUNT, total.to_bytes(8, "big"))
        keys = [b"n" + category.encode() for category in counts]
        for key, change, raw in zip(keys, counts.values(), self._get(keys), strict=True):
            number = int.from_bytes(raw or b"", "big") + change
            if number:
                batch.put(key, number.to_bytes(8, "big"))
            else:
                batch.delete(key)

    def _unavailable(self, error: Exception) -> CatalogueUnavailable:
        return CatalogueUnavailable(
            f"the catalogue in {self._folder} failed: {error}; if the folder is damaged, delete it:"
            " it is built again from the log"
        )


def _keys(item: Item) -> dict[bytes, bytes]:
    """Return everything the database holds because of an item."""
    terms = words_of.terms(item)
    sort = terms.sort.encode()
    category = item.category.encode()
    keys = {b"i" + item.item.encode(): _encode(item), b"o" + sort: category}
    if item.category:
        keys[_category_key(item.category) + sort] = b""
    in_title = set(terms.title_words)
    for word in terms.words:
        flag = b"T" if word in in_title else b"O"
        keys[b"t" + word.encode() + _MARK + sort] = flag + category
    return keys


def _category_key(category: str) -> bytes:
    """Return the prefix of a category's items; its length keeps one from being another's prefix."""
    raw = category.encode()
    return b"c" + len(raw).to_bytes(4, "big") + raw


def _options() -> Options:
    """Return options for a view of some hundred thousand items.

    An item is some 30 keys that lie all over the order, so a small buffer means that the whole is
    merged again every few seconds while products come: with 8 MB that takes as much processor time
    as everything else that is done for them here.
    """
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(64 << 20)
    options.set_max_write_buffer_number(2)
    options.set_keep_log_file_num(2)
    return options
