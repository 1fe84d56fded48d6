"""Parquet file of a checkpoint: table rows as columns, and back, byte for byte.

One row of the file is a (user, item) entry. In front of a user's entries is a header row: its ``item``
is null, and ``rest`` holds the user's other table rows (header, newest list, event ids) as they are. A
page whose bytes its entries don't give again is kept in ``rest`` too. Users are in key order and never
cross a row group, so that one user is read without the others.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recstream.core.history import Entry, RatedEntry, table_rows
from recstream.errors import CheckpointCorrupt

GROUP_ROWS = 100_000
"""Rows of the file after which a row group is closed."""
COLUMNS = pa.schema(
    [
        ("user", pa.dictionary(pa.int32(), pa.string())),
        ("item", pa.string()),
        ("weight", pa.float64()),
        ("at_ms", pa.int64()),
        ("kind", pa.int16()),
        ("offset", pa.int64()),
        ("n_events", pa.int64()),
        ("rating_weight", pa.float64()),
        ("rated_at_ms", pa.int64()),
        ("page", pa.int32()),
        ("rest", pa.binary()),
    ]
)
"""``weight`` … ``rated_at_ms`` are the fields of `recstream.core.history.Entry` and `RatedEntry`. On a
header row ``at_ms``, ``offset`` and ``n_events`` are the history's clock, newest offset and events."""

Row = tuple[bytes, bytes]
"""Key and value of a table row."""
_Rest = list[Row]
_ENTRY = Entry.__struct_fields__
_RATED = RatedEntry.__struct_fields__
_encode = msgspec.msgpack.Encoder().encode
_decode_rest = msgspec.msgpack.Decoder(_Rest).decode


class Counts(NamedTuple):
    """Numbers of users, of entries, and of events folded into them."""

    users: int
    entries: int
    events: int


class _Group:
    """Users that become one row group."""

    def __init__(self) -> None:
        self.users: list[str] = []
        self.headers: list[int] = []
        self.rests: list[bytes] = []
        self.entries: list[Entry] = []
        self.pages: list[int] = []

    def add(self, user: bytes, rows: Iterable[Row]) -> int:
        """Add a user's rows; return the number of events in them."""
        self.users.append(user.decode())
        self.headers.append(len(self.entries))
        rest: _Rest = []
        entries: list[Entry] = []
        pages: list[int] = []
        first = Entry("", 0.0, 0, 0, -1, 0)
        for key, value in rows:
            _, kind, number = table_rows.split_key(key)
            if kind == "p":
                page = table_rows.decode_page(value)
                if table_rows.encode_row(page) == value and key == table_rows.page_key(
                    user, number
                ):
                    entries += page
                    pages += [number] * len(page)
                    continue
            elif kind == "h":
                header = table_rows.decode_header(value)
                first = Entry("", 0.0, header.clock_ms, 0, header.offset, header.n_ids)
            rest.append((key[len(user) :], value))
        self.entries.append(first)
        self.entries += entries
        self.pages.append(-1)
        self.pages += pages
        self.rests.append(_encode(rest))
        return first.n_events

    def table(self) -> pa.Table:
        entries = self.entries
        n_rows = len(entries)
        starts = np.array(self.headers, np.int64)
        sizes = np.diff(starts, append=n_rows)
        users = np.repeat(np.arange(len(starts), dtype=np.int32), sizes)
        items: list[str | None] = [each.item for each in entries]
        rests: list[bytes | None] = [None] * n_rows
        for at, rest in zip(self.headers, self.rests, strict=True):
            items[at], rests[at] = None, rest
        rated = [each if isinstance(each, RatedEntry) else None for each in entries]
        columns: list[Any] = [
            pa.DictionaryArray.from_arrays(pa.array(users), pa.array(self.users, pa.string())),
            items,
            [each.weight for each in entries],
            [each.at_ms for each in entries],
            [each.kind for each in entries],
            [each.offset for each in entries],
            [each.n_events for each in entries],
            [None if each is None else each.rating_weight for each in rated],
            [None if each is None else each.rated_at_ms for each in rated],
            self.pages,
            rests,
        ]
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column, field.type)
            for column, field in zip(columns, COLUMNS, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=COLUMNS)


