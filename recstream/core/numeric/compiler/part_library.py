"""Compile what kernels call as parts of the kernels alone.

Numba optimises each function that a kernel calls, and makes machine code for it, before it links the
function into the kernel and optimises both again. Here such a part stays a simplified LLVM module until
a kernel links it: no code but the kernel's is made.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from numba.core.codegen import JITCodeLibrary
from numba.core.environment import lookup_environment
from numba.core.registry import cpu_target

_ENVIRONMENTS = "_ZN08NumbaEnv"
"""Prefix of the names of global variables that hold an environment."""


_Library: Any = JITCodeLibrary
_environment: Any = lookup_environment


class PartLibrary(_Library):  # type: ignore[misc]  # numba has no types
    """Library that is optimised and made into machine code only if Python can call its function."""

    _shared_names: frozenset[str] = frozenset()
    """Functions that kernels have linked."""

    def add_linking_library(self, library: Any) -> None:
        """Add a library to link; a part stays one."""
        self._linking_libraries.append(library)

    def finalize(self) -> None:
        """Link all parts, also parts of parts, then optimise and make machine code.

        A part comes here when numba links it in its own way, into a function that is no kernel.
        """
        for function in self._final_module.functions:
            if function.name in self._shared_names:
                function.linkage = "external"
        self._linking_libraries = _linked(self)
        super().finalize()
        # The parts' environments, which numba sets when it makes their code.
        for variable in self._final_module.global_variables:
            environment = _environment(variable.name)
            if variable.name.startswith(_ENVIRONMENTS) and environment is not None:
                self._codegen.set_env(variable.name, environment)

    def get_pointer_to_function(self, name: str) -> int:
        """Return the address of a function; 0 if it is not defined here, as for a part."""
        if not self._finalized and all(each.name != name for each in self._final_module.functions):
            return 0
        return int(super().get_pointer_to_function(name))

    def _get_module_for_linking(self) -> Any:
        if self._finalized:
            return super()._get_module_for_linking()
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == llvm.Linkage.external:
                function.linkage = "linkonce_odr"
                self._shared_names |= {function.name}
        return self._final_module

    def _optimize_functions(self, module: Any) -> None:
        """Simplify functions before they are inlined: vectors in registers, few blocks, no counted references."""
        module.data_layout = self._codegen._data_layout  # noqa: SLF001 - numba has no public way
        builder = self._codegen._pass_builder()  # noqa: SLF001 - likewise
        passes = llvm.create_new_function_pass_manager()
        passes.add_sroa_pass()
        passes.add_simplify_cfg_pass()
        passes.add_instruction_combine_pass()
        passes.add_refprune_pass()
        for function in module.functions:
            if not function.is_declaration:
                passes.run(function, builder)

    def _optimize_final_module(self) -> None:
        """Optimise once; numba runs cheaper passes first."""
        passes, builder = self._codegen._module_pass_manager()  # noqa: SLF001 - likewise
        passes.run(self._final_module, builder)


def _linked(library: PartLibrary) -> list[Any]:
    """Return the libraries that a library links, those of parts included, each once."""
    found: list[Any] = []
    waiting = list(library._linking_libraries)  # noqa: SLF001 - its own class
    for each in waiting:
        if each not in found:
            found.append(each)
            if not each._finalized:  # noqa: SLF001 - likewise
                waiting += each._linking_libraries  # noqa: SLF001 - likewise
    return found


@contextmanager
def part_libraries() -> Iterator[None]:
    """Make numba compile into such libraries within the block; numba's compiler lock is held."""
    codegen: Any = cpu_target.target_context.codegen()
    library, set_env = codegen._library_class, codegen.set_env  # noqa: SLF001 - numba has no public way, here and below

    def set_defined(name: str, environment: Any) -> None:
        # That of a part has no address yet.
        if codegen._engine.is_symbol_defined(name):  # noqa: SLF001
            set_env(name, environment)

    codegen._library_class, codegen.set_env = PartLibrary, set_defined  # noqa: SLF001
    try:
        yield
    finally:
        codegen._library_class, codegen.set_env = library, set_env  # noqa: SLF001
