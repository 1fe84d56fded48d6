"""The page, health, metrics and the API documents."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from flask import Response, current_app, request
from werkzeug.exceptions import MethodNotAllowed

from recstream import metrics
from recstream.bridge.http.assets import PREFIX, Asset, Assets
from recstream.bridge.http.bodies import json_response
from recstream.bridge.http.compression import accepts_gzip
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.routing import route
from recstream.bridge.readiness import RoleHealth

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
PAGES = frozenset(
    {"pipeline", "log", "users", "items", "lists", "models", "steering", "dead-letters", "lab"}
)
"""First parts of the addresses of the console, as in ``web/app/pages.js``."""
FOREVER = "public, max-age=31536000, immutable"


class ReadyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects a role."""

    role: Annotated[
        Literal["", "worker", "trainer", "bridge"],
        msgspec.Meta(description="Only this role; default: all"),
    ] = ""


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether events are folded and lists served; ``waits_for`` contains the reasons if not."""

    status: str
    waits_for: tuple[str, ...] = ()
    roles: dict[str, RoleHealth] = {}
    generation: int | None = None


_Handler = Callable[..., Response]


def _public(
    rule: str, produces: str = "application/json", **more: Any
) -> Callable[[_Handler], _Handler]:
    return route("GET", rule, tag="site", access="public", produces=produces, **more)


class SiteRoutes:
    """All routes outside ``/v1``.

    Parameters
    ----------
    documents : mapping of str to callable
        Content of ``/openapi.json``, ``/asyncapi.json``, ``/docs`` and its style sheet.
    """

    def __init__(self, deps: Deps, documents: dict[str, Callable[[], bytes]]) -> None:
        self._deps = deps
        self._documents = documents
        self._assets = Assets(deps.web)

    @_public("/health/live", returns=Health)
    def health_live(self) -> Response:
        """Answer as long as the process runs."""
        return json_response(Health(status="live"))

    @_public(
        "/health/ready", returns=Health, also={503: "Not ready; `waits_for` names the reasons"}
    )
    def health_ready(self, query: ReadyQuery) -> Response:
        """Answer 200 if events are folded and requests can be served."""
        roles = {
            str(name): role
            for name, role in self._deps.readiness.roles().items()
            if query.role in {"", name}
        }
        waits_for = tuple(reason for role in roles.values() for reason in role.waits_for)
        current = self._deps.recommender.current
        health = Health(
            status="waiting" if waits_for else "ready",
            waits_for=waits_for,
            roles=roles,
            generation=None if current is None else current[0],
        )
        return json_response(health, 503 if waits_for else 200)

    @_public("/metrics", "text/plain", returns=str)
    def metrics(self) -> Response:
        """Return Prometheus metrics."""
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(metrics.exposition(), content_type=kind)

    @_public("/openapi.json", returns=dict[str, Any])
    def openapi(self) -> Response:
        """Return the OpenAPI description."""
        return self._document()

    @_public("/asyncapi.json", returns=dict[str, Any])
    def asyncapi(self) -> Response:
        """Return the AsyncAPI description of the WebSocket's messages."""
        return self._document()

    @_public("/docs", "text/html", returns=str)
    def docs(self) -> Response:
        """Return both descriptions as a web page."""
        return self._document()

    @_public("/docs/style.css", "text/css", returns=str)
    def docs_style(self) -> Response:
        """Return the style sheet of the documents."""
        return self._document()

    def _document(self) -> Response:
        response = Response(self._documents[request.path]())
        suffix = request.path.rpartition(".")[2] if "." in request.path else "html"
        response.content_type = MEDIA_TYPES["." + suffix]
        return _cached(response)

    @_public("/", "text/html", returns=str)
    def page(self) -> Response:
        """Return the document of the page; the script shows what its address names."""
        response = _packed(self._assets.shell(), ".html")
        return _cached(response)

    @_public("/client/recstream.js", "text/javascript", returns=str)
    def client(self) -> Response:
        """Return the script that shows lists in other shops' pages."""
        response = _packed(self._assets.client(), ".js")
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return _cached(response)

    @_public(f"{PREFIX}/<digest>/<path:file>", "*/*", returns=str, problems={404: "No such file"})
    def asset(self, digest: str, file: str) -> Response:
        """Return a file of the page; its address changes with its content."""
        suffix = "." + file.rpartition(".")[2]
        found = self._assets.file(digest, file) if suffix in MEDIA_TYPES else None
        if found is None:
            raise HttpProblem(404, f"nothing is at {request.path}; load the page again")
        response = _packed(found, suffix)
        response.headers["Cache-Control"] = FOREVER
        return response

    @_public("/<path:address>", "text/html", returns=str, problems={404: "No such page"})
    def address(self, address: str) -> Response:
        """Return the document of the page for an address of the console."""
        if address.partition("/")[0] in PAGES:
            return self.page()
        _check_method()
        raise HttpProblem(404, f"nothing is at {request.path}; /openapi.json lists all paths")


def _packed(asset: Asset, suffix: str) -> Response:
    """Return a file of the page, compressed if the client accepts it."""
    is_small = accepts_gzip()
    response = Response(asset.gzipped if is_small else asset.body)
    response.content_type = MEDIA_TYPES[suffix]
    response.vary.add("Accept-Encoding")
    if is_small:
        response.headers["Content-Encoding"] = "gzip"
    return response


def _check_method() -> None:
    """Refuse GET where another route has other methods: this route matches every path."""
    methods = current_app.url_map.bind("").allowed_methods(request.path)
    if others := set(methods) - {"GET", "HEAD", "OPTIONS"}:
        raise MethodNotAllowed([*sorted(others), "OPTIONS"])


def _cached(response: Response) -> Response:
    """Let clients revalidate with the ETag instead of fetching again."""
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response
