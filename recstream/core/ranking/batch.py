"""Arguments of the compiled reranking, and small functions on them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.core.numeric.jit import helper
from recstream.core.numeric.neighbour_tables import SeedRule

Bools = NDArray[np.bool_]


class RowLists(NamedTuple):
    """Ascending item rows of each user: those of u are ``rows[indptr[u] : indptr[u + 1]]``."""

    indptr: Int64s
    rows: Int32s


class HistoryEntries(NamedTuple):
    """The users' rows of the interaction matrix in CSR form, and the rule for seeds."""

    indptr: Int64s
    columns: Int32s
    weights: Float32s
    seeds: SeedRule


class NeighbourTable(NamedTuple):
    """Neighbours of items.

    Attributes
    ----------
    rows : (m, w) int32
        Item rows of the neighbours, -1 for none.
    weights : (m, w) float32
    gain : float
        Factor of the table's part of a score.
    multiplier : (m,) float32
        Factor of each item's part; empty if all are 1.
    """

    rows: Int32s
    weights: Float32s
    gain: float
    multiplier: Float32s


class BaseScoring(NamedTuple):
    """Terms of the base score ``users[u] · items[i] + bias[i]``.

    Attributes
    ----------
    users : (b, d) float32
    items : (m, d) float32
    bias : (m,) float32
    norm : (m,) float32
        Upper bounds of the items' lengths: ``x · items[i] <= |x| · norm[i]``.
    mask : (m,) bool
        False for items that no list may hold; empty if all are allowed.
    """

    users: Float32s
    items: Float32s
    bias: Float32s
    norm: Float32s
    mask: Bools


class ListRules(NamedTuple):
    """Rules for a list as a whole.

    Attributes
    ----------
    pin_places, pin_rows : (k,) int32
        Positions from 0, ascending, and the items pinned there.
    min_relevance : float
        Minimum score as a part of the list's best personal score.
    strength : float
        Strength of diversity (MMR) from 0 to 1.
    aspects : (a, m) int32
        Codes of attributes. Items with an equal code other than 0 are similar.
    by_taste : bool
        Whether the cosine of the factors counts as similarity too.
    cold_threshold : float
        Items whose content multiplier is at least this are cold.
    """

    pin_places: Int32s
    pin_rows: Int32s
    min_relevance: float
    strength: float
    aspects: Int32s
    by_taste: bool
    cold_threshold: float


class ListBuffers(NamedTuple):
    """Output of the reranking for b users.

    Attributes
    ----------
    rows, scores : (b, n)
        The list; -1 and -inf after its end.
    pins : (b, k) bool
        Which pins hold. False on input.
    cold_items : (b, p) int32
        Cold items in reserved slots. -1 on input and for unused slots.
    is_near : (b,) bool
        Whether neighbours add to any score. False on input.
    """

    rows: Int32s
    scores: Float32s
    pins: Bools
    cold_items: Int32s
    is_near: Bools


@helper
def user_rows(lists: RowLists, user: int) -> Int32s:
    """Return the rows of one user."""
    return lists.rows[lists.indptr[user] : lists.indptr[user + 1]]


@helper
def _find(rows: Int32s, first: int, end: int, row: int) -> int:
    """Return the position of a row in ascending ``rows[first:end]``, or -1."""
    while first < end:
        middle = (first + end) >> 1
        if rows[middle] < row:
            first = middle + 1
        elif rows[middle] > row:
            end = middle
        else:
            return middle
    return -1


@helper
def is_eligible(row: int, mask: Bools, seen: Int32s) -> bool:
    """Return whether an item may be listed: allowed by the mask and not seen."""
    return (len(mask) == 0 or mask[row]) and _find(seen, 0, len(seen), row) < 0


@helper
def contains(rows: Int32s, n_rows: int, row: int) -> bool:
    """Return whether a row is among the first ``n_rows`` rows."""
    for at in range(n_rows):  # noqa: SIM110 - compiled
        if rows[at] == row:
            return True
    return False
