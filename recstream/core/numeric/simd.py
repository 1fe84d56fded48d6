"""SIMD vectors as numba values, for kernels written in Python.

A vector holds `LANES` float32 numbers: 16 with AVX-512, else 8. Its operations are generic LLVM
instructions, which LLVM lowers to the instructions of any processor. An address is
``(flat array, offset)`` and is not checked.

Sums have a fixed order: `fma` rounds once where the processor has that instruction, `lane_sum` adds
lanes by halves. So equal numbers give equal bits, wherever they lie in memory.
"""

# ruff: noqa: ARG001  (numba passes every argument by position)

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.extending import _Intrinsic
from numba.extending import models, register_model

from recstream.core.numeric.arrays import Float32s

_config: Any = config


def _processor_features() -> set[str]:
    """Return the features numba compiles for: ``NUMBA_CPU_FEATURES``, or the processor's."""
    if _config.CPU_FEATURES is not None:
        return {name[1:] for name in _config.CPU_FEATURES.split(",") if name.startswith("+")}
    return {name for name, present in llvm.get_host_cpu_features().items() if present}


FEATURES = _processor_features()
LANES: int = 16 if "avx512f" in FEATURES else 8
"""float32 numbers in a vector."""


class Intrinsic(_Intrinsic):  # type: ignore[misc]  # numba has no types for it
    """A function that kernels call; where a kernel is interpreted, a function of numpy is called."""

    def __init__(self, emitter: Callable[..., Any], in_numpy: Callable[..., Any] | None) -> None:
        super().__init__(emitter.__name__, emitter)
        self._in_numpy = in_numpy

    def __call__(self, *args: Any) -> Any:
        """Call the function of numpy."""
        return super().__call__(*args) if self._in_numpy is None else self._in_numpy(*args)


def intrinsic(
    emitter: Callable[..., Any], in_numpy: Callable[..., Any] | None = None, name: str = ""
) -> Any:
    """Turn a function that emits LLVM code into one that kernels can call.

    Parameters
    ----------
    emitter : callable
        Its first parameter is numba's typing context; kernels pass the others.
    in_numpy : callable, optional
        Does the same with numpy, bit for bit, for kernels that are interpreted.
    name : str
        Of the function in `_IN_NUMPY`, if it is not the emitter's.
    """
    made = Intrinsic(emitter, in_numpy or _IN_NUMPY.get(name or emitter.__name__))
    made._register()  # noqa: SLF001 - as numba's own decorator does
    return made


def _store_in_numpy(array: Float32s, offset: int, value: Float32s) -> None:
    array[offset : offset + LANES] = value


_IN_NUMPY: dict[str, Callable[..., Any]] = {
    "load": lambda array, offset: array[offset : offset + LANES].copy(),
    "store": _store_in_numpy,
    "splat": lambda value: np.full(LANES, value, np.float32),
    "zero": lambda: np.zeros(LANES, np.float32),
    "add": np.add,
    "multiply": np.multiply,
    "prefetch": lambda _array, _offset: None,
    "trailing_zeros": lambda bits: (int(bits) & -int(bits)).bit_length() - 1,
}
"""Operations in numpy; of the others no interpreted kernel has need."""

declare: Any = cgutils.get_or_insert_function
LINE = 16
"""Numbers of four bytes in a cache line."""

