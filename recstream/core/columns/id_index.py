"""Compiled hash index of `IdTable`: open addressing, the row + 1 in each used slot."""

from typing import Any

import numpy as np

from recstream.core.numeric.arrays import Int32s, Int64s, UInt8s, UInt32s
from recstream.core.numeric.jit import compiled, helper, interpretable_below


@helper
def _slot_of(content: UInt8s, start: int, end: int, n_slots: int) -> np.int64:
    """Return the first slot to look at: FNV-1a, mixed once more for its low bits."""
    value = np.uint64(0xCBF29CE484222325)
    for at in range(start, end):
        value = (value ^ np.uint64(content[at])) * np.uint64(0x100000001B3)
    value ^= value >> np.uint64(32)
    return np.int64(value & np.uint64(n_slots - 1))


@helper
def _look_up(
    block: UInt8s, ends: Int64s, slots: UInt32s, content: UInt8s, start: int, end: int
) -> np.int64:
    """Return the slot that holds an id, or the empty one where it belongs.

    Parameters
    ----------
    block, ends, slots
        As in `find_rows`.
    content : uint8
    start, end : int
        Bounds of the id in it.
    """
    slot = _slot_of(content, start, end, len(slots))
    while slots[slot]:
        row = np.int64(slots[slot]) - 1
        if row >= len(ends):
            slot = (slot + 1) & (len(slots) - 1)
            continue
        first = ends[row - 1] if row else 0
        if ends[row] - first == end - start and ends[row] <= len(block):
            is_equal = True
            for at in range(end - start):
                if block[first + at] != content[start + at]:
                    is_equal = False
                    break
            if is_equal:
                return slot
        slot = (slot + 1) & (len(slots) - 1)
    return slot


def _n_bytes(_block: UInt8s, _ends: Int64s, _slots: UInt32s, content: UInt8s, *_: Any) -> int:
    """Return the steps of `find_rows`."""
    return 2 * len(content)


@interpretable_below(_n_bytes)
@compiled
def find_rows(
    block: UInt8s, ends: Int64s, slots: UInt32s, content: UInt8s, bounds: Int64s, out: Int32s
) -> None:
    """Write the row of each id of `content`; -1 for unknown ids.

    Parameters
    ----------
    block, ends : uint8, int64
        The known ids one after the other, and where each ends.
    slots : uint32
        Hash table of rows plus 1; 0 is an empty slot.
    content, bounds : uint8, int64
        The ids to find, and where each ends.
    out : int32
        Filled.
    """
    start = 0
    for n in range(len(bounds)):
        out[n] = np.int64(slots[_look_up(block, ends, slots, content, start, bounds[n])]) - 1
        start = bounds[n]


@interpretable_below(lambda _block, _ends, _n, _slots, content, *_: 3 * len(content))
@compiled
def add_rows(
    block: UInt8s,
    ends: Int64s,
    n_rows: int,
    slots: UInt32s,
    content: UInt8s,
    bounds: Int64s,
    out: Int32s,
) -> int:
    """Write the row of each id, add the unknown ones, and return the number of rows.

    Parameters
    ----------
    block, ends : (≥ bytes,) uint8 and (≥ rows,) int64
        With room for all ids.
    n_rows : int
        Rows before.
    slots : (2^k,) uint32
        Row + 1, or 0; with room for all ids.
    content, bounds : uint8 and int64
        The ids, and the end of each.
    out : (n,) int32
    """
    start = 0
    for n in range(len(bounds)):
        end = bounds[n]
        slot = _look_up(block, ends, slots, content, start, end)
        if not slots[slot]:
            first = ends[n_rows - 1] if n_rows else 0
            for at in range(end - start):
                block[first + at] = content[start + at]
            ends[n_rows] = first + end - start
            n_rows += 1
            slots[slot] = n_rows
        out[n] = np.int64(slots[slot]) - 1
        start = end
    return n_rows


@interpretable_below(lambda block, *_: len(block))
@compiled
def fill_index(block: UInt8s, ends: Int64s, slots: UInt32s) -> None:
    """Enter all rows into empty slots."""
    start = 0
    for row in range(len(ends)):
        slot = _slot_of(block, start, ends[row], len(slots))
        while slots[slot]:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = row + 1
        start = ends[row]
