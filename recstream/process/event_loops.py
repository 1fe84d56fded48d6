"""Event loops of worker and bridge: uvloop's where it is installed, which takes half the time."""

import asyncio
from collections.abc import Coroutine
from importlib import import_module
from typing import Any


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop."""
    try:
        loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    except ImportError:  # not on Windows
        loop = asyncio.new_event_loop()
    return loop


def run_in_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)
