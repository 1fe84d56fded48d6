"""Open the log and the time-travel service for commands."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from recstream.cli.options import is_terminal, json_option, say, settings_options
from recstream.errors import NotFound
from recstream.log import EventLog, embedded_file, open_log
from recstream.settings import Settings

if TYPE_CHECKING:
    from recstream.time_travel import TimeTravel


Result = tuple[Any, str]
"""Answer of a command, and the same as text."""


def open_existing(settings: Settings) -> EventLog:
    """Open the log; an embedded log that does not exist is not created.

    Raises
    ------
    NotFound
        There is no log.
    """
    path = embedded_file(settings.broker_url)
    if path is not None and not path.exists():
        raise NotFound(
            f"there is no log at {path}; start one with `recstream up`, or name the data "
            "directory with --data-dir"
        )
    return open_log(settings.broker_url, settings)


def on_log(function: Callable[..., Result]) -> Callable[..., Any]:
    """Add the options of settings and ``--json``; call a command with the open log, and print its result.

    The command gets ``event_log``, and ``settings`` if it takes them. It returns its answer, and the same as
    text.
    """

    @settings_options()
    @json_option
    @wraps(function)
    def command(settings: Settings, as_json: bool, **arguments: Any) -> None:
        if "settings" in function.__annotations__:
            arguments["settings"] = settings
        with contextlib.closing(open_existing(settings)) as event_log:
            answer, text = function(event_log=event_log, **arguments)
        say(answer, text, as_json=as_json)

    return command


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
