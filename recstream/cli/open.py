"""Open the log and the time-travel service for commands."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from recstream.cli.options import is_terminal
from recstream.errors import NotFound
from recstream.log import EventLog, open_log
from recstream.settings import Settings

if TYPE_CHECKING:
    from recstream.time_travel import TimeTravel


def open_existing(settings: Settings) -> EventLog:
    """Open the log; an embedded log that does not exist is not created.

    Raises
    ------
    NotFound
        There is no log.
    """
    scheme, _, rest = settings.broker_url.partition("://")
    path = Path(rest.partition("?")[0])
    if scheme == "embedded" and not path.exists():
        raise NotFound(
            f"there is no log at {path}; start one with `recstream up`, or name the data "
            "directory with --data-dir"
        )
    return open_log(settings.broker_url, settings)


@contextlib.contextmanager
def time_travel(settings: Settings) -> Iterator[TimeTravel]:
    """Open the time-travel service; the first use reads the whole log, with a progress line."""
    from recstream.checkpoints import open_checkpoints
    from recstream.models import open_store
    from recstream.time_travel import Snapshots, TimeTravel

    with contextlib.closing(open_existing(settings)) as log, _counting() as progress:
        snapshots = Snapshots(
            log,
            settings.path("time-travel"),
            progress=progress,
            checkpoints=open_checkpoints(log, settings),
        )
        with contextlib.closing(snapshots):
            yield TimeTravel(log, open_store(settings.models_url), snapshots)


@contextlib.contextmanager
def _counting() -> Iterator[Callable[[int], None]]:
    if not is_terminal():
        yield lambda _: None
        return

    bars = Progress(
        SpinnerColumn(),
        TextColumn("reading the log: {task.completed:,.0f} events"),
        console=Console(stderr=True),
        transient=True,
    )
    with bars:
        task = bars.add_task("events", total=None)
        yield lambda n_events: bars.advance(task, n_events)
