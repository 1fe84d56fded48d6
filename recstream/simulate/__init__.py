"""Step 1 of the flow without people: a made-up shop, its customers, and what they do."""

from recstream.simulate.customers import Customers, history, traffic
from recstream.simulate.shop import Shop, make_shop

__all__ = ["Customers", "Shop", "history", "make_shop", "traffic"]
