"""A stream-native, event-sourced recommender.

The numeric core can be used alone::

    from recstream import ALS
"""

import time
from typing import Any

__all__ = ["ALS", "ALSModel", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load the numeric core when it is first asked for: importing recstream stays cheap."""
    if name in {"ALS", "ALSModel"}:
        from recstream.core import als  # noqa: PLC0415 - lazy on purpose

        # The core reads no clock.
        als.ALS.clock = staticmethod(time.perf_counter)  # type: ignore[method-assign]
        return getattr(als, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
