"""Step 8 of the flow: what the lists of a batch of users are made of, as compiled code is given it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.core.numeric.jit import compiled

__all__ = ["Entries", "Lists", "Near", "RowLists", "Scoring", "Shape", "of_user"]

Bools = NDArray[np.bool_]


class RowLists(NamedTuple):
    """Item rows of each user: those of u are ``rows[indptr[u] : indptr[u + 1]]``, ascending."""

    indptr: Int64s
    rows: Int32s


class Entries(NamedTuple):
    """The users' rows of the matrix: how much each entry of a history weighs."""

    indptr: Int64s
    columns: Int32s
    weights: Float32s


class Near(NamedTuple):
    """Neighbours of items, (m, w) with -1 for none, and what they count in a score.

    ``worth`` (m,) multiplies what an item is given; empty where it is 1 for all.
    """

    rows: Int32s
    weights: Float32s
    gain: float
    worth: Float32s


class Scoring(NamedTuple):
    """What the base score of a user and an item is made of: ``users[u] · items[i] + bias[i]``.

    No user's ``x · items[i]`` is above ``|x| · norm[i]``. ``mask`` is False for what nobody is listed;
    empty where everything is allowed.
    """

    users: Float32s
    items: Float32s
    bias: Float32s
    norm: Float32s
    mask: Bools


class Shape(NamedTuple):
    """The rules of an arm.

    Attributes
    ----------
    pin_places, pin_rows : (k,) int32
        Places from 0, ascending, and the items that belong there.
    min_relevance : float
        Part of a list's best personal score.
    strength : float
        Of diversity; 0 for none.
    aspects : (a, m) int32
        Codes by which items are alike if equal and not 0.
    by_taste : bool
        Near factors make items alike too.
    newest : float
        An item whose worth is not below this is a newcomer.
    """

    pin_places: Int32s
    pin_rows: Int32s
    min_relevance: float
    strength: float
    aspects: Int32s
    by_taste: bool
    newest: float


class Lists(NamedTuple):
    """What is written of each of b users.

    Attributes
    ----------
    rows, scores : (b, n)
        The list, -1 with -inf where it ends.
    pins : (b, k) bool
        Which pins hold. False before.
    newcomers : (b, p) int32
        Who got a place that others made way from. -1 before, and where there are fewer.
    is_near : (b,) bool
        To whose items neighbours add. False before.
    """

    rows: Int32s
    scores: Float32s
    pins: Bools
    newcomers: Int32s
    is_near: Bools


@compiled
def of_user(lists: RowLists, user: int) -> Int32s:
    """Return one user's rows."""
    return lists.rows[lists.indptr[user] : lists.indptr[user + 1]]
