"""Register tiles: the inner loops of the dense kernels (dot products, outer products, axpy).

Each is emitted as LLVM code with unrolled accumulators. Their number depends on the processor: 32
registers of 16 numbers with AVX-512, 16 registers of 8 with AVX2.
"""

# ruff: noqa: ARG001  (numba passes every argument by position)

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from recstream.core.numeric.simd import (
    LANES,
    LINE,
    VECTOR,
    VECTOR64,
    address,
    emit_fma,
    emit_load,
    emit_prefetch,
    emit_splat,
    emit_store,
    intrinsic,
)

DOT_ROWS = LANES // 4
"""Rows of a `dot_tile`; it has 4 columns, so that one vector holds all its sums."""
GROUP = 8
"""Scattered rows that `dot_group` and `axpy_group` process at once."""
OUTER_ROWS = min(8, 2 + LANES // 2)
"""Rows of an `outer_tile`: with its columns, 12 or 16 sums hide the latency of an addition."""
OUTER_COLUMNS = 2 * LANES
"""Columns of an `outer_tile`."""
PRODUCT_ROWS = 8
"""Rows of a tile of float64 products."""
PRODUCT_COLUMNS = LANES // 2
"""Columns of a tile of float64 products: one vector."""

_allocate: Any = cgutils.alloca_once
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)


def _shuffled_sum(builder: Any, a: Any, b: Any, low: list[int], high: list[int]) -> Any:
    """Add two selections from the lanes of a and b."""
    kind = ir.VectorType(_I32, LANES)
    return builder.fadd(
        builder.shuffle_vector(a, b, ir.Constant(kind, low)),
        builder.shuffle_vector(a, b, ir.Constant(kind, high)),
    )


