"""Model generations, training runs and the state of the pipeline over REST."""

from __future__ import annotations

from typing import Annotated

import msgspec

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.routing import route
from recstream.bridge.push import Pipeline
from recstream.control import submit
from recstream.core.events import timestamp_ms
from recstream.core.records import GenerationAnnounced, TrainingRequested
from recstream.errors import NotFound


class TrainingBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reason for a training run; stored in the log."""

    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class TrainingAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a training run, stored durably in the log; the result is the next generation."""

    id: str
    offset: int
    generation: int | None


class ModelsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The newest generations announced, newest first, and the one that is active in this bridge."""

    serving: int | None
    delta: int
    models: tuple[GenerationAnnounced, ...]


class ModelRoutes:
    """Models, training, pipeline."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    @route(
        "POST",
        "/v1/training-runs",
        tag="models",
        status=202,
        problems={503: "The log can't be reached"},
    )
    def post_training_run(self, body: TrainingBody) -> TrainingAccepted:
        """Request a training run."""
        requested = TrainingRequested(
            id=self._deps.new_id(),
            requested_ts=timestamp_ms(self._deps.now()),
            reason=body.reason,
        )
        offset = submit(self._deps.log, requested)
        current = self._deps.recommender.current
        return TrainingAccepted(
            id=requested.id,
            offset=offset,
            generation=None if current is None else current[0],
        )

    @route("GET", "/v1/models", tag="models")
    def list_models(self) -> ModelsAnswer:
        """List announced generations, newest first."""
        current = self._deps.recommender.current
        return ModelsAnswer(
            serving=None if current is None else current[0],
            delta=0 if current is None else current[1],
            models=tuple(self._deps.views.generations()),
        )

    @route("GET", "/v1/models/<generation>", tag="models", problems={404: "No such generation"})
    def get_model(self, generation: str) -> GenerationAnnounced:
        """Return a generation."""
        if not (generation.isascii() and generation.isdecimal()):
            raise HttpProblem(400, f"expected a generation's number, got {generation!r}")
        announced = self._deps.views.generation(int(generation))
        if announced is None:
            raise NotFound(f"no generation {generation} was announced")
        return announced

    @route("GET", "/v1/pipeline", tag="models", access="public")
    def get_pipeline(self) -> Pipeline:
        """Return the state of worker, trainer and bridge."""
        return self._deps.status.pipeline()
