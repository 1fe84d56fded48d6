"""Partition handoff: a worker finishes one rebalance before it starts the next."""

import asyncio
import time

from faust.types import AppT

_LOOK_S = 0.01


async def finish_takeover(app: AppT, *, within_s: float = float("inf")) -> None:
    """Wait until a worker has finished taking partitions, before they are revoked again.

    The rest of an earlier rebalance would clear Faust's flag in the middle of the later one. Streams
    and tables would then read while their queues are still to be emptied.
    """
    deadline = time.monotonic() + within_s
    while app.rebalancing and not app.should_stop and time.monotonic() < deadline:  # noqa: ASYNC110 - Faust has no event for it
        await asyncio.sleep(_LOOK_S)
