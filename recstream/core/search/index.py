"""Item index for exact top-N: item factors, and an 8-bit copy of them with proven error bounds."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, GrowableArray
from recstream.core.search.scan import GROUP_TILES
from recstream.core.search.tile import N_LANES
from recstream.core.validation import as_matrix, as_vector
from recstream.errors import InvalidInput

# Relative slack for float32 rounding between the integers and a bound, and for the rounding of an
# exact score: at most ten roundings of 2**-24 each.
_ROUNDING = np.float32(1e-6)
# Absolute slack for results too small for normal float32 numbers.
_UNDERFLOW = np.float32(1e-37)
# Rows whose largest factor is below this get codes 0: their error is their norm.
_SMALLEST = 1e-30
_ITEM_LIMIT = 127
_CHUNK = 1 << 16
_GROUP = GROUP_TILES * N_LANES
# Largest run of appended items that is sorted again: some 10 ms.
_MAX_RUN = 1 << 15
_OF_ITEMS = ("item_factors", "bias", "norm", "_slot")
_OF_SLOTS = (
    *("order", "codes", "scale", "error", "bound_bias", "_norm"),
    *("group_norm", "group_bias"),
)


def user_code_limit(n_factors: int) -> int:
    """Return the largest code of a user factor for which no 32-bit sum overflows."""
    return max(1, min(32_767, (2**31 - 1) // (_ITEM_LIMIT * max(1, n_factors))))


def user_slack(n_factors: int) -> float:
    """Return the largest error of a user's quantised factors, relative to their norm."""
    return 0.51 * math.sqrt(max(1, n_factors)) / user_code_limit(n_factors)


def _upper(bias: Float32s) -> Float32s:
    """Return upper bounds with slack for rounding."""
    return np.asarray(bias + np.abs(bias) * _ROUNDING + _UNDERFLOW, np.float32)


def _quantised(
    factors: Float32s, slack: float
) -> tuple[NDArray[np.int8], Float32s, Float32s, Float32s]:
    """Return 8-bit codes of rows, their scales, errors per unit of a user's norm, and norms."""
    exact = factors.astype(np.float64)
    norm = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    peak = np.abs(exact).max(axis=1, initial=0.0)
    scale = (np.where(peak < _SMALLEST, 0.0, peak) / _ITEM_LIMIT).astype(np.float32)
    step = scale.astype(np.float64)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.where(step > 0.0, np.clip(np.rint(exact / step), -127, 127), 0.0)
    residual = exact - codes * step
    error = np.sqrt(np.einsum("ij,ij->i", residual, residual)) + (slack + _ROUNDING) * norm
    # float64 to float32 rounds to nearest; the slack makes it a bound.
    with np.errstate(over="ignore"):
        return (
            codes.astype(np.int8),
            scale,
            (error * (1 + 2 * _ROUNDING)).astype(np.float32),
            (norm * (1 + 2 * _ROUNDING)).astype(np.float32),
        )


