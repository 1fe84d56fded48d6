"""Simulation: a synthetic shop, its customers, and their events.

In: a seed and sizes. Out: items and events with learnable structure; `send` sends them at a rate.
"""

from recstream.simulate.customers import Customers, history, traffic
from recstream.simulate.send import Report, RestSink, Sink, direct_sink, send_traffic
from recstream.simulate.shop import Shop, make_shop

__all__ = [
    "Customers",
    "Report",
    "RestSink",
    "Shop",
    "Sink",
    "direct_sink",
    "history",
    "make_shop",
    "send_traffic",
    "traffic",
]
