"""Routes of the console: search the log and its users, trace lists to their causes.

In: `Deps` and requests. Out: structs that `recstream.bridge.http.routing` turns into answers.
"""

from __future__ import annotations

from recstream.bridge.http.routes.console.holders import HolderRoutes
from recstream.bridge.http.routes.console.origins import OriginRoutes
from recstream.bridge.http.routes.console.people import PeopleRoutes
from recstream.bridge.http.routes.console.search import SearchRoutes

__all__ = ["HolderRoutes", "OriginRoutes", "PeopleRoutes", "SearchRoutes"]
