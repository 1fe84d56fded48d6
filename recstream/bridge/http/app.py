"""The Flask app, made from what it works with; importing this module makes and connects nothing."""

from __future__ import annotations

from flask import Flask, Response, request

from recstream.bridge.http import problems, security
from recstream.bridge.http.batches import MAX_BODY_BYTES
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.docs_page import STYLE, docs_page
from recstream.bridge.http.events import EventRoutes
from recstream.bridge.http.items import ItemRoutes
from recstream.bridge.http.lists import ListRoutes
from recstream.bridge.http.log import LogRoutes
from recstream.bridge.http.openapi import openapi
from recstream.bridge.http.push import PushRoutes
from recstream.bridge.http.routing import Endpoint, add
from recstream.bridge.http.site import SiteRoutes
from recstream.bridge.http.steering import SteeringRoutes
from recstream.bridge.http.users import UserRoutes
from recstream.bridge.push import asyncapi
from recstream.metrics import HTTP_REQUESTS


def endpoints(deps: Deps) -> list[Endpoint]:
    """Return every endpoint of the bridge, in the order in which they are documented."""
    listed: list[Endpoint] = []
    documents = {
        "/openapi.json": lambda: openapi(listed),
        "/asyncapi.json": asyncapi,
        "/docs": lambda: docs_page(openapi(listed), asyncapi()),
        "/docs/style.css": STYLE.encode,
    }
    for routes in (
        EventRoutes(deps),
        ListRoutes(deps),
        UserRoutes(deps),
        ItemRoutes(deps),
        SteeringRoutes(deps),
        LogRoutes(deps),
        PushRoutes(deps),
        SiteRoutes(deps, documents),
    ):
        listed.extend(routes.endpoints())
    return listed


def create_app(deps: Deps) -> Flask:
    """Return the app of a bridge.

    Parameters
    ----------
    deps : Deps
        Everything the routes work with.
    """
    app = Flask("recstream.bridge", static_folder=None, template_folder=None)
    # A little above the limit of events, whose own message is better.
    app.config["MAX_CONTENT_LENGTH"] = 2 * MAX_BODY_BYTES
    app.config["TRAP_HTTP_EXCEPTIONS"] = False
    app.url_map.merge_slashes = False
    security.install(app, allowed_origins=deps.settings.allowed_origins, is_open=deps.auth.is_open)
    problems.install(app)
    for endpoint in endpoints(deps):
        add(app, endpoint, auth=deps.auth)

    @app.after_request
    def count(response: Response) -> Response:
        rule = request.url_rule.rule if request.url_rule is not None else "none"
        HTTP_REQUESTS.labels(rule, str(response.status_code)).inc()
        return response

    return app
