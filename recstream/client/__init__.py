"""Clients of the bridge, for a shop's server: `Client`, and `AsyncClient` for asyncio.

Needs the extra ``client``. In: calls with the fields of the REST API. Out: its answers, as dicts. The types of
both are in `recstream.client.bodies` and `recstream.client.answers`.
"""

from recstream.client.batch import EventBatch
from recstream.client.connection import AsyncClient, Client, RequestFailed

__all__ = ["AsyncClient", "Client", "EventBatch", "RequestFailed"]
