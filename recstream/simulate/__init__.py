"""Simulation: a synthetic shop, its customers, and their events.

In: a seed and sizes. Out: items and events with learnable structure; `send` sends them at a rate.
"""

from recstream.simulate.customers import Customers, history, traffic
from recstream.simulate.demo_traffic import (
    N_EVENTS,
    N_ITEMS,
    N_USERS,
    SHOP_GROUP,
    DemoTraffic,
    is_seeded,
)
from recstream.simulate.send import RestSink, SendCounts, Sink, direct_sink, send_traffic
from recstream.simulate.shop import Shop, make_shop
