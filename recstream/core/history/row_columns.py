"""Parse table rows of many users into columns, without a Python object an entry.

A page is parsed only if its bytes are the ones that its entries encode to; any other page is kept as bytes
with the user's other rows, so that all rows come back byte for byte.
"""
# ruff: noqa: C901, PLR0911, PLR0912, PLR0915, PLR2004  (a parser; its numbers are codes of MessagePack)

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Int32s, Int64s, UInt8s
from recstream.core.numeric.jit import compiled, helper

_MIN_ENTRY_BYTES = 15
"""Array header, id, weight and four numbers."""
_NUL, _PAGE = 0, ord("p")
_FIELDS, _RATED_FIELDS = 0x96, 0x98
_FLOAT = 0xCB
_MAX_KIND = 2**15 - 1
_MAX_PAGE = 2**31 - 1


class RowColumns(NamedTuple):
    """Entries of users, one user after another, with a header in front of each user's.

    A header has the history's clock, newest offset and number of events in ``at_ms``, ``offset`` and
    ``n_events``. ``rest`` has the user's rows that are no parsed page: MessagePack of [suffix of the key,
    value] pairs.

    Attributes
    ----------
    users, user_ends : UInt8s, Int32s
        The users' ids in one block, and the end of each.
    user : (n,) int32
        User of each entry and header, as a place in ``users``.
    items, item_ends : UInt8s, Int32s
        The entries' item ids, likewise; a header has no bytes.
    rest, rest_ends : UInt8s, Int32s
        The headers' other rows, likewise; an entry has no bytes.
    is_header, is_rated : (n,) bool
    weight, rating_weight : (n,) float64
    at_ms, kind, offset, n_events, rated_at_ms, page : (n,) int64
        ``page`` is -1 for a header.
    n_kept : int
        Pages with entries that are kept as bytes; empty ones are too, and don't count.
    """

    users: UInt8s
    user_ends: Int32s
    user: Int32s
    items: UInt8s
    item_ends: Int32s
    rest: UInt8s
    rest_ends: Int32s
    is_header: NDArray[np.bool_]
    is_rated: NDArray[np.bool_]
    weight: NDArray[np.float64]
    rating_weight: NDArray[np.float64]
    at_ms: Int64s
    kind: Int64s
    offset: Int64s
    n_events: Int64s
    rated_at_ms: Int64s
    page: Int64s
    n_kept: int


def parse_rows(keys: Sequence[bytes], values: Sequence[bytes]) -> RowColumns:
    """Return table rows as columns.

    Parameters
    ----------
    keys, values : sequence of bytes
        In key order, all rows of each user. Rows without a user are excluded.

    Raises
    ------
    ValueError
        The header of a history can't be read.
    """
    key_ends = np.cumsum(np.fromiter(map(len, keys), np.int64, len(keys)))
    value_ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
    key_block = np.frombuffer(b"".join(keys), np.uint8)
    block = np.frombuffer(b"".join(values), np.uint8)
    most = len(block) // _MIN_ENTRY_BYTES + len(keys) + 1
    users = np.empty(len(key_block), np.uint8)
    items = np.empty(len(block), np.uint8)
    rest = np.empty(len(key_block) + len(block) + 16 * len(keys), np.uint8)
    ends = np.empty((3, most), np.int32)
    of_user = np.empty(most, np.int32)
    flags = np.empty((2, most), np.bool_)
    floats = np.empty((2, most), np.int64)
    numbers = np.empty((6, most), np.int64)
    n_users, n, n_kept = _parse(
        key_block, key_ends, block, value_ends,
        users, items, rest, ends, of_user, flags, floats, numbers,
    )  # fmt: skip
    if n < 0:
        user = keys[-1 - int(n)].decode(errors="replace")
        raise ValueError(f"the header of the history of user {user!r} can't be read")
    weight, rating_weight = floats.view(np.float64)[:, :n]
    at_ms, kind, offset, n_events, rated_at_ms, page = numbers[:, :n]
    return RowColumns(
        users, ends[0, :n_users], of_user[:n], items, ends[1, :n], rest, ends[2, :n],
        flags[0, :n], flags[1, :n], weight, rating_weight,
        at_ms, kind, offset, n_events, rated_at_ms, page, int(n_kept),
    )  # fmt: skip


@helper
def _number(data: UInt8s, at: int, end: int) -> tuple[Any, Any]:
    """Return an integer and the position behind it; -1 if there is none in its shortest form."""
    if at >= end:
        return 0, -1
    first = np.int64(data[at])
    if first < 0x80:
        return first, at + 1
    if first >= 0xE0:
        return first - 256, at + 1
    if not 0xCC <= first <= 0xD3:
        return 0, -1
    size = 1 << ((first - 0xCC) & 3)
    if at + 1 + size > end:
        return 0, -1
    value = np.int64(0)
    for place in range(at + 1, at + 1 + size):
        value = (value << 8) | np.int64(data[place])
    if first < 0xD0:
        least = np.int64(128) if size == 1 else np.int64(1) << (4 * size)
        return (value, at + 1 + size) if value >= least else (value, -1)
    if size < 8 and value >= np.int64(1) << (8 * size - 1):
        value -= np.int64(1) << (8 * size)
    most = np.int64(-33) if size == 1 else -(np.int64(1) << (4 * size - 1)) - 1
    return (value, at + 1 + size) if value <= most else (value, -1)


