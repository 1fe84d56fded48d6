"""The page, health, metrics and the documents about the surface itself."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from flask import Response, request, send_from_directory
from werkzeug.security import safe_join

from recstream import metrics
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.routing import Endpoint, json_response
from recstream.errors import LogError
from recstream.log import INTERACTIONS

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether the bridge can do its work; ``waits_for`` says what is missing."""

    status: str
    waits_for: tuple[str, ...] = ()
    generation: int | None = None


class SiteRoutes:
    """Everything that is not ``/v1``.

    Parameters
    ----------
    documents : mapping of str to callable
        What ``/openapi.json``, ``/asyncapi.json``, ``/docs`` and its style sheet answer.
    """

    def __init__(self, deps: Deps, documents: dict[str, Callable[[], bytes]]) -> None:
        self._deps = deps
        self._documents = documents

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this module."""

        def public(
            rule: str, handler: Callable[..., Response], name: str, summary: str, produces: str
        ) -> Endpoint:
            return Endpoint(
                method="GET",
                rule=rule,
                handler=handler,
                name=name,
                summary=summary,
                tag="site",
                access="public",
                produces=produces,
                returns=Health if name.startswith("health") else str,
                problems={503: "Not ready; `waits_for` says for what"}
                if name == "health_ready"
                else {404: "No such file"}
                if name == "file"
                else {},
            )

        json, html = "application/json", "text/html"
        return [
            public("/health/live", self.live, "health_live", "The process answers", json),
            public("/health/ready", self.ready, "health_ready", "Requests can be served", json),
            public("/metrics", self.metrics, "metrics", "Prometheus metrics", "text/plain"),
            public("/openapi.json", self.document, "openapi", "This description", json),
            public("/asyncapi.json", self.document, "asyncapi", "The WebSocket's messages", json),
            public("/docs", self.document, "docs", "Both descriptions, to read", html),
            public("/docs/style.css", self.document, "docs_style", "Their looks", "text/css"),
            public("/", self.page, "page", "The page", html),
            public("/<path:file>", self.file, "file", "A file of the page", "*/*"),
        ]

    def live(self) -> Response:
        """Answer as long as the process can."""
        return json_response(Health(status="live"))

    def ready(self) -> Response:
        """Answer 200 when the log can be read and the views have caught up."""
        waits_for = []
        if not self._deps.follower.caught_up.is_set():
            waits_for.append("views")
        try:
            self._deps.log.high_watermark(INTERACTIONS, 0)
        except LogError:
            waits_for.append("log")
        if self._deps.live.is_draining:
            waits_for.append("restart")
        current = self._deps.serving.current
        health = Health(
            status="waiting" if waits_for else "ready",
            waits_for=tuple(waits_for),
            generation=None if current is None else current[0],
        )
        return json_response(health, 503 if waits_for else 200)

    def metrics(self) -> Response:
        """Return the metrics in Prometheus' text format."""
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(metrics.exposition(), content_type=kind)

    def document(self) -> Response:
        """Return a document about the surface."""
        response = Response(self._documents[request.path]())
        suffix = request.path.rpartition(".")[2] if "." in request.path else "html"
        response.content_type = MEDIA_TYPES["." + suffix]
        return _cached(response)

    def page(self) -> Response:
        """Return the page."""
        return self.file("index.html")

    def file(self, file: str) -> Response:
        """Return a file of the page."""
        suffix = "." + file.rpartition(".")[2]
        path = safe_join(str(self._deps.web), file)
        is_hidden = any(part.startswith(".") for part in file.split("/"))
        if path is None or is_hidden or suffix not in MEDIA_TYPES:
            raise HttpProblem(404, f"nothing is at {request.path}; /openapi.json lists what is")
        response = send_from_directory(self._deps.web, file, mimetype="application/octet-stream")
        response.content_type = MEDIA_TYPES[suffix]
        response.headers["Cache-Control"] = "no-cache"
        return response


def _cached(response: Response) -> Response:
    """Let clients ask again with the ETag instead of fetching again."""
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response
