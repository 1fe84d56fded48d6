"""Ids by row and rows by id: one block of bytes, the end of each id, and a hash index.

An id takes its own bytes and about 16 more, where a dictionary of strings takes some 150. The three
arrays can be stored and memory-mapped, so that processes share them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from recstream.core.columns.id_index import add_rows, fill_index, find_rows
from recstream.core.numeric.arrays import GrowableArray, Int32s, Int64s, UInt8s, UInt32s
from recstream.errors import InvalidInput

_MIN_SLOTS = 64
_MAX_LOAD = 0.6
"""The index doubles when more of its slots than this are used."""
_CHUNK = 1 << 16
_LINE_BREAK = 10
_KEPT_NAMES = 1 << 16
"""Most ids that a table keeps as texts, since the same ones are asked for again."""


class JoinedIds(NamedTuple):
    """Ids as one block of UTF-8, and the end of each."""

    block: UInt8s
    ends: Int64s


class IdTable(Sequence[str]):
    """String ids, numbered in the order of their arrival; an id keeps its row until it is erased.

    Attributes
    ----------
    state : object
        Another one after each change: what `rows_of` and `names` returned holds while it is the same.

    Parameters
    ----------
    ids : iterable of str, optional
        Distinct.

    Raises
    ------
    InvalidInput
        An id repeats.

    Examples
    --------
    >>> table = IdTable(["b", "a"])
    >>> table.add(["a", "c", "c"])
    array([1, 2, 2], dtype=int32)
    >>> table.rows_of(["c", "nobody"]).tolist(), table[0], list(table)
    ([2, -1], 'b', ['b', 'a', 'c'])
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._block = GrowableArray(np.empty(0, np.uint8))
        self._ends = GrowableArray(np.empty(0, np.int64))
        self._index: UInt32s | None = np.zeros(_MIN_SLOTS, np.uint32)
        self._is_shared = False
        self.state = object()
        n_given = 0
        for part in _chunks(ids):
            n_given += len(part)
            self.add(part)
        self._check_distinct(n_given)

    def _check_distinct(self, n_given: int) -> None:
        if n_given != len(self):
            raise InvalidInput(f"ids must be distinct, got {n_given} of which {len(self)} are")

    @classmethod
    def from_lines(cls, text: UInt8s) -> IdTable:
        """Return the table of distinct ids in UTF-8 with a line break between two of them.

        Raises
        ------
        InvalidInput
            An id repeats.
        UnicodeDecodeError
            Not UTF-8.
        """
        table = cls()
        if len(text):
            str(text.tobytes(), "utf-8")
            is_break = text == _LINE_BREAK
            n_breaks = int(np.count_nonzero(is_break))
            ends = np.append(np.flatnonzero(is_break), len(text)) - np.arange(n_breaks + 1)
            table._add(np.frombuffer(text[~is_break].tobytes(), np.uint8), ends)
            table._check_distinct(len(ends))
        return table

    @classmethod
    def from_arrays(cls, block: UInt8s, ends: Int64s, slots: UInt32s | None = None) -> IdTable:
        """Return the table of these `arrays`; they are copied when the table first grows.

        Without an index, the first look-up makes one.
        """
        table = cls()
        # Kernels are compiled for arrays that may be written.
        table._shared = (
            np.require(block, np.uint8, ["C", "A", "W"]),
            np.require(ends, np.int64, ["C", "A", "W"]),
        )
        table._index = None if slots is None else np.require(slots, np.uint32, ["C", "A", "W"])
        table._is_shared = True
        return table

    @classmethod
    def of(cls, ids: Iterable[str]) -> IdTable:
        """Return a table of distinct ids; a copy shares the arrays until it grows."""
        if isinstance(ids, IdTable):
            return cls.from_arrays(**ids.arrays())
        return cls(ids)

    _shared: tuple[UInt8s, Int64s] = (np.empty(0, np.uint8), np.empty(0, np.int64))
    _names: _Names | None = None

    @property
    def _slots(self) -> UInt32s:
        if self._index is None:
            n_slots = _MIN_SLOTS
            while len(self) > _MAX_LOAD * n_slots:
                n_slots *= 2
            slots = np.zeros(n_slots, np.uint32)
            fill_index(self.block, self.ends, slots)
            self._index = slots
        return self._index

    @property
    def block(self) -> UInt8s:
        """All ids as UTF-8, one after another."""
        return self._shared[0] if self._is_shared else self._block.rows

    @property
    def ends(self) -> Int64s:
        """The end of each id in `block`."""
        return self._shared[1] if self._is_shared else self._ends.rows

    @property
    def rows(self) -> IdRows:
        """The rows by id, as a mapping."""
        return IdRows(self)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, without what is spare."""
        return self.block.nbytes + self.ends.nbytes + self._slots.nbytes

    def arrays(self) -> dict[str, Any]:
        """Return the arrays of the table by name."""
        return {"block": self.block, "ends": self.ends, "slots": self._slots}

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return self.names(range(*row.indices(len(self))))
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(row)
        return self.names((row,))[0]

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _CHUNK):
            ends = self.ends[first : first + _CHUNK].tolist()
            start = int(self.ends[first - 1]) if first else 0
            content = self.block[start : ends[-1]].tobytes()
            at = 0
            for end in ends:
                yield content[at : end - start].decode()
                at = end - start

    def __contains__(self, each: object) -> bool:
        return isinstance(each, str) and int(self.rows_of([each])[0]) >= 0

    def __eq__(self, other: object) -> bool:
        if isinstance(other, IdTable):
            return np.array_equal(self.ends, other.ends) and np.array_equal(self.block, other.block)
        return isinstance(other, list | tuple) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def names(self, rows: Iterable[int]) -> list[str]:
        """Return the ids of rows. Safe while another thread adds ids."""
        names = self._names
        if names is None or names.state is not self.state:
            # The state is read first: what another thread adds meanwhile makes these names old.
            names = self._names = _Names(self.state, self.block.data, self.ends.data)
        return [names[row] for row in rows]

    def rows_of(self, ids: Sequence[str]) -> Int32s:
        """Return the row of each id; -1 for unknown ids. Safe while another thread adds ids."""
        out = np.empty(len(ids), np.int32)
        content, bounds = _joined(ids)
        # Slots are read first: what another thread adds meanwhile is in the others, or is passed over.
        slots, ends, block = self._slots, self.ends, self.block
        find_rows(block, ends, slots, content, bounds, out)
        return out

    def add(self, ids: Sequence[str] | JoinedIds) -> Int32s:
        """Return the row of each id; unknown ids get the next rows."""
        return self._add(*(ids if isinstance(ids, JoinedIds) else _joined(ids)))

    def _add(self, block: UInt8s, ends: Int64s) -> Int32s:
        """Add ids in a block as `add` does, given the end of each."""
        if self._is_shared:
            self._own()
        slots, n_ids = self._slots, len(ends)
        n_before, n_bytes = len(self), len(self._block.rows)
        self._block.grow(n_bytes + len(block))
        self._ends.grow(n_before + n_ids)
        if n_before + n_ids > _MAX_LOAD * len(slots):
            n_slots = len(slots)
            while n_before + n_ids > _MAX_LOAD * n_slots:
                n_slots *= 2
            slots = np.zeros(n_slots, np.uint32)
            fill_index(self._block.rows, self._ends.rows[:n_before], slots)
            self._index = slots
        out = np.empty(n_ids, np.int32)
        n = add_rows(self._block.rows, self._ends.rows, n_before, slots, block, ends, out)
        self._ends.truncate(n)
        self._block.truncate(int(self._ends.rows[-1]) if n else 0)
        if n > n_before:
            self.state = object()
        return out

    def erase(self, row: int) -> None:
        """Overwrite the id of a row with zeros; the id gets another row when it is added again."""
        if self._is_shared:
            self._own()
        start = int(self.ends[row - 1]) if row else 0
        self._block.rows[start : self.ends[row]] = 0
        self._names = None
        self.state = object()

    def _own(self) -> None:
        block, ends = self._shared
        self._block, self._ends = GrowableArray(block), GrowableArray(ends)
        self._index = self._slots.copy()
        self._is_shared = False
        self.state = object()


class _Names(dict[int, str]):
    """The ids of rows, of one state of a table; the first `_KEPT_NAMES` that were asked for are kept."""

    __slots__ = ("block", "ends", "state")

    def __init__(self, state: object, block: memoryview, ends: memoryview) -> None:
        super().__init__()
        self.state = state
        self.block = block  # slices of a memoryview take a third of an array's time
        self.ends = ends

    def __missing__(self, row: int) -> str:
        ends = self.ends
        name = str(self.block[ends[row - 1] if row else 0 : ends[row]], "utf-8")
        if len(self) < _KEPT_NAMES:
            self[row] = name
        return name


class IdRows(Mapping[str, int]):
    """The rows of an `IdTable` by id."""

    def __init__(self, table: IdTable) -> None:
        self._table = table
        self.rows_of = table.rows_of

    @property
    def state(self) -> object:
        """See `IdTable.state`."""
        return self._table.state

    def __getitem__(self, each: str) -> int:
        row = int(self.rows_of([each])[0])
        if row < 0:
            raise KeyError(each)
        return row

    def get(self, each: str, default: Any = None) -> Any:
        """Return the row of an id, or a default."""
        row = int(self.rows_of([each])[0])
        return default if row < 0 else row

    def __contains__(self, each: object) -> bool:
        return each in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for each in ids:
        chunk.append(each)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _joined(ids: Sequence[str]) -> tuple[UInt8s, Int64s]:
    """Return ids as one block of UTF-8, and the end of each."""
    text = "".join(ids)
    if text.isascii():
        content, lengths = text.encode(), map(len, ids)
    else:
        encoded = [each.encode() for each in ids]
        content, lengths = b"".join(encoded), map(len, encoded)
    ends = np.fromiter(itertools.accumulate(lengths), np.int64, len(ids))
    return np.frombuffer(content, np.uint8), ends
