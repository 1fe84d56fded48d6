"""Validate and normalise input matrices and vectors before a kernel sees them.

Kernels do not check indices: a wrong one would corrupt memory. Every error names the argument, what
was expected and what came.
"""

from recstream.core.validation.csr import CSRRows, as_csr_rows, as_excluded
from recstream.core.validation.dense import (
    as_counts,
    as_finite,
    as_item_rows,
    as_matrix,
    as_positive,
    as_vector,
    as_whole,
    kernel_array,
)
