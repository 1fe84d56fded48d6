"""`recstream simulate`: send events of synthetic customers, by REST or straight to the log."""

import time

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from recstream.cli.options import Number, is_terminal, json_option, say, settings_options
from recstream.process import url_of
from recstream.settings import Settings
from recstream.simulate import RestSink, SendCounts, Sink, direct_sink, send_traffic


@click.command()
@settings_options("host", "port")
@click.option("--rate", type=Number(min=0.01, max=100_000), default=50.0, help="Events a second.")
@click.option("--users", type=click.IntRange(1, 1_000_000), default=200, help="Customers.")
@click.option("--items", type=click.IntRange(12, 100_000), default=480, help="Products.")
@click.option("--events", type=click.IntRange(min=1), help="Stop after this many events.")
@click.option("--url", help="Bridge to post to.  [default: from the settings]")
@click.option("--token", help="Service token, if the bridge requires one.")
@click.option("--direct", is_flag=True, help="Append straight to the log, without a bridge.")
@click.option("--shop-seed", type=click.IntRange(min=0), default=0, help="Seed of the shop.")
@json_option
def simulate(
    settings: Settings,
    rate: float,
    users: int,
    items: int,
    events: int | None,
    url: str | None,
    token: str | None,
    direct: bool,
    shop_seed: int,
    as_json: bool,
) -> None:
    """Send events of synthetic customers, with latent tastes and changing trends.

    With the default --items and --shop-seed the products are those of the demo shop that
    `recstream up` puts into an empty log. Runs until Ctrl-C, or until --events are sent.

    \b
    Examples:
      recstream simulate --rate 50 --users 200
      recstream simulate --events 10000 --rate 100000 --direct
    """
    sink: Sink
    if direct:
        sink = direct_sink(settings)
    else:
        sink = RestSink(url or url_of(settings.host, settings.port), token)
    progress = _Progress(events) if is_terminal() and not as_json else None
    try:
        report = send_traffic(
            sink,
            rate=rate,
            n_users=users,
            n_items=items,
            shop_seed=shop_seed,
            # Each start sends other visits. Nothing else here depends on the clock.
            seed=time.time_ns(),
            n_events=events,
            on_progress=progress,
        )
    finally:
        sink.close()
        if progress is not None:
            progress.close()
    say(
        report,
        f"{report.accepted:,} events accepted, {report.rejected:,} rejected in "
        f"{report.seconds:.1f} s ({report.accepted / max(report.seconds, 1e-9):,.0f}/s)",
        as_json=as_json,
    )


class _Progress:
    """A progress bar with the rate, on standard error."""

    def __init__(self, total: int | None) -> None:
        self._progress = Progress(
            TextColumn("events"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("events", total=total, rate="")
        self._progress.start()

    def __call__(self, report: SendCounts) -> None:
        rate = f"{report.accepted / max(report.seconds, 1e-9):,.0f}/s"
        done = report.accepted + report.rejected
        self._progress.update(self._task, completed=done, rate=rate)

    def close(self) -> None:
        self._progress.stop()
