"""What the routes work with, all passed in: no route reads a clock, a setting or the environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from recstream.bridge.auth import Authenticator
from recstream.bridge.follower import Follower
from recstream.bridge.push import Live
from recstream.bridge.serving import Serving
from recstream.bridge.views import Items, Past, RecentIds, Status, Views
from recstream.control import SteeringFeed
from recstream.log import EventLog
from recstream.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Deps:
    """Everything a bridge is made of.

    Attributes
    ----------
    now : callable
        The edge's time.
    new_id : callable
        Makes the id of an event that came without one.
    web : Path
        Folder of the page.
    """

    settings: Settings
    log: EventLog
    auth: Authenticator
    views: Views
    serving: Serving
    steering: SteeringFeed
    status: Status
    items: Items
    past: Past
    live: Live
    follower: Follower
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    web: Path
    recent: RecentIds = field(default_factory=RecentIds)
