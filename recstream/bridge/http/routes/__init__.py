"""The routes, one class a subject.

In: `Deps` and requests. Out: structs that `recstream.bridge.http.routing` turns into answers.
"""

from recstream.bridge.http.routes.events import EventRoutes
from recstream.bridge.http.routes.items import ItemRoutes
from recstream.bridge.http.routes.lists import ListRoutes
from recstream.bridge.http.routes.log import LogRoutes
from recstream.bridge.http.routes.models import ModelRoutes
from recstream.bridge.http.routes.push import DETACH, PushRoutes
from recstream.bridge.http.routes.shelves import ShelfRoutes
from recstream.bridge.http.routes.site import SiteRoutes
from recstream.bridge.http.routes.steering import SteeringRoutes
from recstream.bridge.http.routes.tokens import TokenRoutes
from recstream.bridge.http.routes.users import UserRoutes
