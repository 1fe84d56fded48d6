"""Compile kernels in a third less time than numba alone does. This relies on internals of one numba version.

In: a kernel that is not compiled yet. Numba compiles all other code of the process in its own way.
"""

from typing import Any

from recstream.core.numeric.compiler.call_types import remembered_call_types
from recstream.core.numeric.compiler.part_library import part_libraries

__all__ = ["compile_in_parts"]


def compile_in_parts(kernel: Any) -> None:
    """Have a kernel, and what it calls, compiled in the ways of this folder."""
    compiler = kernel._compiler  # noqa: SLF001 - numba has no public way
    compile_alone = compiler.compile

    def compile_with_parts(args: Any, return_type: Any) -> Any:
        with part_libraries(), remembered_call_types():
            return compile_alone(args, return_type)

    compiler.compile = compile_with_parts
