"""Create the Flask app from its dependencies."""

from collections.abc import Callable
from functools import cache

from flask import Flask, Response, request

from recstream.bridge.http import compression, paths, problems, request_id, security
from recstream.bridge.http.bodies import MAX_BODY_BYTES
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.documents import STYLE, asyncapi, docs_page, openapi
from recstream.bridge.http.routes import (
    EventRoutes,
    ItemRoutes,
    ListRoutes,
    LogRoutes,
    ModelRoutes,
    PushRoutes,
    ShelfRoutes,
    SiteRoutes,
    SteeringRoutes,
    TokenRoutes,
    UserRoutes,
)
from recstream.bridge.http.routes.console import console_routes
from recstream.bridge.http.routing import Endpoint, add, endpoints_of
from recstream.metrics import HTTP_REQUESTS

MAX_REQUEST_BYTES = 2 * MAX_BODY_BYTES


def endpoints(deps: Deps) -> list[Endpoint]:
    """Return every endpoint of the bridge, in the order of the documents."""
    listed: list[Endpoint] = []
    documents: dict[str, Callable[[], bytes]] = {
        "/openapi.json": cache(lambda: openapi(listed)),
        "/asyncapi.json": cache(asyncapi),
        "/docs": cache(lambda: docs_page(openapi(listed), asyncapi())),
        "/docs/style.css": STYLE.encode,
    }
    for routes in (
        EventRoutes(deps),
        ListRoutes(deps),
        ShelfRoutes(deps),
        UserRoutes(deps),
        ItemRoutes(deps),
        SteeringRoutes(deps),
        LogRoutes(deps),
        *console_routes(deps),
        ModelRoutes(deps),
        TokenRoutes(deps),
        PushRoutes(deps),
        SiteRoutes(deps, documents),
    ):
        listed.extend(endpoints_of(routes))
    return listed


def create_app(deps: Deps) -> Flask:
    """Return the app of a bridge."""
    app = Flask("recstream.bridge", static_folder=None, template_folder=None)
    # Above the limits of the routes, whose messages are more specific.
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    app.config["TRAP_HTTP_EXCEPTIONS"] = False
    app.url_map.merge_slashes = False
    request_id.install(app)
    security.install(app, allowed_origins=deps.settings.allowed_origins, is_open=deps.auth.is_open)
    compression.install(app)
    problems.install(app)
    paths.install(app)
    for endpoint in endpoints(deps):
        add(app, endpoint, auth=deps.auth, limiter=deps.limiter)

    @app.after_request
    def count(response: Response) -> Response:
        rule = request.url_rule.rule if request.url_rule is not None else "none"
        HTTP_REQUESTS.labels(rule, str(response.status_code)).inc()
        return response

    return app
