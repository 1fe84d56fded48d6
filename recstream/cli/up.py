"""`recstream up`: the whole system on this machine, in the foreground."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Self

import click

from recstream.cli.options import INTERRUPTED, as_flags, is_terminal, json_option, settings_options
from recstream.settings import Settings, has_desktop

if TYPE_CHECKING:
    from recstream.runtime.up import Step


NOW = {"live": "running", "generation": "running", "stopping": "stopping …"}
"""What a terminal's last line says after a step; others leave it as it is."""


@click.command(short_help="Run everything here: log, worker, trainer, bridge, a demo shop.")
@settings_options("host", "port")
@click.option(
    "--shop",
    type=click.Choice(["synthetic", "none"]),
    default="synthetic",
    show_default=True,
    help="What an empty log is filled with.",
)
@click.option(
    "--traffic",
    type=click.FloatRange(min=0.0, max=1000.0),
    default=1.0,
    show_default=True,
    help="Events a second of the made-up shop's customers; 0: none.",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True)
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

    With nothing configured, all state goes to ./recstream-data: delete it to start afresh. The
    roles are processes of their own; one that dies is started again. Ctrl-C stops all of them.

    \b
    Examples:
      recstream up
      recstream up --port 8080 --data-dir /tmp/shop --no-open
      recstream up --shop none          # then: recstream import …
      recstream up --workers 2 --broker kafka://localhost:9092
    """
    from recstream.runtime.up import Plan, run

    if open_page is None:
        open_page = has_desktop() and is_terminal() and not as_json

    def on_ready(url: str) -> None:
        if open_page:
            click.launch(url)

    plan = Plan(
        shop=shop,
        traffic=traffic,
        workers=workers,
        verbose=verbose,
        flags=tuple(as_flags(settings)),
    )
    with _teller(as_json=as_json) as tell:
        number = run(settings, plan, tell, on_ready)
    context.exit(INTERRUPTED if number == signal.SIGINT else 0)


class _teller:  # noqa: N801 - a context that gives a function
    """Gives the function that shows steps: JSON, a live line for a terminal, or plain lines."""

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

    def __call__(self, step: Step) -> None:
        if self._as_json:
            import msgspec

            click.echo(msgspec.json.encode(step).decode())
        elif self._status is None:
            if step.done:
                click.echo(f"{step.seconds:7.2f} s  {step.text}", err=True)
        elif step.done:
            from rich.text import Text

            seconds = Text(f"{step.seconds:7.2f} s  ", style="dim")
            style = "bold green" if step.event == "live" else ""
            self._console.print(seconds + Text(step.text, style=style))
            if step.event in NOW:
                self._status.update(NOW[step.event])
        else:
            self._status.update(step.text)
        sys.stdout.flush()
