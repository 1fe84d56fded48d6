"""Tile kernel: upper bounds of 16 items × 4 users at a time, as generic LLVM vector code.

The items of a tile lie side by side in SIMD lanes, two neighbouring factors of each (a *pair*) next to
each other. One multiply-add of 16-bit pairs serves a whole tile, and no lanes are summed. LLVM lowers
the code to AVX-512, AVX2, SSE2 or NEON. All arithmetic before the bound is on integers, so sums are
equal everywhere.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from recstream.core.numeric.arrays import Float32s
from recstream.core.numeric.simd import intrinsic

N_LANES = 16
"""Items in one tile."""
N_QUERIES = 4
"""Users scored against a tile at once."""

_I8, _I16, _I32, _I64, _F32 = (
    ir.IntType(8),
    ir.IntType(16),
    ir.IntType(32),
    ir.IntType(64),
    ir.FloatType(),
)


def _splat(builder: Any, value: Any, n_lanes: int) -> Any:
    """Repeat a scalar in every lane."""
    vector = ir.VectorType(value.type, n_lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
    lanes = ir.Constant(ir.VectorType(_I32, n_lanes), [0] * n_lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)


def _pick(builder: Any, vector: Any, lanes: list[int]) -> Any:
    """Take some lanes of a vector, in order."""
    mask = ir.Constant(ir.VectorType(_I32, len(lanes)), lanes)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _load(builder: Any, base: Any, offset: Any, vector: Any) -> Any:
    """Load an unaligned vector that starts ``offset`` elements after ``base``."""
    address = builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())
    loaded = builder.load(address)
    loaded.align = vector.element.width // 8 if vector.element is not _F32 else 4
    return loaded


def _variable(builder: Any, start: Any) -> Any:
    """Allocate a local variable that holds a vector."""
    return cgutils.alloca_once_value(builder, start)  # type: ignore[no-untyped-call]


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit `tile_candidates`; the names are those of its parameters."""
    data = [
        context.make_array(kind)(context, builder, arg).data
        if isinstance(kind, types.Array)
        else arg
        for kind, arg in zip(signature.args, args, strict=True)
    ]
    codes, scale, error, bias, queries, q_scale, q_norm, threshold, tile, block, n_pairs = data
    wide = ir.VectorType(_I32, 2 * N_LANES)
    lanes = ir.VectorType(_F32, N_LANES)
    zero = ir.Constant(ir.VectorType(_I32, N_LANES), [0] * N_LANES)
    sums = [_variable(builder, zero) for _ in range(N_QUERIES)]
    first_pair = builder.mul(tile, n_pairs)
    first_query_pair = builder.mul(block, n_pairs)
    with cgutils.for_range(builder, n_pairs) as loop:
        at = builder.mul(builder.add(first_pair, loop.index), ir.Constant(_I64, 2 * N_LANES))
        items = builder.sext(_load(builder, codes, at, ir.VectorType(_I8, 2 * N_LANES)), wide)
        at = builder.mul(
            builder.add(first_query_pair, loop.index), ir.Constant(_I64, 2 * N_QUERIES)
        )
        for q in range(N_QUERIES):
            address = builder.gep(queries, [builder.add(at, ir.Constant(_I64, 2 * q))])
            pair = builder.load(builder.bitcast(address, _I32.as_pointer()), align=2)
            user = builder.bitcast(_splat(builder, pair, N_LANES), ir.VectorType(_I16, 2 * N_LANES))
            product = builder.mul(items, builder.sext(user, wide))
            total = builder.add(
                _pick(builder, product, list(range(0, 2 * N_LANES, 2))),
                _pick(builder, product, list(range(1, 2 * N_LANES, 2))),
            )
            builder.store(builder.add(builder.load(sums[q]), total), sums[q])
    at = builder.mul(tile, ir.Constant(_I64, N_LANES))
    item_scale, item_error, item_bias = (
        _load(builder, array, at, lanes) for array in (scale, error, bias)
    )
    first_query = builder.mul(block, ir.Constant(_I64, N_QUERIES))
    result = ir.Constant(_I64, 0)
    for q in range(N_QUERIES):
        at = builder.add(first_query, ir.Constant(_I64, q))
        s, norm, least = (
            _splat(builder, builder.load(builder.gep(array, [at])), N_LANES)
            for array in (q_scale, q_norm, threshold)
        )
        dot = builder.fmul(
            builder.sitofp(builder.load(sums[q]), lanes), builder.fmul(item_scale, s)
        )
        bound = builder.fadd(builder.fadd(dot, builder.fmul(item_error, norm)), item_bias)
        # Unordered or greater or equal: a bound that overflowed to NaN excludes nothing.
        passes = builder.fcmp_unordered(">=", bound, least)
        bits = builder.zext(builder.bitcast(passes, ir.IntType(N_LANES)), _I64)
        shift = ir.Constant(_I64, N_LANES * q)
        result = builder.or_(result, builder.shl(bits, shift))
    return result


def _typed(
    _typing: Any,
    codes: Any,
    scale: Any,
    error: Any,
    bias: Any,
    queries: Any,
    q_scale: Any,
    q_norm: Any,
    threshold: Any,
    tile: Any,  # noqa: ARG001
    block: Any,  # noqa: ARG001
    n_pairs: Any,  # noqa: ARG001
) -> tuple[Any, Callable[..., Any]]:
    """Type `tile_candidates`: any arrays, positions as intp, a result of 64 bits."""
    arrays = (codes, scale, error, bias, queries, q_scale, q_norm, threshold)
    return types.int64(*arrays, types.intp, types.intp, types.intp), _emit


def _in_numpy(
    codes: Any,
    scale: Float32s,
    error: Float32s,
    bias: Float32s,
    queries: Any,
    q_scale: Float32s,
    q_norm: Float32s,
    threshold: Float32s,
    tile: int,
    block: int,
    n_pairs: int,
) -> int:
    """Compute `tile_candidates` with numpy; parameters as there, the result without a sign."""
    sums = np.einsum(
        "pic,pqc->qi",
        codes[tile, :n_pairs].astype(np.int32),
        queries[block, :n_pairs].astype(np.int32),
    )
    of_tile = slice(tile * N_LANES, (tile + 1) * N_LANES)
    of_block = slice(block * N_QUERIES, (block + 1) * N_QUERIES)
    s, norm, least = (each[of_block, None] for each in (q_scale, q_norm, threshold))
    bound = sums.astype(np.float32) * (scale[of_tile] * s) + error[of_tile] * norm + bias[of_tile]
    passes = np.packbits(~(bound < least), bitorder="little")
    return int.from_bytes(passes.tobytes(), "little")


tile_candidates: Any = intrinsic(_typed, _in_numpy)
"""Return 16 bits for each of 4 users: items whose upper bound reaches the threshold.

``bound = scale·q_scale·Σ codes·queries + error·q_norm + bias``; ``codes`` is (tiles, n_pairs,
16, 2) int8, ``queries`` (blocks, n_pairs, 4, 2) int16, the rest float32 by item or by user;
``tile``, ``block`` and ``n_pairs`` say where. Callable from compiled code only.
"""
