"""`recstream batch`: everybody's lists, or every item's similar items, as files."""

from functools import partial
from pathlib import Path
from typing import Literal

import click

from recstream.checkpoints import open_checkpoints
from recstream.cli.open import Result, on_log
from recstream.cli.options import is_terminal
from recstream.core.events import from_timestamp_ms
from recstream.log import EventLog
from recstream.models import open_store
from recstream.replay import Format, choose_basis, write_batch
from recstream.settings import Settings
from recstream.time_travel import Moment, moment


@click.command()
@click.argument("what", type=click.Choice(["lists", "similar"]))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of files.",
)
@click.option("-n", type=click.IntRange(1, 1000), default=20, help="Items a list.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "jsonl"]),
    default="parquet",
    help="Of the files.",
)
@click.option("--as-of", metavar="WHEN", help="Offset (of every partition) or time with a zone.")
@on_log
def batch(
    event_log: EventLog,
    settings: Settings,
    what: Literal["lists", "similar"],
    out: Path,
    n: int,
    form: Format,
    as_of: str | None,
) -> Result:
    """Write everybody's lists, or the similar items of every item, as of now or of a moment.

    Each row of a Parquet file is an item of a list: key (user or item), rank, item, score. Each
    line of a JSONL file is a list. basis.json names what the files are derived from. Run it again
    with the same folder to continue after an interruption.

    \b
    Examples:
      recstream batch lists --out lists
      recstream batch similar --out similar -n 10 --format jsonl
      recstream batch lists --out then --as-of 2026-11-01T00:00:00Z
    """
    when = Moment() if as_of is None else moment(as_of)

    def report(done: int, of: int) -> None:
        if is_terminal():
            click.echo(f"\r{done:,} of {of:,} rows of this part of the log", nl=False, err=True)

    before = {*out.iterdir()} if out.is_dir() else set()
    chosen = write_batch(
        event_log,
        open_store(settings.models_url),
        open_checkpoints(event_log, settings),
        out,
        partial(choose_basis, event_log, when=when, what=what, form=form, n=n),
        report,
        is_now=when == Moment(),
    )
    if is_terminal():
        click.echo(err=True)
    n_new = len({*out.iterdir()} - before)
    at = from_timestamp_ms(chosen.now).isoformat()
    done = f"{n_new} files written" if n_new else "nothing was left to write"
    origin = f"generation {chosen.generation} delta {chosen.delta} as of {at}"
    return chosen, f"{chosen.what} of {origin} in {out}: {done}"
