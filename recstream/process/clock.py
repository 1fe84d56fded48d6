"""The clock of worker and trainer; derived state never reads it."""

import time


def system_clock_ms() -> int:
    """Return the time of day in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