@helper
def _length(
    data: UInt8s, at: int, end: int, fix: int, bits: int, code: int, size: int
) -> tuple[Any, Any]:
    """Return the length of an array or a text, and the position behind it; -1 as `_number` does.

    Parameters
    ----------
    fix, bits : int
        First byte of the shortest form, and the bits of the length in it.
    code, size : int
        First byte of the next form, and the bytes of its length; those of the last form are four.
    """
    if at >= end:
        return 0, -1
    first = np.int64(data[at])
    if first >> bits == fix >> bits:
        return first & ((1 << bits) - 1), at + 1
    is_shortest = first == code
    while first > code and size < 4:
        first -= 1
        size *= 2
    if first != code or at + 1 + size > end:
        return 0, -1
    value = np.int64(0)
    for place in range(at + 1, at + 1 + size):
        value = (value << 8) | np.int64(data[place])
    least = np.int64(1) << (bits if is_shortest else 4 * size)
    return (value, at + 1 + size) if value >= least else (value, -1)


@helper
def _float_bits(data: UInt8s, at: int, end: int) -> tuple[Any, Any]:
    """Return the bits of a float and the position behind it; -1 if there is none."""
    if at + 9 > end or data[at] != _FLOAT:
        return 0, -1
    bits = np.int64(0)
    for place in range(at + 1, at + 9):
        bits = (bits << 8) | np.int64(data[place])
    return bits, at + 9


@helper
def _page_number(keys: UInt8s, at: int, end: int) -> Any:
    """Return the number in the key of a page, -1 for any other key."""
    if at >= end or keys[at] != _PAGE or at + 1 == end:
        return -1
    if keys[at + 1] == ord("0") and end - at > 2:
        return -1
    number = np.int64(0)
    for place in range(at + 1, end):
        digit = np.int64(keys[place]) - ord("0")
        if not 0 <= digit <= 9 or number > _MAX_PAGE // 10 - 1:
            return -1
        number = 10 * number + digit
    return number


@helper
def _copy(source: UInt8s, at: int, end: int, target: UInt8s, to: int) -> int:
    for place in range(at, end):
        target[to + place - at] = source[place]
    return to + end - at


@helper
def _put_array(target: UInt8s, to: int, length: int) -> int:
    """Write the header of an array as MessagePack does."""
    if length < 16:
        target[to] = 0x90 | length
        return to + 1
    size = 2 if length < 1 << 16 else 4
    target[to] = 0xDC + size // 4
    return _put_number(target, to + 1, length, size)


@helper
def _put_length(target: UInt8s, to: int, length: int) -> int:
    """Write the length of bytes as MessagePack does."""
    size = 1 if length < 1 << 8 else 2 if length < 1 << 16 else 4
    target[to] = 0xC4 + size // 2
    return _put_number(target, to + 1, length, size)


@helper
def _put_number(target: UInt8s, to: int, value: int, size: int) -> int:
    for place in range(size):
        target[to + place] = (value >> (8 * (size - 1 - place))) & 255
    return to + size


