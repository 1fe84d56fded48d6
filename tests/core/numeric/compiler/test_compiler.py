"""Kernels are compiled as a whole, and only kernels are."""

import numba
import numpy as np
import pytest
from numba.core.registry import cpu_target

from recstream.core.numeric.compiler import call_types, compile_in_parts
from recstream.core.numeric.compiler.part_library import PartLibrary
from recstream.core.numeric.jit import helper


@helper
def _square(x):
    return x * x


@helper
def _square_of_next(x):
    return _square(x + 1)


def kernel(function):
    made = numba.njit(function)
    compile_in_parts(made)
    return made


@pytest.fixture
def made_code(monkeypatch):
    """Record the libraries of parts that are made into machine code from now on."""
    assert kernel(lambda x: x)(1) == 1  # numba's own runtime is one, made before the first kernel
    made = []
    make = PartLibrary._finalize_specific
    monkeypatch.setattr(
        PartLibrary, "_finalize_specific", lambda self: (made.append(self.name), make(self))
    )
    return made


def test_only_a_kernel_is_made_into_machine_code_not_what_it_calls(made_code):
    @kernel
    def squares(x):
        return np.array([_square(x), _square_of_next(x)])

    assert squares(2).tolist() == [4, 9]
    assert [name.split(".")[-1] for name in made_code] == ["squares"]


def test_what_one_kernel_called_is_linked_into_the_next(made_code):
    @kernel
    def one(x):
        return _square_of_next(x)

    @kernel
    def other(x):
        return one(x) + _square_of_next(x)

    assert one(1) == 4
    assert other(2) == 18
    assert len(made_code) == 2


def test_an_error_in_what_a_kernel_calls_is_raised_from_it():
    @kernel
    def fail(x):
        if x > 1:
            raise ValueError("too large", x)
        return x

    @kernel
    def call(x):
        return fail(x)

    assert call(1) == 1
    with pytest.raises(ValueError, match="too large"):
        call(2)


def test_numba_is_asked_once_for_the_type_of_calls_with_the_same_arguments(monkeypatch):
    asked = []
    resolve = call_types._resolve

    def count(function, context, args, kws):
        if function.typing_key is _square:
            asked.append(args)
        return resolve(function, context, args, kws)

    monkeypatch.setattr(call_types, "_resolve", count)
    monkeypatch.setattr(call_types, "_known", {})

    @kernel
    def sums(x, y):
        total = 0.0
        for _ in range(3):
            total = total + _square(x) + _square(x + 1) + _square(y)
        return total

    assert sums(1, 0.5) == 3 * (1 + 4 + 0.25)
    assert asked == [(numba.int64,), (numba.float64,)]


def test_numba_compiles_other_functions_in_its_own_way_with_parts_that_a_kernel_left(made_code):
    @kernel
    def order(values):
        return np.argsort(values)

    @numba.njit
    def other(values):
        return np.argsort(values) + _square(len(values))

    values = np.array([3.0, 1.0, 2.0])
    expected = np.argsort(values)

    assert order(values).tolist() == expected.tolist()
    assert cpu_target.target_context.codegen()._library_class is not PartLibrary
    assert other(values).tolist() == (expected + 9).tolist()
    assert "other" not in [name.rpartition(".")[2] for name in made_code]


def test_numba_compiles_in_its_own_way_after_a_kernel_that_can_not_be_compiled():
    @kernel
    def wrong(x):
        return x + "text"

    with pytest.raises(numba.TypingError):
        wrong(1)

    assert cpu_target.target_context.codegen()._library_class is not PartLibrary