def write_rows(rows: Iterable[Row]) -> tuple[bytes, Counts]:
    """Return a Parquet file of table rows, without the row that closes a group, and its counts.

    Parameters
    ----------
    rows : iterable of (key, value)
        In key order.
    """
    sink = io.BytesIO()
    n_users = n_entries = n_events = 0
    with pq.ParquetWriter(sink, COLUMNS, compression="zstd") as writer:
        group = _Group()
        for user, its_rows in groupby(rows, key=lambda row: row[0].partition(b"\0")[0]):
            if not user:
                continue
            n_events += group.add(user, its_rows)
            n_users += 1
            if len(group.entries) >= GROUP_ROWS:
                n_entries += len(group.entries) - len(group.users)
                writer.write_table(group.table())
                group = _Group()
        if group.users or not n_users:
            n_entries += len(group.entries) - len(group.users)
            writer.write_table(group.table())
    return sink.getvalue(), Counts(n_users, n_entries, n_events)


def read_rows(content: bytes) -> Iterator[tuple[bytes, list[Row]]]:
    """Yield each user and the user's table rows, in key order of the users.

    Raises
    ------
    CheckpointCorrupt
        Not a checkpoint's file, or the rows don't fit together.
    """
    for group in read_groups(content):
        yield from rows_of_group(group)


def read_groups(content: bytes) -> Iterator[pa.Table]:
    """Yield the row groups of a checkpoint's file, as `COLUMNS`.

    Raises
    ------
    CheckpointCorrupt
        Not a checkpoint's file.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=COLUMNS.names)
    except (pa.ArrowException, msgspec.MsgspecError, ValueError, KeyError, OSError) as error:
        raise CheckpointCorrupt(f"the file of a checkpoint can't be read: {error}") from error


def read_user(content: bytes, user: str) -> list[Row]:
    """Return one user's table rows; ``[]`` for an unknown user. Other row groups are not decoded."""
    try:
        table = pq.read_table(io.BytesIO(content), filters=[("user", "==", user)], schema=COLUMNS)
        for _, rows in _users(table.combine_chunks()):
            return rows
    except (pa.ArrowException, msgspec.MsgspecError, ValueError, KeyError, OSError) as error:
        raise CheckpointCorrupt(f"the file of a checkpoint can't be read: {error}") from error
    return []


def rows_of_group(group: pa.Table) -> Iterator[tuple[bytes, list[Row]]]:
    """Yield the users of a row group and their table rows.

    Raises
    ------
    CheckpointCorrupt
        The rows don't fit together.
    """
    try:
        yield from _users(group)
    except (pa.ArrowException, msgspec.MsgspecError, ValueError, KeyError) as error:
        raise CheckpointCorrupt(f"the file of a checkpoint can't be read: {error}") from error


def _users(table: pa.Table) -> Iterator[tuple[bytes, list[Row]]]:
    """Yield the users of a row group."""
    columns = {name: table.column(name).to_pylist() for name in COLUMNS.names if name != "user"}
    items, pages = columns["item"], columns["page"]
    entries: list[Entry] = list(map(Entry, *(columns[name] for name in _ENTRY)))
    for at, rated_at_ms in enumerate(columns["rated_at_ms"]):
        if rated_at_ms is not None:
            entries[at] = RatedEntry(*[columns[name][at] for name in _RATED])
    headers = [at for at, item in enumerate(items) if item is None]
    users = table.column("user").take(pa.array(headers, pa.int64())).to_pylist()
    ends = [*headers[1:], len(items)][: len(headers)]
    for name, start, end in zip(users, headers, ends, strict=True):
        user = name.encode()
        rows = [(user + suffix, value) for suffix, value in _decode_rest(columns["rest"][start])]
        header = next((value for key, value in rows if key == user), None)
        n_pages = 0 if header is None else table_rows.decode_header(header).n_pages
        missing = dict.fromkeys(range(n_pages))
        for key, _ in rows:
            _, kind, number = table_rows.split_key(key)
            if kind == "p":
                missing.pop(number, None)
        for number, places in groupby(range(start + 1, end), key=pages.__getitem__):
            page = tuple([entries[at] for at in places])
            rows.append((table_rows.page_key(user, number), table_rows.encode_row(page)))
            missing.pop(number, None)
        empty = table_rows.encode_row(())
        rows += [(table_rows.page_key(user, number), empty) for number in missing]
        yield user, rows
