"""Model generations, training runs and the state of the pipeline over REST."""

from typing import Annotated

import msgspec

from recstream.analysis import Overlap, compare_generations
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.routing import route
from recstream.bridge.push import Pipeline
from recstream.bridge.views import FRESHNESS_BOUNDS_MS, SAMPLE_S, LogSearch, PipelinePoint
from recstream.control import submit
from recstream.core.events import timestamp_ms
from recstream.core.history import History
from recstream.core.records import GenerationAnnounced, RollbackRequested, TrainingRequested
from recstream.errors import NotFound
from recstream.time_travel import Generations


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


class RollbackAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request to serve a generation again, stored durably in the log.

    A trainer answers with a new generation that copies it; scheduled trainings then pause until one is
    requested.
    """

    id: str
    offset: int
    generation: int


class OverlapQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The other generation, and how many lists to compare."""

    with_: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="with")
    users: Annotated[int, msgspec.Meta(ge=1, le=500, description="Recent users")] = 100
    n: Annotated[int, msgspec.Meta(ge=1, le=100, description="Items in each list")] = 20


class PointsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects the newest points."""

    since: Annotated[
        int, msgspec.Meta(ge=0, le=1 << 52, description="Points after this time, ms since 1970")
    ] = 0


class PipelineHistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The pipeline's last hour, oldest first, as long as this bridge runs.

    Attributes
    ----------
    interval_s : float
        Between two points.
    freshness_bounds_ms : tuple of int
        Upper bounds of the counts in each point's ``freshness``.
    """

    interval_s: float
    freshness_bounds_ms: tuple[int, ...]
    points: tuple[PipelinePoint, ...]


class ModelRoutes:
    """Models, training, pipeline."""

    tag = "models"

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    @route("POST", "/v1/training-runs", status=202, problems={503: "The log can't be reached"})
    def post_training_run(self, body: TrainingBody) -> TrainingAccepted:
        """Request a training run."""
        requested = TrainingRequested(
            id=self._deps.new_id(), requested_ts=timestamp_ms(self._deps.now()), reason=body.reason
        )
        offset = submit(self._deps.log, requested)
        current = self._deps.recommender.current
        return TrainingAccepted(
            id=requested.id, offset=offset, generation=None if current is None else current[0]
        )

    @route("GET", "/v1/models")
    def list_models(self) -> ModelsAnswer:
        """List announced generations, newest first."""
        current = self._deps.recommender.current
        return ModelsAnswer(
            serving=None if current is None else current[0],
            delta=0 if current is None else current[1],
            models=tuple(self._deps.views.models.generations()),
        )

    @route("GET", "/v1/models/<generation>", problems={404: "No such generation"})
    def get_model(self, generation: str) -> GenerationAnnounced:
        """Return a generation."""
        return self._announced(generation)

    def _announced(self, generation: str) -> GenerationAnnounced:
        if not (generation.isascii() and generation.isdecimal()):
            raise HttpProblem(400, f"expected a generation's number, got {generation!r}")
        announced = self._deps.views.models.generation(int(generation))
        if announced is None:
            raise NotFound(f"no generation {generation} was announced")
        return announced

    @route(
        "POST",
        "/v1/models/<generation>/rollback",
        status=202,
        problems={
            404: "No such generation",
            410: "Its artifact was pruned",
            503: "The log can't be reached",
        },
    )
    def post_rollback(self, generation: str, body: TrainingBody) -> RollbackAccepted:
        """Request that a generation serves again, as a new one that copies it."""
        announced = self._announced(generation)
        if announced.artifact not in self._deps.models.list():
            message = f"the artifact of generation {generation} was pruned; it can't serve again"
            raise HttpProblem(410, message, code="artifact-pruned")
        requested = RollbackRequested(
            id=self._deps.new_id(),
            generation=announced.generation,
            requested_ts=timestamp_ms(self._deps.now()),
            reason=body.reason,
        )
        offset = submit(self._deps.log, requested)
        return RollbackAccepted(id=requested.id, offset=offset, generation=announced.generation)

    @route(
        "GET",
        "/v1/models/<generation>/overlap",
        max_in_flight=1,
        problems={
            404: "No such generation, or its artifact was pruned",
            503: "Another comparison runs; retry after Retry-After",
        },
    )
    def get_overlap(self, generation: str, query: OverlapQuery) -> Overlap:
        """Compare the lists that two generations make for recent users now."""
        deps = self._deps
        announced = self._announced(generation)
        users = LogSearch(deps.log).recent_users(query.users)
        return compare_generations(
            Generations(deps.log, deps.models),
            announced.generation,
            query.with_,
            [deps.views.history(user) or History(user) for user in users],
            query.n,
            half_life_ms=deps.settings.half_life_ms,
            now_ms=timestamp_ms(deps.now()),
            steering=deps.steering.steering(),
        )

    @route("GET", "/v1/pipeline/history", access="public")
    def get_pipeline_history(self, query: PointsQuery) -> PipelineHistoryAnswer:
        """Return the pipeline's last hour: rates, lag, freshness, accuracy."""
        return PipelineHistoryAnswer(
            interval_s=SAMPLE_S,
            freshness_bounds_ms=FRESHNESS_BOUNDS_MS,
            points=self._deps.history.points(query.since),
        )

    @route("GET", "/v1/pipeline", access="public")
    def get_pipeline(self) -> Pipeline:
        """Return the state of worker, trainer and bridge."""
        return self._deps.readiness.pipeline()
