"""Steps 2 and 3 of the flow: one change of a group after the other, in a worker on any transport."""

import asyncio
import time

from faust.types import AppT

_LOOK_S = 0.01


async def taken_over(app: AppT, *, within_s: float = float("inf")) -> None:
    """Wait until a worker has finished taking partitions over, before it gives them up again.

    What is left of an earlier takeover would end the later one in Faust's eyes, and let streams
    and tables read while their queues are still to be emptied.
    """
    deadline = time.monotonic() + within_s
    while app.rebalancing and not app.should_stop and time.monotonic() < deadline:  # noqa: ASYNC110 - Faust tells nobody
        await asyncio.sleep(_LOOK_S)