_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
VECTOR = ir.VectorType(_F32, LANES)
VECTOR64 = ir.VectorType(ir.DoubleType(), LANES // 2)


class VectorType(types.Type):
    """Numba type of a vector of float32."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector_type = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    """Represents the type as an LLVM vector."""

    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)  # type: ignore[no-untyped-call]  # numba's own


def address(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    """Return the address of element `offset` of a contiguous array."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [offset])


def emit_load(builder: Any, at: Any) -> Any:
    """Emit an unaligned read of a vector."""
    return builder.load(builder.bitcast(at, VECTOR.as_pointer()), align=4)


def emit_store(builder: Any, at: Any, value: Any) -> None:
    """Emit an unaligned write of a vector."""
    builder.store(value, builder.bitcast(at, VECTOR.as_pointer()), align=4)


def emit_prefetch(builder: Any, at: Any) -> None:
    """Emit a prefetch of the cache line of an address."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte] + [_I32] * 3)
    request = declare(builder.module, kind, "llvm.prefetch.p0")
    hints = (ir.Constant(_I32, value) for value in (0, 2, 1))
    builder.call(request, [builder.bitcast(at, byte), *hints])


@intrinsic
def load(_: Any, array: Any, offset: Any) -> Any:
    """Read a vector starting at element `offset`."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = address(context, builder, signature.args[0], args[0], args[1])
        return emit_load(builder, at)

    return vector_type(array, types.int64), emit


@intrinsic
def store(_: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write a vector starting at element `offset`."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = address(context, builder, signature.args[0], args[0], args[1])
        emit_store(builder, at, args[2])
        return context.get_dummy_value()

    return types.void(array, types.int64, vector_type), emit


@intrinsic
def splat(_: Any, value: Any) -> Any:
    """Repeat a number in every lane."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return emit_splat(builder, args[0])

    return vector_type(types.float32), emit


def emit_splat(builder: Any, value: Any, kind: Any = VECTOR) -> Any:
    """Repeat a scalar in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    lanes = ir.VectorType(_I32, kind.count)
    return builder.shuffle_vector(first, undefined, ir.Constant(lanes, [0] * kind.count))


@intrinsic
def zero(_: Any) -> Any:
    """Return a vector of zeros."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(VECTOR, [0.0] * LANES)

    return vector_type(), emit


def emit_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Emit ``a · b + c``: one rounding where the processor has the instruction, else two."""
    if "fma" not in FEATURES:
        return builder.fadd(builder.fmul(a, b), c)
    function = declare(
        builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), f"llvm.fma.v{LANES}f32"
    )
    return builder.call(function, [a, b, c])


@intrinsic
def fma(_: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a · b + c`` lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return emit_fma(builder, *args)

    return vector_type(vector_type, vector_type, vector_type), emit


def _binary(name: str, called: str) -> Any:
    """Make an intrinsic of an LLVM instruction with two operands."""

    def operation(_: Any, a: Any, b: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, name)(*args)

        return vector_type(vector_type, vector_type), emit

    return intrinsic(operation, name=called)


add = _binary("fadd", "add")
multiply = _binary("fmul", "multiply")
divide = _binary("fdiv", "divide")


@intrinsic
def negate(_: Any, a: Any) -> Any:
    """Return ``-a`` lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fneg(args[0])

    return vector_type(vector_type), emit


@intrinsic
def square_root(_: Any, a: Any) -> Any:
    """Return the square root lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = declare(
            builder.module, ir.FunctionType(VECTOR, [VECTOR]), f"llvm.sqrt.v{LANES}f32"
        )
        return builder.call(function, args)

    return vector_type(vector_type), emit


@intrinsic
def lane_sum(_: Any, a: Any) -> Any:
    """Return the sum of the lanes, added by halves."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(_I32, LANES)
        total, half = args[0], LANES // 2
        while half:
            other = [(lane + half) % LANES for lane in range(LANES)]
            moved = builder.shuffle_vector(total, total, ir.Constant(kind, other))
            total, half = builder.fadd(total, moved), half // 2
        return builder.extract_element(total, ir.Constant(_I32, 0))

    return types.float32(vector_type), emit


@intrinsic
def prefetch(_: Any, array: Any, offset: Any) -> Any:
    """Prefetch the cache line of an element of a contiguous array."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit_prefetch(builder, address(context, builder, signature.args[0], *args))
        return context.get_dummy_value()

    return types.void(array, types.int64), emit


@intrinsic
def trailing_zeros(_: Any, bits: Any) -> Any:
    """Return the position of the lowest set bit; at least one bit must be set."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit
