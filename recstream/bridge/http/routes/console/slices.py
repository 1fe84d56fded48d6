"""Slices: export a part of the log as a file, and look into one."""

from pathlib import Path
from typing import Annotated

import msgspec
from flask import Response, request

from recstream.analysis import Slice, SliceManifest, export, parse_ranges
from recstream.bridge.http.bodies import json_response
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.routes.console.lists import At
from recstream.bridge.http.routes.console.search import (
    RecordsAnswer,
    SearchQuery,
    TopicsAnswer,
    search_records,
    summary,
)
from recstream.bridge.http.routing import route
from recstream.core.events import MAX_ID_CHARACTERS
from recstream.errors import InvalidInput
from recstream.log import CONTROL, INTERACTIONS, MODELS, RECOMMENDATIONS

MAX_OFFSETS = 200_000
ZIP = "application/zip"
TOPICS = (CONTROL, INTERACTIONS, MODELS, RECOMMENDATIONS)
MAX_UPLOAD_BYTES = 1 << 28
_CHUNK_BYTES = 1 << 20
_NO_SLICE = {404: "No such slice", 400: "It is no slice, or damaged"}


class ExportBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the log: from a moment to before another, all partitions or one, all users or one."""

    from_: At = msgspec.field(name="from")
    to: At
    partition: int | None = None
    user: Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARACTERS)] = ""


class SliceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A slice in the folder ``slices`` of the data directory."""

    name: str
    n_bytes: int
    written_ts: int


class SliceAnswer(SliceSummary, frozen=True, kw_only=True):
    """An exported slice, and what is in it."""

    manifest: SliceManifest


class SlicesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All slices, the newest first."""

    slices: tuple[SliceSummary, ...]


class SliceRoutes:
    """Slices."""

    tag = "log"

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._slices = deps.slices

    @route(
        "POST",
        "/v1/slices",
        status=201,
        max_in_flight=1,
        problems={
            404: "A generation of the lists is not on the log",
            503: "Another export runs; retry after Retry-After",
        },
    )
    def post_slice(self, body: ExportBody) -> SliceAnswer:
        """Export a part of the log with all that its lists are derived from, as a file."""
        deps = self._deps
        ranges = parse_ranges(deps.log, body.from_, body.to)
        if body.partition is not None:
            if body.partition not in ranges:
                raise InvalidInput(
                    f"expected one of {len(ranges)} partitions, got {body.partition}"
                )
            ranges = {body.partition: ranges[body.partition]}
        n_offsets = sum(stop - start for start, stop in ranges.values())
        if not 0 < n_offsets <= MAX_OFFSETS:
            raise InvalidInput(
                f"a slice here may have 1 to {MAX_OFFSETS:,} offsets of events, got {n_offsets:,}; "
                "`recstream export` writes longer ones"
            )
        manifests: list[SliceManifest] = []

        def write(path: Path) -> None:
            manifest = deps.time_travel.ask(
                lambda travel: export(
                    deps.log, deps.models, travel.snapshots, ranges, path, user=body.user or None
                )
            )
            manifests.append(manifest)

        path = self._slices.write(f"slice-{deps.new_id()}.zip", write)
        return SliceAnswer(**msgspec.structs.asdict(_summary(path)), manifest=manifests[0])

    @route(
        "PUT",
        "/v1/slices/<name>",
        status=201,
        max_in_flight=1,
        consumes={ZIP: bytes},
        problems={400: "It is no slice, or damaged", 413: "The file is too large"},
    )
    def put_slice(self, name: str) -> SliceAnswer:
        """Upload a slice, to look into it; it replaces one of the same name."""
        if request.mimetype != ZIP:
            raise HttpProblem(415, f"expected a body of {ZIP}, got {request.mimetype!r}")
        request.max_content_length = MAX_UPLOAD_BYTES
        manifests: list[SliceManifest] = []

        def receive(path: Path) -> None:
            with path.open("wb") as file:
                while chunk := request.stream.read(_CHUNK_BYTES):
                    file.write(chunk)
            manifests.append(Slice(path, name).manifest)

        path = self._slices.write(name, receive)
        return SliceAnswer(**msgspec.structs.asdict(_summary(path)), manifest=manifests[0])

    @route("GET", "/v1/slices")
    def list_slices(self) -> SlicesAnswer:
        """List the exported slices, and those copied into the folder, newest first."""
        return SlicesAnswer(slices=tuple(_summary(path) for path in self._slices.list()))

    @route("GET", "/v1/slices/<name>", produces=ZIP, returns=bytes, problems=_NO_SLICE)
    def get_slice(self, name: str) -> Response:
        """Download a slice; `recstream replay FILE --verify` verifies it anywhere."""
        response = Response(self._slices.existing(name).read_bytes(), content_type=ZIP)
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    @route("DELETE", "/v1/slices/<name>", status=204, produces="", problems=_NO_SLICE)
    def delete_slice(self, name: str) -> Response:
        """Delete a slice."""
        self._slices.delete(name)
        response = json_response(None, 204)
        response.set_data(b"")
        return response

    @route("GET", "/v1/slices/<name>/topics", max_in_flight=4, problems=_NO_SLICE)
    def list_slice_topics(self, name: str) -> TopicsAnswer:
        """List the topics of a slice with their offsets and times."""
        opened = self._slices.open(name)
        topics = tuple(summary(opened, topic) for topic in TOPICS)
        return TopicsAnswer(epoch=opened.epoch, topics=topics)

    @route("GET", "/v1/slices/<name>/topics/<topic>/records", max_in_flight=4, problems=_NO_SLICE)
    def search_slice(self, name: str, topic: str, query: SearchQuery) -> RecordsAnswer:
        """Search the records of a slice's topic, as `GET /v1/log/{topic}/records` does the log's."""
        if topic not in TOPICS:
            raise InvalidInput(f"a slice has the topics {', '.join(TOPICS)}, got {topic!r}")
        return search_records(self._slices.open(name), topic, query)


def _summary(path: Path) -> SliceSummary:
    status = path.stat()
    return SliceSummary(
        name=path.name, n_bytes=status.st_size, written_ts=status.st_mtime_ns // 1_000_000
    )
