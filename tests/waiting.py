"""Wait for a condition, with a deadline."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")
DEADLINE_S = 60.0
"""Long: for a busy machine. A test that holds waits only as long as it must."""


def wait_until(
    ask: Callable[[], T | None],
    what: str | Callable[[], str] = "the condition",
    deadline_s: float = DEADLINE_S,
) -> T:
    """Return the first answer that is true; fail at the deadline and name what did not come."""
    end = time.monotonic() + deadline_s
    while not (answer := ask()):
        if time.monotonic() > end:
            pytest.fail(f"{what if isinstance(what, str) else what()}: not within {deadline_s:g} s")
        time.sleep(0.01)
    return answer


async def until(holds: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait until a condition holds, while other tasks run."""
    async with asyncio.timeout(deadline_s):
        while not holds():  # noqa: ASYNC110 - any condition will do
            await asyncio.sleep(0.005)
