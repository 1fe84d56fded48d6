"""Parquet file of a checkpoint: table rows as columns, and back, byte for byte.

One row of the file is a (user, item) entry. In front of a user's entries is a header row: its
``item`` is null, and ``rest`` holds the user's other table rows (header, newest list, event ids) as
they are. A page whose bytes its entries don't give again is kept in ``rest`` too. Users are in key
order and never cross a row group, so that one user is read without the others.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recstream.core.history import Entry, RatedEntry, parse_rows, table_rows
from recstream.core.numeric.arrays import Int32s, UInt8s
from recstream.errors import CheckpointCorrupt, CheckpointError

KEPT_PAGES = "recstream.kept_pages"
"""Metadata of the file: number of pages in ``rest``. Files of version 0.1 lack it."""
GROUP_BYTES = 8 << 20
"""Bytes of table rows after which a row group is closed."""
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
"""``weight`` … ``rated_at_ms`` are the fields of `recstream.core.history.Entry` and `RatedEntry`.
On a header row ``at_ms``, ``offset`` and ``n_events`` are the history's clock, newest offset and
events."""

ROWS_ALONE = frozenset({"kind", "rating_weight", "rated_at_ms", "page", "rest"})
"""Columns that the table's rows need and the entries' weights don't."""

Row = tuple[bytes, bytes]
"""Key and value of a table row."""
_Rest = list[Row]
_ENTRY = Entry.__struct_fields__
_RATED = RatedEntry.__struct_fields__
_decode_rest = msgspec.msgpack.Decoder(_Rest).decode


class Counts(NamedTuple):
    """Numbers of users, of entries, and of events folded into them."""

    users: int
    entries: int
    events: int


def _table(keys: Sequence[bytes], values: Sequence[bytes]) -> tuple[pa.Table, Counts, int]:
    """Return whole users' rows as a row group, its counts, and the number of kept pages."""
    found = parse_rows(keys, values)
    users = pa.DictionaryArray.from_arrays(
        pa.array(found.user), _blocks(pa.string(), found.users, found.user_ends)
    )
    is_entry = ~found.is_header
    arrays = [
        users,
        _blocks(pa.string(), found.items, found.item_ends, is_entry),
        pa.array(found.weight),
        pa.array(found.at_ms),
        pa.array(found.kind.astype(np.int16)),
        pa.array(found.offset),
        pa.array(found.n_events),
        pa.array(found.rating_weight, mask=~found.is_rated),
        pa.array(found.rated_at_ms, mask=~found.is_rated),
        pa.array(found.page.astype(np.int32)),
        _blocks(pa.binary(), found.rest, found.rest_ends, found.is_header),
    ]
    n_users = len(found.user_ends)
    n_events = int(found.n_events[found.is_header].sum())
    counts = Counts(n_users, len(found.page) - n_users, n_events)
    return pa.Table.from_arrays(arrays, schema=COLUMNS), counts, found.n_kept


def _blocks(
    kind: pa.DataType, block: UInt8s, ends: Int32s, is_valid: NDArray[np.bool_] | None = None
) -> pa.Array:
    """Return an array of texts or bytes from one block and the end of each."""
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    valid = None if is_valid is None else pa.py_buffer(np.packbits(is_valid, bitorder="little"))
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(block[: offsets[-1]])]
    found = pa.Array.from_buffers(kind, len(ends), buffers)
    found.validate(full=True)
    return found


def write_rows(rows: Iterable[Row]) -> tuple[bytes, Counts]:
    """Return a Parquet file of table rows, without the row that closes a group, and its counts.

    Parameters
    ----------
    rows : iterable of (key, value)
        In key order.

    Raises
    ------
    CheckpointError
        They are not the rows of a table.
    """
    sink = io.BytesIO()
    total, n_kept = Counts(0, 0, 0), 0
    with pq.ParquetWriter(sink, COLUMNS, compression="zstd") as writer:
        for keys, values in _groups(rows):
            try:
                table, counts, n_kept_here = _table(keys, values)
            except (pa.ArrowException, ValueError) as error:
                raise CheckpointError(f"rows of a table can't be read: {error}") from error
            writer.write_table(table)
            total = Counts(*map(sum, zip(total, counts, strict=True)))
            n_kept += n_kept_here
        writer.add_key_value_metadata({KEPT_PAGES: str(n_kept)})
    return sink.getvalue(), total


def _groups(rows: Iterable[Row]) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield keys and values of whole users, about `GROUP_BYTES` at a time; at least one group."""
    keys: list[bytes] = []
    values: list[bytes] = []
    n_bytes = 0
    user = b""
    for key, value in rows:
        if n_bytes >= GROUP_BYTES:
            if not user:
                user = keys[-1].partition(b"\0")[0]
            if key.partition(b"\0")[0] != user:
                yield keys, values
                keys, values, n_bytes, user = [], [], 0, b""
        keys.append(key)
        values.append(value)
        n_bytes += len(value)
    yield keys, values


def read_rows(content: bytes) -> Iterator[tuple[bytes, list[Row]]]:
    """Yield each user and the user's table rows, in key order of the users.

    Raises
    ------
    CheckpointCorrupt
        Not a checkpoint's file, or the rows don't fit together.
    """
    for group in read_groups(content):
        yield from rows_of_group(group)


def read_groups(content: bytes, *, entries_alone: bool = False) -> Iterator[pa.Table]:
    """Yield the row groups of a checkpoint's file, as `COLUMNS`.

    Parameters
    ----------
    entries_alone : bool
        Leave out the columns of `ROWS_ALONE`, and give items as a dictionary, if no page is kept in
        ``rest``. Then the histories' entries can be read, the table's rows can't.

    Raises
    ------
    CheckpointCorrupt
        Not a checkpoint's file.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        names = COLUMNS.names
        if entries_alone and (file.metadata.metadata or {}).get(KEPT_PAGES.encode()) == b"0":
            names = [each for each in names if each not in ROWS_ALONE]
            file = pq.ParquetFile(io.BytesIO(content), read_dictionary=["item"])
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=names)
    except (pa.ArrowException, msgspec.MsgspecError, ValueError, KeyError, OSError) as error:
        raise CheckpointCorrupt(f"the file of a checkpoint can't be read: {error}") from error


def count_rows(content: bytes) -> int:
    """Return the number of rows of a checkpoint's file, by its footer.

    Raises
    ------
    CheckpointCorrupt
        Not a checkpoint's file.
    """
    try:
        metadata = pq.read_metadata(io.BytesIO(content))
    except (pa.ArrowException, ValueError, OSError) as error:
        raise CheckpointCorrupt(f"the file of a checkpoint can't be read: {error}") from error
    if metadata.schema.names != COLUMNS.names:
        raise CheckpointCorrupt(
            f"the file of a checkpoint must have the columns {', '.join(COLUMNS.names)}, got "
            f"{', '.join(metadata.schema.names)}"
        )
    return int(metadata.num_rows)


def rows_of_group(group: pa.Table) -> Iterator[tuple[bytes, list[Row]]]:
    """Yield the users of a row group and their table rows.

    Raises
    ------
    CheckpointCorrupt
        The rows don't fit together.
    """
    users = _users(group)
    while True:
        try:
            found = next(users, None)
        except Exception as error:
            raise CheckpointCorrupt(
                f"the file of a checkpoint can't be read: {error!r}; delete the checkpoint"
            ) from error
        if found is None:
            return
        yield found


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
