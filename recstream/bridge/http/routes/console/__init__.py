"""Routes of the console: search the log and its users, trace lists to their causes, ask what if.

In: `Deps` and requests. Out: structs that `recstream.bridge.http.routing` turns into answers.
"""

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routes.console.holders import HolderRoutes
from recstream.bridge.http.routes.console.lab import LabRoutes
from recstream.bridge.http.routes.console.letters import LetterRoutes
from recstream.bridge.http.routes.console.origins import OriginRoutes
from recstream.bridge.http.routes.console.people import PeopleRoutes
from recstream.bridge.http.routes.console.search import SearchRoutes
from recstream.bridge.http.routes.console.slices import SliceRoutes

__all__ = ["console_routes"]

_ROUTES = (
    SearchRoutes,
    PeopleRoutes,
    HolderRoutes,
    OriginRoutes,
    LetterRoutes,
    LabRoutes,
    SliceRoutes,
)


def console_routes(deps: Deps) -> tuple[object, ...]:
    """Return the objects whose methods are the console's routes."""
    return tuple(routes(deps) for routes in _ROUTES)
