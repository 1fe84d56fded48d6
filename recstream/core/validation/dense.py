"""Validate numbers, vectors and dense matrices."""

import math
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.errors import InvalidInput

Number = TypeVar("Number", bound=np.generic)
_TWO = 2
MAX_WHOLE = 2**63 - 1


def kernel_array(array: Any, dtype: type[Number]) -> NDArray[Number]:
    """Return the array as kernels are compiled for: contiguous, aligned and writable.

    Others, such as views of received bytes, are copied: numba would compile every kernel again for
    their type.
    """
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.carray:
        return array
    return np.require(array, dtype, ["C", "A", "W"])


def _as_array(values: Any, name: str) -> NDArray[Any]:
    """Return values as an array of any type."""
    if sp.issparse(values):
        raise InvalidInput(f"{name} must be a dense array, got {type(values).__name__}")
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InvalidInput(
            f"{name} must be an array, got {type(values).__name__}: {error}"
        ) from error


def as_matrix(
    values: Any, name: str, *, n_columns: int | None = None, n_rows: int | None = None
) -> Float32s:
    """Return a checked, contiguous, finite float32 matrix."""
    array = _as_array(values, name)
    if array.ndim != _TWO or array.dtype.kind not in "fiu":
        raise InvalidInput(
            f"{name} must be a real matrix (2 dimensions), got {array.ndim} of {array.dtype}"
        )
    if n_columns is not None and array.shape[1] != n_columns:
        raise InvalidInput(
            f"{name} must have {n_columns} columns (n_factors), got {array.shape[1]}"
        )
    if n_rows is not None and len(array) != n_rows:
        raise InvalidInput(f"{name} must have {n_rows} rows, got {array.shape}")
    return _as_finite(array, name)


def as_vector(values: Any, name: str, n: int) -> Float32s:
    """Return a checked, contiguous, finite float32 vector of length n."""
    array = _as_array(values, name)
    if array.shape != (n,) or array.dtype.kind not in "fiu":
        raise InvalidInput(
            f"{name} must be {n} real numbers, got {array.dtype} of shape {array.shape}"
        )
    return _as_finite(array, name)


def _as_finite(array: NDArray[Any], name: str) -> Float32s:
    """Return the array as float32; raise if a value is NaN or infinite, with its row."""
    # If the sum is finite, all values are. Else look for the value: the sum may have overflowed.
    with np.errstate(over="ignore", invalid="ignore"):
        values = kernel_array(array, np.float32)
        is_finite = bool(np.isfinite(values.sum(dtype=np.float64)))
    if not is_finite and not np.isfinite(values).all():
        place = tuple(np.argwhere(~np.isfinite(values))[0])
        raise InvalidInput(f"{name} must be finite, got {values[place]} in row {place[0]}")
    return values


def as_counts(values: Any, name: str, n: int) -> Int64s:
    """Return checked counts."""
    array = _as_array(values, name)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise InvalidInput(f"{name} must be {n} whole numbers, got {array.dtype} {array.shape}")
    if n and array.min() < 0:
        raise InvalidInput(f"{name} must be at least 0, got {array.min()}")
    if n and array.max() > MAX_WHOLE:
        raise InvalidInput(f"{name} must be at most {MAX_WHOLE:,}, got {array.max():,}")
    return kernel_array(array, np.int64)


def as_item_rows(values: Any, name: str, n_items: int) -> Int32s:
    """Return checked rows of items as a vector; a single row gives a vector of one."""
    array = np.atleast_1d(_as_array(values, name))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InvalidInput(f"{name} must be item rows, got {array.dtype} {array.shape}")
    if array.size and not (array.min() >= 0 and array.max() < n_items):
        raise InvalidInput(
            f"{name} must be rows from 0 to {n_items - 1}, "
            f"got {int(array.min())} to {int(array.max())}"
        )
    return kernel_array(array, np.int32)


def as_finite(value: Any, name: str) -> float:
    """Return a checked finite number."""
    number = _as_float(value)
    if not math.isfinite(number):
        raise InvalidInput(f"{name} must be a finite number, got {value!r}")
    return number


def as_positive(value: Any, name: str) -> float:
    """Return a checked positive number."""
    number = _as_float(value)
    if not 0 < number < math.inf:
        raise InvalidInput(f"{name} must be a finite number above 0, got {value!r}")
    return number


def as_whole(value: Any, name: str, minimum: int, maximum: int = MAX_WHOLE) -> int:
    """Return a checked whole number of at least a minimum."""
    if not (is_integer(value) and value >= minimum):
        raise InvalidInput(f"{name} must be a whole number of at least {minimum}, got {value!r}")
    if value > maximum:
        raise InvalidInput(f"{name} must be at most {maximum:,}, got {value:,}")
    return int(value)


def _as_float(value: object) -> float:
    """Return a number that floats can hold; NaN for anything else."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def is_integer(value: object) -> bool:
    """Return whether a value is an integer of Python or numpy, not a bool.

    >>> is_integer(np.int64(3)), is_integer(3.0), is_integer(True)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)
