"""Fading weights of a history's entries: newer entries count more."""

import numpy as np

from recstream.core.numeric.arrays import Float32s
from recstream.errors import InvalidInput


def fading_weights(order: object, half_life: float) -> Float32s:
    """Return ``2^(-age / half_life)``, where age is the number of newer entries in the history.

    Parameters
    ----------
    order : (n,) sortable
        Time (or position) of each entry of one history; equal values share an age.
    half_life : float
        In entries of the same user; infinity gives ones.

    >>> fading_weights([30, 10, 20], 1.0)
    array([1.  , 0.25, 0.5 ], dtype=float32)
    """
    if not half_life > 0:
        msg = f"half_life must be above 0, got {half_life!r}"
        raise InvalidInput(msg)
    at = np.asarray(order)
    age = len(at) - np.searchsorted(np.sort(at), at, side="right")
    return np.exp2(-age / half_life).astype(np.float32)