@helper
def _parse_page(
    data: UInt8s, at: int, end: int, n: int, n_bytes: int, items: UInt8s, item_ends: Int32s,
    flags: Any, floats: Any, numbers: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Add the entries of a page; return the new numbers of entries and of bytes, -1 for an odd page.

    Parameters
    ----------
    data : uint8
    at, end : int
        Bounds of the page in it.
    n, n_bytes : int
        Entries, and bytes of item ids, so far.
    items, item_ends, flags, floats, numbers
        Columns of `_parse`; filled from ``n`` on.
    """
    count, at = _length(data, at, end, 0x90, 4, 0xDC, 2)
    if at < 0:
        return -1, 0
    for _ in range(count):
        if at >= end or (data[at] != _FIELDS and data[at] != _RATED_FIELDS):
            return -1, 0
        is_rated = data[at] == _RATED_FIELDS
        size, at = _length(data, at + 1, end, 0xA0, 5, 0xD9, 1)
        if at < 0 or at + size > end:
            return -1, 0
        n_bytes = _copy(data, at, at + size, items, n_bytes)
        floats[0, n], at = _float_bits(data, at + size, end)
        for field in range(4):
            if at < 0:
                return -1, 0
            numbers[field, n], at = _number(data, at, end)
        if not 0 <= numbers[1, n] <= _MAX_KIND:
            return -1, 0
        if is_rated and at >= 0:
            floats[1, n], at = _float_bits(data, at, end)
            if at < 0:
                return -1, 0
            numbers[4, n], at = _number(data, at, end)
            if numbers[4, n] < 0:
                return -1, 0
        if at < 0:
            return -1, 0
        flags[0, n], flags[1, n] = False, is_rated
        item_ends[n] = n_bytes
        n += 1
    return (n, n_bytes) if at == end else (-1, 0)


@helper
def _parse_header(data: UInt8s, at: int, end: int, n: int, numbers: Any) -> bool:
    """Set clock, newest offset and number of events of a history; return whether they can be read."""
    count, at = _length(data, at, end, 0x90, 4, 0xDC, 2)
    for field in range(6):
        if at < 0 or count < 6:
            return False
        value, at = _number(data, at, end)
        if field == 1:
            numbers[2, n] = value
        elif field == 3:
            numbers[0, n] = value
        elif field == 5:
            numbers[3, n] = value
    return at >= 0


@compiled
def _parse(
    keys: UInt8s, key_ends: Int64s, data: UInt8s, value_ends: Int64s,
    users: UInt8s, items: UInt8s, rest: UInt8s, ends: Int32s, of_user: Int32s,
    flags: Any, floats: Any, numbers: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Fill the columns; return the numbers of users, rows and kept pages.

    Instead of the rows: -1 - the row of a header that can't be read.

    Parameters
    ----------
    keys, key_ends : (bytes,) uint8 and (k,) int64
        Keys of the table's rows in one block, and the end of each.
    data, value_ends : (bytes,) uint8 and (k,) int64
        Likewise the values.
    users, items, rest : uint8
        Receive the blocks of `RowColumns`.
    ends : (3, n) int32
        Receives the ends of `users`, `items` and `rest`.
    of_user : (n,) int32
        Receives the user of each row.
    flags : (2, n) bool
        Receives ``is_header`` and ``is_rated``.
    floats : (2, n) int64
        Receives the bits of ``weight`` and ``rating_weight``.
    numbers : (6, n) int64
        Receives ``at_ms``, ``kind``, ``offset``, ``n_events``, ``rated_at_ms`` and ``page``.
    """
    n_keys = len(key_ends)
    others = np.empty(n_keys, np.int64)
    n_users = n = n_bytes = n_user_bytes = n_rest = n_kept = row = 0
    while row < n_keys:
        start = key_ends[row - 1] if row else 0
        stop = start
        while stop < key_ends[row] and keys[stop] != _NUL:
            stop += 1
        size = stop - start
        if size == 0:
            row += 1
            continue
        n_user_bytes = _copy(keys, start, stop, users, n_user_bytes)
        ends[0, n_users] = n_user_bytes
        header = n
        flags[0, n], flags[1, n] = True, False
        floats[0, n] = floats[1, n] = 0
        numbers[0, n] = numbers[1, n] = numbers[3, n] = numbers[4, n] = 0
        numbers[2, n] = numbers[5, n] = -1
        of_user[n], ends[1, n] = n_users, n_bytes
        n += 1
        n_others = 0
        while row < n_keys:
            first = key_ends[row - 1] if row else 0
            last = key_ends[row]
            is_mine = last - first >= size and (last - first == size or keys[first + size] == _NUL)
            for place in range(size):
                is_mine = is_mine and keys[first + place] == keys[start + place]
            if not is_mine:
                break
            at, end = value_ends[row - 1] if row else 0, value_ends[row]
            page = length = -1
            if last - first == size:
                if not _parse_header(data, at, end, header, numbers):
                    return n_users, -1 - row, 0
            else:
                page = _page_number(keys, first + size + 1, last)
            after = -1
            if page >= 0:
                after, length = _parse_page(
                    data, at, end, n, n_bytes, items, ends[1], flags, floats, numbers
                )
            if after > n:
                for place in range(n, after):
                    numbers[5, place], of_user[place] = page, n_users
                n, n_bytes = after, length
            else:
                n_kept += page >= 0 and after < 0
                others[n_others] = row
                n_others += 1
            row += 1
        n_rest = _put_array(rest, n_rest, n_others)
        for other in others[:n_others]:
            rest[n_rest] = 0x92
            first = (key_ends[other - 1] if other else 0) + size
            n_rest = _put_length(rest, n_rest + 1, key_ends[other] - first)
            n_rest = _copy(keys, first, key_ends[other], rest, n_rest)
            first = value_ends[other - 1] if other else 0
            n_rest = _put_length(rest, n_rest, value_ends[other] - first)
            n_rest = _copy(data, first, value_ends[other], rest, n_rest)
        for place in range(header, n):
            ends[2, place] = n_rest
        n_users += 1
    return n_users, n, n_kept