class ItemIndex:
    """Item factors and biases prepared for `top_n`.

    Holds the factors, plus one byte a factor and 32 bytes an item. Items are sorted by the upper
    bound of their score, so a scan finds the best ones early and skips the rest in groups. `update`
    changes items in place without sorting again, and appends new ones in a few sorted runs. Bounds
    follow the values, so results stay exact; only fewer groups are skipped.

    Parameters
    ----------
    item_factors : (m, d) float32
        Copied, so that `update` never writes to the caller's array.
    bias : (m,) float32, optional
        Added to every score of the item; zero by default.
    """

    def __init__(self, item_factors: object, bias: object | None = None) -> None:
        # Copied below, into growable arrays.
        self.item_factors: Float32s = as_matrix(item_factors, "item_factors")
        n_items = self.item_factors.shape[0]
        self.bias: Float32s = (
            np.zeros(n_items, np.float32) if bias is None else as_vector(bias, "bias", n_items)
        )
        self._build()

    @classmethod
    def over(cls, growing: Mapping[str, GrowableArray]) -> ItemIndex:
        """Return the index of the arrays of `arrays`, which it takes over unchecked."""
        index = cls.__new__(cls)
        index._growing, index._runs = dict(growing), []  # noqa: SLF001 - its own class
        for name, each in growing.items():
            setattr(index, name, each.rows)
        return index

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays of an index that was not updated since it was made, by name."""
        return {name: getattr(self, name) for name in (*_OF_ITEMS, *_OF_SLOTS)}

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.item_factors.shape[0])

    @property
    def n_factors(self) -> int:
        """Factors of an item."""
        return int(self.item_factors.shape[1])

    @property
    def n_groups(self) -> int:
        """Number of groups that a scan can skip."""
        return int(self.group_norm.shape[0])

    @property
    def size_bytes(self) -> int:
        """Memory of all arrays, the factors included."""
        return sum(each.nbytes for each in vars(self).values() if isinstance(each, np.ndarray))

    def update(self, rows: object, factors: object, bias: object | None = None) -> None:
        """Replace factors (and biases) of some items in place; rows past the end are new items.

        Must not run while another thread scans the index. Cost: O(rows).

        Parameters
        ----------
        rows : (r,) int
            Distinct items. New ones must follow the present ones without a gap.
        factors : (r, d) float32
        bias : (r,) float32, optional
            By default unchanged, zero for new items.
        """
        new = as_matrix(factors, "factors", n_columns=self.n_factors)
        ids = np.asarray(rows)
        if ids.shape != (len(new),) or (ids.size and ids.dtype.kind not in "iu"):
            msg = f"rows must name one item for each of {len(new)} rows of factors, got {ids.shape}"
            raise InvalidInput(msg)
        ids = ids.astype(np.int64)
        new_bias = None if bias is None else as_vector(bias, "bias", len(ids))
        n_items = max(self.n_items, int(ids.max(initial=-1)) + 1)
        if ids.min(initial=0) < 0 or n_items > self.n_items + np.count_nonzero(
            np.unique(ids) >= self.n_items
        ):
            msg = f"rows must lie in 0..{self.n_items - 1} or append without a gap, got {ids}"
            raise InvalidInput(msg)
        if self._growing is None:
            raise InvalidInput("an index made by with_bias can't be updated; update its original")
        n_before = self.n_items
        self._grow(_OF_ITEMS, n_items)
        self.item_factors[ids] = new
        if new_bias is not None:
            self.bias[ids] = new_bias
        if n_items > n_before:
            self._append(n_before)
        known = ids[ids < n_before]
        if len(known):
            self._encode(known, self._slot[known])
            self._bound(np.unique(self._slot[known] // _GROUP))

    def _append(self, first: int) -> None:
        """Assign slots to the items from a row on: at the end, by the upper bound of their score."""
        n_items = self.n_items
        n_tiles = -(-n_items // N_LANES)
        self._grow(("order",), n_tiles * N_LANES, -1)
        self._grow(("bound_bias",), n_tiles * N_LANES, -np.inf)
        self._grow(("scale", "error", "_norm"), n_tiles * N_LANES)
        self._grow(("codes",), n_tiles)
        self._grow(("group_norm", "group_bias"), -(-n_tiles // GROUP_TILES))
        ids = first + self._by_reach(slice(first, n_items))
        slots = np.arange(first, n_items)
        self.order[slots] = ids
        self._slot[ids] = slots
        self._encode(ids, slots)
        first = self._merge(first)
        self._bound(np.arange(first // _GROUP, self.n_groups))

    def _merge(self, first: int) -> int:
        """Sort the newest run of slots together with earlier runs that are no larger.

        So few runs remain, and an item moves a few times at most. Returns the first slot of the run
        that now holds the newest one.
        """
        end = self.n_items
        self._runs.append(first)
        while len(self._runs) > 1:
            before = self._runs[-2]
            if first - before > 2 * (end - first) or end - before > _MAX_RUN:
                break
            self._runs.pop()
            first = before
        slots = np.arange(first, end)
        order = slots[np.argsort(-(self._norm[slots] + self.bound_bias[slots]), kind="stable")]
        for each in (self.order, self.scale, self.error, self.bound_bias, self._norm):
            each[slots] = each[order]
        tile, lane = slots // N_LANES, slots % N_LANES
        self.codes[tile, :, lane] = self.codes[order // N_LANES, :, order % N_LANES]
        self._slot[self.order[slots]] = slots
        return first

    def _grow(self, names: Sequence[str], n_rows: int, fill: float = 0.0) -> None:
        """Extend growable arrays and the attributes, which are views of them."""
        if self._growing is not None:
            for name in names:
                each = self._growing[name]
                each.grow(n_rows, fill)
                setattr(self, name, each.rows)

    def with_bias(self, bias: object) -> ItemIndex:
        """Return a copy with other biases, valid until the next `update`: it shares the factors."""
        other = copy.copy(self)
        other._growing = None  # noqa: SLF001 - a copy of this one
        other.bound_bias, other.group_bias = self.bound_bias.copy(), self.group_bias.copy()
        other.bias = self.bias.copy()
        other.set_bias(bias)
        return other

    def set_bias(self, bias: object) -> None:
        """Replace all biases in place. Cost: O(m), a few milliseconds for a million items."""
        self.bias[:] = as_vector(bias, "bias", self.n_items)
        self.bound_bias[self._slot] = _upper(self.bias)
        self._bound(np.arange(self.n_groups))

    def _build(self) -> None:
        """Sort the items by the upper bound of their score and encode them."""
        n_items, n_factors = self.item_factors.shape
        n_tiles = -(-n_items // N_LANES)
        n_slots = n_tiles * N_LANES
        by_reach = self._by_reach(slice(0, n_items))
        self.order = np.full(n_slots, -1, np.int32)
        self.order[:n_items] = by_reach
        self.norm = np.zeros(n_items, np.float32)
        self._slot = np.empty(n_items, np.int64)
        self._slot[by_reach] = np.arange(n_items)
        self.codes = np.zeros((n_tiles, -(-n_factors // 2), N_LANES, 2), np.int8)
        self.scale = np.zeros(n_slots, np.float32)
        self.error = np.zeros(n_slots, np.float32)
        self.bound_bias = np.full(n_slots, -np.inf, np.float32)
        self._norm = np.zeros(n_slots, np.float32)
        n_groups = -(-n_tiles // GROUP_TILES)
        self.group_norm = np.zeros(n_groups, np.float32)
        self.group_bias = np.zeros(n_groups, np.float32)
        self._growing: dict[str, GrowableArray] | None = {
            name: GrowableArray(getattr(self, name)) for name in (*_OF_ITEMS, *_OF_SLOTS)
        }
        for name, each in self._growing.items():
            setattr(self, name, each.rows)
        self._runs: list[int] = []
        for first in range(0, n_items, _CHUNK):
            ids = by_reach[first : first + _CHUNK]
            self._encode(ids, np.arange(first, first + len(ids)))
        self._bound(np.arange(n_groups))

    def _by_reach(self, items: slice) -> NDArray[np.int32]:
        """Return the order of some items by the upper bound of their score, descending."""
        factors = self.item_factors[items]
        squares = np.einsum("ij,ij->i", factors, factors, dtype=np.float64)
        reach = np.sqrt(squares) + self.bias[items]
        return np.argsort(-reach, kind="stable").astype(np.int32)

    def _encode(self, ids: NDArray[np.signedinteger], slots: NDArray[np.int64]) -> None:
        """Quantise items into their slots."""
        slack = user_slack(self.n_factors)
        codes, self.scale[slots], self.error[slots], self._norm[slots] = _quantised(
            self.item_factors[ids], slack
        )
        self.norm[ids] = self._norm[slots]
        self.bound_bias[slots] = _upper(self.bias[ids])
        tile, lane = slots // N_LANES, slots % N_LANES
        self.codes[tile, : (self.n_factors + 1) // 2, lane, 0] = codes[:, 0::2]
        self.codes[tile, : self.n_factors // 2, lane, 1] = codes[:, 1::2]

    def _bound(self, groups: NDArray[np.int64]) -> None:
        """Recompute the bounds of groups from their items."""
        for source, target in ((self._norm, self.group_norm), (self.bound_bias, self.group_bias)):
            whole = len(source) // _GROUP
            inside = groups[groups < whole]
            target[inside] = source[: whole * _GROUP].reshape(whole, _GROUP)[inside].max(axis=1)
            if len(inside) < len(groups):
                target[whole] = source[whole * _GROUP :].max()
