"""Remember the types of calls in kernels.

Numba types a function in several rounds, and in each round it tries the implementations of every called
function again, one after another. Their answer depends on the arguments' types and the compiler's flags
alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.targetconfig import ConfigStack
from numba.core.types import functions

_function: Any = functions.BaseFunction
_resolve = _function.get_call_type
_stack: Any = ConfigStack
_known: dict[Any, Any] = {}


def _get_call_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
    """Return the signature of a call; errors are not remembered."""
    flags = _stack.top_or_none()
    options = None if flags is None else repr(sorted(flags._values.items()))  # noqa: SLF001 - numba's own hash is slow
    key = self, context, args, tuple(kws.items()), options
    found = _known.get(key)
    if found is None:
        found = _known[key] = _resolve(self, context, args, kws)
    return found


@contextmanager
def remembered_call_types() -> Iterator[None]:
    """Make numba remember within the block; numba's compiler lock is held."""
    resolve, _function.get_call_type = _function.get_call_type, _get_call_type
    try:
        yield
    finally:
        _function.get_call_type = resolve