def _sums(builder: Any, vectors: list[Any]) -> Any:
    """Sum each vector over its lanes; lane i of the result is the sum of vector i.

    Shuffles that stay inside 128 bits come first, because they are the cheap ones.
    """
    n = LANES
    blocks = range(0, n, 4)
    pairs_low = [lane for b in blocks for lane in (b, n + b, b + 1, n + b + 1)]
    pairs_high = [lane + 2 for lane in pairs_low]
    fours_low = [lane for b in blocks for lane in (b, b + 1, n + b, n + b + 1)]
    fours_high = [lane + 2 for lane in fours_low]
    pairs = [
        _shuffled_sum(builder, vectors[i], vectors[i + 1], pairs_low, pairs_high)
        for i in range(0, len(vectors), 2)
    ]
    level = [
        _shuffled_sum(builder, pairs[i], pairs[i + 1], fours_low, fours_high)
        for i in range(0, len(pairs), 2)
    ]
    width = n // 4
    while width > 1:
        # Each vector holds `width` blocks still to be added; two vectors become one.
        partners = [
            level[i + 1] if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)
        ]
        chosen = [4 * block + lane for block in range(0, 2 * n // 4, 2) for lane in range(4)]
        level = [
            _shuffled_sum(builder, level[2 * i], partner, chosen, [lane + 4 for lane in chosen])
            for i, partner in enumerate(partners)
        ]
        width //= 2
    return level[0]


def _accumulators(builder: Any, count: int) -> list[Any]:
    """Allocate zeroed vectors that the compiler keeps in registers."""
    slots = [_allocate(builder, VECTOR) for _ in range(count)]
    for slot in slots:
        builder.store(ir.Constant(VECTOR, [0.0] * LANES), slot)
    return slots


def _int(value: int) -> Any:
    """Return a 64-bit constant."""
    return ir.Constant(_I64, value)


@intrinsic
def dot_tile(_: Any, a: Any, first: Any, second: Any, stride: Any, length: Any, out: Any) -> Any:
    """Fill ``out[4 i + j]`` with row ``first + i·stride`` times row ``second + j·stride``.

    i < DOT_ROWS, j < 4; the rows are `length` numbers of `a`, a multiple of LANES.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = partial(address, context, builder)
        array, first_at, second_at, step, n, result = args
        kind = signature.args[0]
        lefts = [
            where(kind, array, builder.add(first_at, builder.mul(step, _int(i))))
            for i in range(DOT_ROWS)
        ]
        rights = [
            where(kind, array, builder.add(second_at, builder.mul(step, _int(j)))) for j in range(4)
        ]
        slots = _accumulators(builder, DOT_ROWS * 4)
        with cgutils.for_range_slice(builder, _int(0), n, _int(LANES), intp=_I64) as (k, _count):
            columns = [emit_load(builder, builder.gep(at, [k])) for at in rights]
            for i, at in enumerate(lefts):
                row = emit_load(builder, builder.gep(at, [k]))
                for j, column in enumerate(columns):
                    slot = slots[4 * i + j]
                    builder.store(emit_fma(builder, row, column, builder.load(slot)), slot)
        sums = _sums(builder, [builder.load(slot) for slot in slots])
        emit_store(builder, where(signature.args[5], result, _int(0)), sums)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(a, i64, i64, i64, i64, out), emit


@intrinsic
def outer_tile(
    _: Any,
    a: Any,
    a_at: Any,
    a_row: Any,
    a_step: Any,
    b: Any,
    b_at: Any,
    b_step: Any,
    length: Any,
    c: Any,
    c_at: Any,
    c_row: Any,
) -> Any:
    """Add a product of OUTER_ROWS × OUTER_COLUMNS to ``c``.

    ``c[c_at + i·c_row + j] += Σ_k a[a_at + i·a_row + k·a_step] · b[b_at + k·b_step + j]``
    for k < `length`, in that order.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = partial(address, context, builder)
        a_, a_at_, a_row_, a_step_, b_, b_at_, b_step_, n, c_, c_at_, c_row_ = args
        lefts = [
            where(signature.args[0], a_, builder.add(a_at_, builder.mul(a_row_, _int(i))))
            for i in range(OUTER_ROWS)
        ]
        right = where(signature.args[4], b_, b_at_)
        target = where(signature.args[8], c_, c_at_)
        slots = _accumulators(builder, OUTER_ROWS * 2)
        with cgutils.for_range(builder, n, intp=_I64) as loop:
            row = builder.gep(right, [builder.mul(loop.index, b_step_)])
            columns = [emit_load(builder, row), emit_load(builder, builder.gep(row, [_int(LANES)]))]
            shift = builder.mul(loop.index, a_step_)
            for i, at in enumerate(lefts):
                value = emit_splat(builder, builder.load(builder.gep(at, [shift])))
                for j, column in enumerate(columns):
                    slot = slots[2 * i + j]
                    builder.store(emit_fma(builder, value, column, builder.load(slot)), slot)
        for i in range(OUTER_ROWS):
            for j in range(2):
                offset = builder.add(builder.mul(c_row_, _int(i)), _int(j * LANES))
                at = builder.gep(target, [offset])
                total = builder.fadd(emit_load(builder, at), builder.load(slots[2 * i + j]))
                emit_store(builder, at, total)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(a, i64, i64, i64, b, i64, i64, i64, c, i64, i64), emit


def _products(name: str, combine: str) -> Any:
    """Make an intrinsic that adds a product to a tile of float64, or subtracts it.

    ``c[c_at + i·c_row + j] ± = a[a_at + i·a_row + k·a_step] · b[b_at + k·b_step + j]`` for k = 0, 1, …,
    `length` - 1, i < PRODUCT_ROWS, j < PRODUCT_COLUMNS. Product and sum are each rounded, on every processor.
    """

    def product_tile(
        _: Any, a: Any, a_at: Any, a_row: Any, a_step: Any, b: Any, b_at: Any, b_step: Any, length: Any,
        c: Any, c_at: Any, c_row: Any,
    ) -> Any:  # fmt: skip
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            where = partial(address, context, builder)
            a_, a_at_, a_row_, a_step_, b_, b_at_, b_step_, n, c_, c_at_, c_row_ = args
            steps = [_int(i) for i in range(PRODUCT_ROWS)]
            lefts = [
                where(signature.args[0], a_, builder.add(a_at_, builder.mul(a_row_, i)))
                for i in steps
            ]
            right = where(signature.args[4], b_, b_at_)
            pointer = VECTOR64.as_pointer()
            sums = [
                builder.bitcast(
                    where(signature.args[8], c_, builder.add(c_at_, builder.mul(c_row_, i))),
                    pointer,
                )
                for i in steps
            ]
            slots = [_allocate(builder, VECTOR64) for _ in steps]
            for slot, at in zip(slots, sums, strict=True):
                builder.store(builder.load(at, align=8), slot)
            with cgutils.for_range(builder, n, intp=_I64) as loop:
                row = builder.gep(right, [builder.mul(loop.index, b_step_)])
                column = builder.load(builder.bitcast(row, pointer), align=8)
                shift = builder.mul(loop.index, a_step_)
                for slot, at in zip(slots, lefts, strict=True):
                    value = emit_splat(builder, builder.load(builder.gep(at, [shift])), VECTOR64)
                    product = builder.fmul(value, column)
                    builder.store(getattr(builder, combine)(builder.load(slot), product), slot)
            for slot, at in zip(slots, sums, strict=True):
                builder.store(builder.load(slot), at, align=8)
            return context.get_dummy_value()

        i64 = types.int64
        return types.void(a, i64, i64, i64, b, i64, i64, i64, c, i64, i64), emit

    return intrinsic(product_tile, name=name)


add_products = _products("add_products", "fadd")
subtract_products = _products("subtract_products", "fsub")


@intrinsic
def dot_group(
    _: Any, z: Any, offsets: Any, first: Any, vector: Any, length: Any, out: Any, out_at: Any
) -> Any:
    """Fill ``out[out_at : + GROUP]`` with rows of `z` times a vector.

    The rows start at ``offsets[first : first + GROUP]``. LANES numbers of `out` are written.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = partial(address, context, builder)
        z_, offsets_, first_, vector_, n, out_, out_at_ = args
        rows = _group_rows(builder, where, signature.args, z_, offsets_, first_)
        base = where(signature.args[3], vector_, _int(0))
        slots = _accumulators(builder, GROUP)
        with cgutils.for_range_slice(builder, _int(0), n, _int(LANES), intp=_I64) as (k, _count):
            factor = emit_load(builder, builder.gep(base, [k]))
            for slot, at in zip(slots, rows, strict=True):
                row = emit_load(builder, builder.gep(at, [k]))
                builder.store(emit_fma(builder, row, factor, builder.load(slot)), slot)
        sums = _sums(builder, [builder.load(slot) for slot in slots])
        emit_store(builder, where(signature.args[5], out_, out_at_), sums)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(z, offsets, i64, vector, i64, out, i64), emit


@intrinsic
def axpy_group(
    _: Any,
    z: Any,
    offsets: Any,
    first: Any,
    factors: Any,
    factors_at: Any,
    vector: Any,
    length: Any,
) -> Any:
    """Add GROUP rows of `z`, each times ``factors[factors_at + i]``, to a vector, in order."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = partial(address, context, builder)
        z_, offsets_, first_, factors_, factors_at_, vector_, n = args
        rows = _group_rows(builder, where, signature.args, z_, offsets_, first_)
        times = [
            emit_splat(
                builder,
                builder.load(where(signature.args[3], factors_, builder.add(factors_at_, _int(i)))),
            )
            for i in range(GROUP)
        ]
        base = where(signature.args[5], vector_, _int(0))
        with cgutils.for_range_slice(builder, _int(0), n, _int(LANES), intp=_I64) as (k, _count):
            at = builder.gep(base, [k])
            total = emit_load(builder, at)
            for factor, row in zip(times, rows, strict=True):
                total = emit_fma(builder, factor, emit_load(builder, builder.gep(row, [k])), total)
            emit_store(builder, at, total)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(z, offsets, i64, factors, i64, vector, i64), emit


def _group_rows(
    builder: Any, where: Any, kinds: Any, z: Any, offsets: Any, first: Any
) -> list[Any]:
    """Return the addresses of GROUP rows; an array holds their offsets."""
    places = [where(kinds[1], offsets, builder.add(first, _int(i))) for i in range(GROUP)]
    return [where(kinds[0], z, builder.load(place)) for place in places]


@intrinsic
def prefetch_group(_: Any, z: Any, offsets: Any, first: Any, begin: Any, end: Any) -> Any:
    """Prefetch columns begin to end of GROUP rows of `z`; see `dot_group`."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        z_, offsets_, first_, begin_, end_ = args
        where = partial(address, context, builder)
        rows = _group_rows(builder, where, signature.args, z_, offsets_, first_)
        with cgutils.for_range_slice(builder, begin_, end_, _int(LINE), intp=_I64) as (k, _count):
            for row in rows:
                emit_prefetch(builder, builder.gep(row, [k]))
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(z, offsets, i64, i64, i64), emit
