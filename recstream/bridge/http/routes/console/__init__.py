"""Routes of the console: search the log and its users, trace lists to their causes, ask what if.

In: `Deps` and requests. Out: structs that `recstream.bridge.http.routing` turns into answers.
"""

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routes.console.dead_letters import DeadLetterRoutes
from recstream.bridge.http.routes.console.lists import PublishedListRoutes
from recstream.bridge.http.routes.console.search import SearchRoutes
from recstream.bridge.http.routes.console.slices import SliceRoutes
from recstream.bridge.http.routes.console.traffic import TrafficRoutes
from recstream.bridge.http.routes.console.users import UserSearchRoutes
from recstream.bridge.http.routes.console.what_if import WhatIfRoutes

__all__ = ["console_routes"]

_ROUTES = (
    SearchRoutes,
    UserSearchRoutes,
    PublishedListRoutes,
    WhatIfRoutes,
    DeadLetterRoutes,
    TrafficRoutes,
    SliceRoutes,
)


def console_routes(deps: Deps) -> tuple[object, ...]:
    """Return the objects whose methods are the console's routes."""
    return tuple(routes(deps) for routes in _ROUTES)
