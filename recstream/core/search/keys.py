"""Exact score of a user-item pair, and list order as 64-bit integer keys.

A list is sorted by descending score, ties by item row. A *key* encodes that order in one integer: the
larger key comes first. So the best are kept without unpredictable branches, and lists are equal if
their keys are.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.core.numeric.jit import compiled, helper, interpretable
from recstream.core.numeric.simd import intrinsic

EMPTY_KEY = np.int64(np.iinfo(np.int64).min)
"""Key of an empty place: less than any item's."""
SORTED = 256
"""Length up to which lists are kept sorted; longer ones are heaps."""
_MAX = 0x7FFFFFFF
_LOW = 0xFFFFFFFF

_I32, _I64, _F32, _F64 = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()
_FOUR = 4


def _emit_dot(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit `_dot`: four sums side by side in one register."""
    one, other = (
        context.make_array(kind)(context, builder, arg).data
        for kind, arg in zip(signature.args[:2], args, strict=False)
    )
    narrow, wide = ir.VectorType(_F32, _FOUR), ir.VectorType(_F64, _FOUR)
    sums = cgutils.alloca_once_value(builder, ir.Constant(wide, [0.0] * _FOUR))  # type: ignore[no-untyped-call]
    with cgutils.for_range(builder, args[2]) as loop:
        at = builder.mul(loop.index, ir.Constant(_I64, _FOUR))
        x, y = (
            builder.fpext(
                builder.load(
                    builder.bitcast(builder.gep(base, [at]), narrow.as_pointer()), align=4
                ),
                wide,
            )
            for base in (one, other)
        )
        builder.store(builder.fadd(builder.load(sums), builder.fmul(x, y)), sums)
    total = builder.load(sums)
    parts = [builder.extract_element(total, ir.Constant(_I32, lane)) for lane in range(_FOUR)]
    return context.make_tuple(builder, signature.return_type, parts)


def _type_dot(_typing: Any, one: Any, other: Any, n_fours: Any) -> Any:  # noqa: ARG001
    """Type `_dot`: two contiguous float32 vectors and their number of groups of four."""
    four = types.Tuple([types.float64] * _FOUR)  # type: ignore[no-untyped-call]  # numba's own
    return four(one, other, types.intp), _emit_dot


def _dot_in_numpy(one: Float32s, other: Float32s, n_fours: int) -> tuple[Any, ...]:
    """Compute `_dot` with numpy: `cumsum` adds in order; a product of two float32 is exact in float64."""
    n = _FOUR * n_fours
    if not n:
        return (np.float64(0.0),) * _FOUR
    products = one[:n].astype(np.float64) * other[:n].astype(np.float64)
    return tuple(products.reshape(-1, _FOUR).cumsum(axis=0)[-1] + 0.0)


_dot: Any = intrinsic(_type_dot, _dot_in_numpy)
"""Return ``Σ a[k] b[k]`` over k ≡ 0, 1, 2, 3 modulo 4, each in rising order."""


@helper
def exact_score(user: Float32s, item: Float32s, bias: np.float32) -> np.float32:
    """Return ``user · item + bias``: float64 sums in a fixed order, rounded once to float32.

    A product of two float32 is exact in float64, so fused multiply-add changes nothing and every
    machine gives the same bits. Zero is never negative.
    """
    n_factors = user.shape[0]
    a, b, c, d = _dot(user, item, n_factors >> 2)
    for k in range(n_factors & ~3, n_factors):
        a += np.float64(user[k]) * np.float64(item[k])
    return np.float32(((a + b) + (c + d)) + np.float64(bias)) + np.float32(0.0)


@helper
def key_of(score: np.float32, row: int) -> int:
    """Return an item's key; both zeros give the same."""
    bits = np.int64(np.float32(score + np.float32(0.0)).view(np.int32))
    # Bits of floats compare like floats, except that the order of negative ones is reversed.
    return int(((bits ^ ((bits >> 31) & _MAX)) << 32) | (_MAX - np.int64(row)))


@helper
def score_of(key: int) -> np.float32:
    """Return the score in a key; -inf of an empty place."""
    if key == EMPTY_KEY:
        return np.float32(-np.inf)
    high = np.int32(key >> 32)
    bits: Any = np.int32(high ^ ((high >> 31) & _MAX))
    return np.float32(bits.view(np.float32))


@helper
def row_of(key: int) -> int:
    """Return the item row in a key; -1 of an empty place."""
    return -1 if key == EMPTY_KEY else _MAX - (key & _LOW)


@helper
def keep(keys: Int64s, key: int) -> None:
    """Replace the worst of the best keys, which is the first, if a key is better."""
    if key <= keys[0]:
        return
    last = len(keys) - 1
    if last < SORTED:
        # Ascending, without a branch: each becomes the median of itself, the next and the new key.
        for at in range(last):
            keys[at] = max(keys[at], min(keys[at + 1], key))
        keys[last] = max(keys[last], key)
        return
    at, child = 0, 1
    while child <= last:
        if child < last and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[at] = keys[child]
        at, child = child, 2 * child + 1
    keys[at] = key


def lists_of(keys: Int64s) -> tuple[Int32s, Float32s]:
    """Return the keys of `keep` as rows and scores (b, n), best first; -1 and -inf where empty."""
    if keys.shape[1] > SORTED:
        keys = np.sort(keys, axis=1)
    rows, scores = np.empty(keys.shape, np.int32), np.empty(keys.shape, np.float32)
    _read(keys, rows, scores)
    return rows, scores


@interpretable
@compiled
def _read(keys: Int64s, rows: Int32s, scores: Float32s) -> None:
    last = keys.shape[1] - 1
    for u in range(keys.shape[0]):
        for at in range(last + 1):
            rows[u, at] = row_of(keys[u, last - at])
            scores[u, at] = score_of(keys[u, last - at])
