"""`recstream up`: run the whole system on this machine, in the foreground."""

import signal
import sys
import time
from typing import Self

import click

from recstream.cli.options import (
    INTERRUPTED,
    Number,
    as_flags,
    is_terminal,
    json_option,
    settings_options,
)
from recstream.runtime.up import Step, UpOptions, run
from recstream.settings import Settings, has_desktop

STATUS_AFTER = {"live": "running", "generation": "running", "stopping": "stopping …"}
"""The terminal's status line after an event; other events leave it as it is."""


@click.command()
@settings_options("host", "port")
@click.option(
    "--shop",
    type=click.Choice(["synthetic", "none"]),
    default="synthetic",
    help="What to put into an empty log.",
)
@click.option(
    "--traffic",
    type=Number(min=0.0, max=1000.0),
    default=1.0,
    help="Events a second of the demo shop's customers; 0: none.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, help="Worker processes.")
@click.option("--open/--no-open", "open_page", default=None, help="Open the page in a browser.")
@click.option("-v", "--verbose", is_flag=True, help="Show the roles' log lines here.")
@json_option
@click.pass_context
def up(
    context: click.Context,
    settings: Settings,
    shop: str,
    traffic: float,
    workers: int,
    open_page: bool | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Run everything on this machine: log, worker, trainer, bridge and a demo shop.

    By default all state is in ./recstream-data: delete it to start afresh. Each role is a process; one
    that dies is restarted. Ctrl-C stops all of them.

    \b
    Examples:
      recstream up
      recstream up --port 8080 --data-dir /tmp/shop --no-open
      recstream up --shop none          # then: recstream import …
      recstream up --workers 2 --broker kafka://localhost:9092
    """
    from recstream.bridge.auth import Authenticator

    Authenticator.from_settings(settings, now=time.monotonic)  # refuses a bridge that may not start
    if open_page is None:
        open_page = has_desktop() and is_terminal() and not as_json

    def on_ready(url: str) -> None:
        if open_page:
            click.launch(url)

    options = UpOptions(
        shop=shop,
        traffic=traffic,
        workers=workers,
        verbose=verbose,
        flags=tuple(as_flags(settings)),
    )
    with _Display(as_json=as_json) as display:
        number = run(settings, options, display, on_ready)
    context.exit(INTERRUPTED if number == signal.SIGINT else 0)


class _Display:
    """Shows progress: as JSON, as lines with a status line on a terminal, or as plain lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._status = None
        if not as_json and is_terminal():
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
            self._status = self._console.status("starting …")

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, progress: Step) -> None:
        if self._as_json:
            import msgspec

            click.echo(msgspec.json.encode(progress).decode())
        elif self._status is None:
            if progress.done:
                click.echo(f"{progress.seconds:7.2f} s  {progress.text}", err=True)
        elif progress.done:
            from rich.text import Text

            seconds = Text(f"{progress.seconds:7.2f} s  ", style="dim")
            style = "bold green" if progress.event == "live" else ""
            self._console.print(seconds + Text(progress.text, style=style))
            if progress.event in STATUS_AFTER:
                self._status.update(STATUS_AFTER[progress.event])
        else:
            self._status.update(progress.text)
        sys.stdout.flush()
