"""Rows of the table `user-histories`: encode a history, and load it back.

===========================  =====================================================================
key                          value (msgpack)
===========================  =====================================================================
``user``                     the header: position, clock, counts, and the newest event ids
``user, NUL, p NUMBER``      a page of entries, chosen by a hash of the item id
``user, NUL, r NUMBER``      a full chunk of event ids
``user, NUL, l``             the user's newest published list (`ListRow`)
``NUL applied``              the partition's next offset (`AppliedRow`); closes every group of rows
===========================  =====================================================================

An event rewrites the header, one page, rarely two more (a split), and every `CHUNK_IDS` events one
chunk of ids. The table and its changelog hold the same rows, in the partition of the user's events.
"""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import msgspec

from recstream.core.history.fold import (
    CHUNK_BYTES,
    CHUNK_IDS,
    CHUNKS,
    ID_BYTES,
    Entry,
    History,
    Int64,
    RatedEntry,
    Weight,
)
from recstream.core.history.pages import Page
from recstream.core.history.pages import item_hash as item_hash  # noqa: PLC0414 - the pages of rows, here and below
from recstream.core.history.pages import pages_of as pages_of  # noqa: PLC0414
from recstream.core.history.profile import Pairs
from recstream.errors import SchemaUnsupported

T = TypeVar("T")
SCHEMA = 2
APPLIED_KEY = b"\0applied"
"""Never a user's key, since user ids are printable."""
BLANK_KEY = b"\0forgotten"
"""Key of a blanked row or list in the log. No user has it, and Faust deletes no row by it."""


