"""Tokens of a vector: locality-sensitive hashes of its direction (random hyperplanes, in bands).

Two vectors with angle a between them share a band of `BITS` bits with probability ``(1 - a/π)^BITS``
(Charikar, STOC 2002). So items with similar vectors share tokens, as items with similar words do, and
vectors take part in the same search, the same neighbours and the same prior of cold items.
"""

import functools
import hashlib
import math
from collections.abc import Sequence

import numpy as np

from recstream.core.numeric.arrays import Float64s

BANDS, BITS = 32, 6
MIN_LENGTH = 2


def vector_tokens(vector: Sequence[float]) -> list[str]:
    """Return a token for each band; none for a vector that has no direction.

    >>> len(set(vector_tokens([1.0, 2.0, 3.0])) & set(vector_tokens([2.0, 4.0, 6.0])))
    32
    """
    if len(vector) < MIN_LENGTH:
        return []
    values = np.array(vector, np.float64)
    size = float(np.abs(values).max())
    if not 0.0 < size < math.inf:
        return []
    # einsum, not BLAS: the bits do not depend on BLAS threads.
    above = np.einsum("bij,j->bi", _planes(len(vector)), values / size) > 0.0
    codes = above @ (1 << np.arange(BITS))
    return [f"vector{len(vector)}~{band}:{code}" for band, code in enumerate(codes.tolist())]


@functools.lru_cache(maxsize=8)
def _planes(length: int) -> Float64s:
    """Return random signs, (bands, bits, length); the same for ever."""
    n_signs = BANDS * BITS * length
    raw = hashlib.shake_256(f"recstream planes {length}".encode()).digest((n_signs + 7) // 8)
    signs = np.unpackbits(np.frombuffer(raw, np.uint8))[:n_signs]
    return np.where(signs, 1.0, -1.0).reshape(BANDS, BITS, length)
