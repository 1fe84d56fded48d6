"""Dependencies of the routes, all passed in: no route reads a clock, a setting or the environment."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from recstream.bridge.auth import Authenticator
from recstream.bridge.follower import Follower
from recstream.bridge.http.rate_limit import RateLimiter
from recstream.bridge.published import ListInputs
from recstream.bridge.push import ConnectionLoop, Hub
from recstream.bridge.readiness import Readiness
from recstream.bridge.recommender import Recommender
from recstream.bridge.shelves import ShelfMaker
from recstream.bridge.traffic_switch import TrafficSwitch
from recstream.bridge.views import (
    DedupWindow,
    Items,
    PastQueries,
    PipelineHistory,
    SliceFolder,
    Status,
    Views,
)
from recstream.control import SteeringFeed
from recstream.log import EventLog
from recstream.models import ReadableStore
from recstream.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Deps:
    """Everything that routes use.

    Attributes
    ----------
    new_id : callable
        Creates the id of an event that has none.
    """

    settings: Settings
    log: EventLog
    auth: Authenticator
    views: Views
    sources: ListInputs
    recommender: Recommender
    shelves: ShelfMaker
    steering: SteeringFeed
    status: Status
    history: PipelineHistory
    slices: SliceFolder
    traffic: TrafficSwitch
    models: ReadableStore
    items: Items
    time_travel: PastQueries
    connections: ConnectionLoop
    hub: Hub
    follower: Follower
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    web: Path
    limiter: RateLimiter
    readiness: Readiness
    dedup: DedupWindow = field(default_factory=DedupWindow)