class Header(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The row under the user's own key; `History` documents the fields."""

    schema: Int64
    offset: Int64
    index: Int64
    clock_ms: Int64
    n_items: Int64
    n_ids: Int64
    n_pages: Int64
    newest_ids: bytes
    impressions: tuple[tuple[str, int], ...] = ()


class RatedHeader(Header, frozen=True, array_like=True, gc=False):
    """Header of a user with ratings; other users keep the header without them."""

    n_ratings: Int64 = 0
    rating_sum: Weight = 0.0


class ProfileHeader(RatedHeader, frozen=True, array_like=True, gc=False):
    """The header of a user with properties or a kept context."""

    properties: Pairs = ()
    context: Pairs = ()


class ListRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The newest published list of a user; the next one is compared with it.

    ``offset`` is at or before the list's record on its topic, with no other list of the user in
    between; -1 if a version without it wrote the row.
    """

    generation: Int64
    delta: Int64
    items: tuple[str, ...]
    source: str = "popular"
    arm: str = ""
    offset: Int64 = -1


class AppliedRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Position of a partition's rows.

    Attributes
    ----------
    next_offset : int
        The rows include every record of the partition before it.
    listed_offset : int
        Users whose header has a lower offset have a list made of it.
    """

    next_offset: Int64
    listed_offset: Int64


def _decoder(kind: type[T]) -> Callable[[bytes], T]:
    """Return a decoder of rows; any unreadable row, also a deep one, is a `msgspec.DecodeError`."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def decode_row(raw: bytes) -> T:
        try:
            return decode(raw)
        except RecursionError as error:
            raise msgspec.DecodeError("the row nests too deep") from error

    return decode_row


_encode = msgspec.msgpack.Encoder().encode
decode_header = _decoder(ProfileHeader)
decode_entries = _decoder(tuple[Entry, ...])
_decode_rated_entries = _decoder(tuple[RatedEntry, ...])
decode_list_row = _decoder(ListRow)
decode_applied_row = _decoder(AppliedRow)
encode_row = _encode


def decode_page(raw: bytes) -> tuple[Entry, ...]:
    """Return the entries of a page; those without a rating as plain entries, as encoded."""
    return tuple(
        [
            each
            if each.rated_at_ms >= 0
            else Entry(each.item, each.weight, each.at_ms, each.kind, each.offset, each.n_events)
            for each in _decode_rated_entries(raw)
        ]
    )


def page_key(user: bytes, number: int) -> bytes:
    """Return the key of a page.

    >>> page_key(b"u42", 3).split(bytes(1))
    [b'u42', b'p3']
    """
    return b"%b\0p%d" % (user, number)


def chunk_key(user: bytes, number: int) -> bytes:
    """Return the key of a chunk of event ids."""
    return b"%b\0r%d" % (user, number)


def list_key(user: bytes) -> bytes:
    """Return the key of the user's newest list."""
    return user + b"\0l"


def split_key(key: bytes) -> tuple[bytes, str, int]:
    """Return (user, kind, number) of a row's key; kinds: ``h p r l``, and ``a`` for `APPLIED_KEY`.

    >>> split_key(b"u42"), split_key(page_key(b"u42", 3)), split_key(APPLIED_KEY)
    ((b'u42', 'h', 0), (b'u42', 'p', 3), (b'', 'a', 0))
    """
    user, found, rest = key.partition(b"\0")
    if not found:
        return user, "h", 0
    return user, chr(rest[0]), int(rest[1:]) if rest[1:].isdigit() else 0


def changes(old: History | None, new: History) -> list[tuple[bytes, bytes]]:
    """Return the rows (key, value) in which a history differs from an earlier one of the same user.

    Parameters
    ----------
    old : History or None
        None for all rows.
    """
    user = new.user.encode()
    rows: list[tuple[bytes, bytes]] = []
    before = old.pages if old is not None else ()
    n_before = len(before)
    for number, page in enumerate(new.pages):
        if number >= n_before or before[number] is not page:
            rows.append((page_key(user, number), _encode(tuple(page.values()))))
    n_full, n_open = divmod(new.n_ids, CHUNK_IDS)
    n_stored = 0 if old is None else old.n_ids // CHUNK_IDS
    if n_stored < n_full:
        first = max(0, n_full - CHUNKS)
        for chunk in range(max(first, n_stored), n_full):
            start = (chunk - first) * CHUNK_BYTES
            ids = new.window[start : start + CHUNK_BYTES]
            rows.append((chunk_key(user, chunk % CHUNKS), _encode(ids)))
    fields = (
        SCHEMA, new.offset, new.index, new.clock_ms, new.n_items, new.n_ids, len(new.pages),
        new.window[len(new.window) - n_open * ID_BYTES :], new.impressions,
    )  # fmt: skip
    # As `Header`, `RatedHeader` or `ProfileHeader`, without making one.
    if new.properties or new.context:
        fields += (new.n_ratings, new.rating_sum, new.properties, new.context)  # type: ignore[assignment]
    elif new.n_ratings:
        fields += (new.n_ratings, new.rating_sum)  # type: ignore[assignment]
    rows.append((user, _encode(fields)))
    return rows


def load(user: str, get: Callable[[bytes], bytes | None]) -> History | None:
    """Return the history that rows hold, or None if the user has none.

    Parameters
    ----------
    get : callable
        Returns the value of a key, or None.

    Raises
    ------
    ValueError
        A row is missing or can't be read.
    SchemaUnsupported
        The rows are of another version; also a ValueError.
    """
    key = user.encode()
    raw = get(key)
    if raw is None:
        return None
    try:
        header = decode_header(raw)
        if header.schema != SCHEMA:
            raise SchemaUnsupported(  # noqa: TRY301 - passed on as it is
                f"this version reads histories of schema {SCHEMA}, got schema {header.schema}; "
                "`recstream upgrade` says what to do"
            )
        decode = decode_page if header.n_ratings else decode_entries
        pages = tuple(
            Page({entry.item: entry for entry in decode(_have(get, page_key(key, number)))})
            for number in range(header.n_pages)
        )
        n_full = header.n_ids // CHUNK_IDS
        first = max(0, n_full - CHUNKS)
        chunks = [
            msgspec.msgpack.decode(_have(get, chunk_key(key, chunk % CHUNKS)), type=bytes)
            for chunk in range(first, n_full)
        ]
    except SchemaUnsupported:
        raise
    except (msgspec.DecodeError, ValueError) as error:
        message = f"the history of a user can't be read: {error}; rebuild the table from the log"
        raise ValueError(message) from error
    return History(
        user,
        header.offset,
        header.index,
        header.clock_ms,
        header.n_items,
        header.n_ids,
        b"".join((*chunks, header.newest_ids)),
        pages,
        header.impressions,
        header.n_ratings,
        header.rating_sum,
        header.properties,
        header.context,
    )


def _have(get: Callable[[bytes], bytes | None], key: bytes) -> bytes:
    value = get(key)
    if value is None:
        raise ValueError(f"row {key.partition(bytes(1))[2]!r} is missing")
    return value


def header_offset(raw: bytes) -> int:
    """Return the offset of the newest event from a header's row alone."""
    return decode_header(raw).offset


def history_digest(history: History) -> str:
    """Return a digest (BLAKE2b, hex) of everything in a history."""
    hasher = hashlib.blake2b(digest_size=16)
    for key, value in changes(None, history):
        hasher.update(len(key).to_bytes(4, "little") + key)
        hasher.update(len(value).to_bytes(4, "little") + value)
    return hasher.hexdigest()
