"""`recstream import`: files become events and products in the log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from recstream.cli.options import is_terminal, json_option, say, settings_options
from recstream.errors import InvalidInput
from recstream.settings import Settings

if TYPE_CHECKING:
    from recstream.importers.events import ImportReport
    from recstream.importers.mapping import ColumnMapping
    from recstream.importers.source import Source

PATH = click.Path(path_type=Path, exists=True)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

strict_option = click.option("--strict", is_flag=True, help="Stop at the first bad line.")


@click.group("import", short_help="Bring files of events or products into the log.")
def import_() -> None:
    """Bring files of events or products into the log.

    An import that was broken off goes on where it was; a finished one adds nothing when it is run
    again. Lines that can't be read are counted, and the first are shown. Files may be gzipped.
    """


@import_.command(short_help="MovieLens ratings, with titles and genres.")
@click.argument("path", type=PATH)
@strict_option
@settings_options()
@json_option
def movielens(settings: Settings, path: Path, strict: bool, as_json: bool) -> None:
    """MovieLens: PATH is a folder with ratings and titles, or the file of ratings.

    Reads ratings.csv, ratings.dat, ratings.tsv and u.data, with movies.csv, movies.dat or u.item
    beside it. A rating from 0.5 to 5 is an event of type rate with that value.

    \b
    Examples:
      recstream import movielens ml-latest-small
      recstream import movielens ml-100k/u.data
    """
    from recstream.importers.items import import_items
    from recstream.importers.movielens import find_files, ratings_mapping, read_titles

    files = find_files(path)
    mapping, header = ratings_mapping(files.ratings)
    with _Import(settings, files.ratings, as_json=as_json) as run:
        report = run.events(mapping, header=header, strict=strict)
        if files.titles is not None:
            products = list(read_titles(files.titles))
            report.products = import_items(run.log, products, _digest_of(products))
        run.finish(report)


@import_.command(short_help="Amazon reviews.")
@click.argument("reviews", type=FILE)
@strict_option
@settings_options()
@json_option
def amazon(settings: Settings, reviews: Path, strict: bool, as_json: bool) -> None:
    """Amazon: REVIEWS holds reviews as JSON lines, in the form of 2014, 2018 or 2023.

    A review's stars are an event of type rate with that value.

    \b
    Examples:
      recstream import amazon reviews_Musical_Instruments_5.json.gz
      recstream import amazon Appliances.jsonl.gz
    """
    from recstream.importers.amazon import reviews_mapping
    from recstream.importers.source import Source

    mapping = reviews_mapping(Source(reviews))
    with _Import(settings, reviews, as_json=as_json) as run:
        report = run.events(mapping, header=False, strict=strict)
        run.finish(report)


@import_.command(short_help="Products: Amazon's metadata, or any CSV, TSV or JSON lines.")
@click.argument("file", type=FILE)
@click.option(
    "--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Where a field is found."
)
@click.option("--delimiter", help="Of columns.  [default: found out]")
@click.option("--encoding", default="utf-8", show_default=True)
@settings_options()
@json_option
def products(
    settings: Settings,
    file: Path,
    columns: tuple[str, ...],
    delimiter: str | None,
    encoding: str,
    as_json: bool,
) -> None:
    """Products: FILE holds Amazon's metadata (2014, 2018, 2023), or rows with a header.

    The fields are item, title, category, brand, price, description and image; columns with usual
    names are found. Entities, tags and prices in words are mended; rows without id or title, and
    ids that were there before, are left out, and the answer says how many and why.

    \b
    Examples:
      recstream import products meta_Musical_Instruments.json.gz
      recstream import products products.csv --column item=article_no --column title=label
    """
    from recstream.importers.products import run

    with _Import(settings, file, as_json=as_json) as opened:
        report = run(
            opened.log,
            file,
            columns=dict(_pair(text) for text in columns),
            delimiter=delimiter,
            encoding=encoding,
            on_progress=opened.on_progress,
        )
        opened.close_bars()
    lines = [f"{report.imported:,} of {report.rows:,} rows put into the catalogue"]
    if report.already:
        lines.append(f"{report.already:,} were there already")
    lines += [f"{count:,} left out: {reason}" for reason, count in report.dropped.items()]
    lines += [f"  line {each.line}: {each.reason}: {each.shown}" for each in report.examples]
    lines += [f"{count:,} mended: {what}" for what, count in report.mended.items()]
    say(report, "\n".join(lines), as_json=as_json)


@import_.command(short_help="Any CSV, TSV or JSON lines, by naming the columns.")
@click.argument("file", type=FILE)
@click.option("--user", required=True, metavar="COLUMN", help="Who.")
@click.option("--item", required=True, metavar="COLUMN", help="What; 2+: column 2 and all after.")
@click.option("--time", "time_", metavar="COLUMN", default="", help="When; else --at.")
@click.option("--value", metavar="COLUMN", default="", help="The rating, or how many.")
@click.option(
    "--type",
    "type_",
    metavar="TYPE|COLUMN",
    default="view",
    show_default=True,
    help="The type of every row, or the column that has it.",
)
@click.option(
    "--types", multiple=True, metavar="TEXT=TYPE", help="What a text in the type column means."
)
@click.option("--rating-max", type=float, default=5.0, show_default=True, help="The best rating.")
@click.option("--time-format", metavar="FORMAT", default="", help="Like %d.%m.%Y; in UTC.")
@click.option("--at", type=click.DateTime(), help="Time of rows that have none.  [default: file's]")
@click.option("--split", default="", help="Separates several items in the item column.")
@click.option("--once", is_flag=True, help="Count a user's item once.")
@click.option("--user-prefix", default="", help="Put before each user id.")
@click.option("--item-prefix", default="", help="Put before each item id.")
@click.option("--delimiter", help="Of columns.  [default: found out]")
@click.option("--header/--no-header", default=True, show_default=True, help="First line: names.")
@click.option("--encoding", default="utf-8", show_default=True)
@strict_option
@settings_options()
@json_option
def events(settings: Settings, file: Path, as_json: bool, **how: Any) -> None:
    """Any CSV, TSV or JSON lines: name the columns by header, key (a.b) or number from 1.

    Times are numbers since 1970 (seconds, milliseconds or microseconds) or ISO 8601, UTC where
    they name no zone. A value multiplies the weight of an event; for ratings, --rating-max says
    which is the best, and all are scaled so that it becomes 5 (half of it is neutral).

    \b
    Examples:
      recstream import events ratings.tsv --user 1 --item 2 --value 3 --time 4 --type rate --no-header
      recstream import events log.jsonl --user user.id --item sku --time at --type kind --types addtocart=cart
    """
    from recstream.importers.mapping import ColumnMapping

    mapping = ColumnMapping(
        user=how["user"],
        item=how["item"],
        time=how["time_"],
        value=how["value"],
        type=how["type_"],
        types=dict(_pair(text) for text in how["types"]),
        rating_max=how["rating_max"],
        time_format=how["time_format"],
        split=how["split"],
        user_prefix=how["user_prefix"],
        item_prefix=how["item_prefix"],
    )
    with _Import(settings, file, as_json=as_json) as run:
        report = run.events(
            mapping,
            header=how["header"],
            strict=how["strict"],
            once=how["once"],
            delimiter=how["delimiter"],
            encoding=how["encoding"],
            at_ms=None if how["at"] is None else _milliseconds(how["at"]),
        )
        run.finish(report)


def _pair(text: str) -> tuple[str, Any]:
    left, found, right = text.partition("=")
    if not found:
        raise InvalidInput(f"--types needs TEXT=TYPE, got {text!r}")
    return left, right


def _milliseconds(moment: Any) -> int:
    from datetime import UTC

    from recstream.core.events import timestamp_ms

    return timestamp_ms(moment.replace(tzinfo=UTC))


def _digest_of(products: list[Any]) -> str:
    from hashlib import blake2b

    import msgspec

    return blake2b(msgspec.json.encode(products), digest_size=12).hexdigest()


class _Import:
    """One import: the log, a progress bar where somebody watches, and the answer."""

    def __init__(self, settings: Settings, file: Path, *, as_json: bool) -> None:
        self._settings = settings
        self._file = file
        self._as_json = as_json
        self._bars = _Bars(file) if is_terminal() and not as_json else None

    def __enter__(self) -> Self:
        from recstream.log import open_log, topic_specs
        from recstream.runtime.doctor import prepare_data_dir

        prepare_data_dir(self._settings)
        self.log = open_log(self._settings.broker_url, self._settings)
        self.log.create_topics(topic_specs(self._settings.partitions))
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.close()
        self.log.close()

    def events(
        self,
        mapping: ColumnMapping,
        *,
        header: bool,
        strict: bool,
        once: bool = False,
        delimiter: str | None = None,
        encoding: str = "utf-8",
        at_ms: int | None = None,
    ) -> ImportReport:
        """Import the file's events."""
        from recstream.importers.events import import_events

        source = self._source(header=header, delimiter=delimiter, encoding=encoding)
        if at_ms is None:
            at_ms = int(self._file.stat().st_mtime * 1000)
        on_written = None if self._bars is None else self._bars.written
        return import_events(
            self.log,
            source,
            mapping,
            at_ms=at_ms,
            once=once,
            strict=strict,
            on_written=on_written,
        )

    def _source(self, *, header: bool, delimiter: str | None, encoding: str) -> Source:
        from recstream.importers.source import Source

        return Source(
            self._file,
            header=header,
            delimiter=delimiter,
            encoding=encoding,
            on_progress=self.on_progress,
        )

    @property
    def on_progress(self) -> Callable[[int], None] | None:
        """What shows how much of the file was read, where somebody watches."""
        return None if self._bars is None else self._bars.read

    def close_bars(self) -> None:
        """Take the bars away, for what is said next."""
        if self._bars is not None:
            self._bars.close()

    def finish(self, report: ImportReport) -> None:
        """Say what was done."""
        if self._bars is not None:
            self._bars.close()
        rate = report.imported / max(report.seconds, 1e-9)
        lines = [
            f"{report.imported:,} events imported in {report.seconds:.2f} s ({rate:,.0f}/s)",
            f"the file names {report.users:,} users and {report.items:,} items",
        ]
        if report.already:
            lines.append(f"{report.already:,} were there already")
        if report.products:
            lines.append(f"{report.products:,} products put into the catalogue")
        if report.rejected:
            lines.append(f"{report.rejected:,} lines left out; the first:")
            lines += [f"  line {problem.line}: {problem.reason}" for problem in report.problems]
        say(report, "\n".join(lines), as_json=self._as_json)


class _Bars:
    """Progress on standard error: reading, then writing, with rates."""

    def __init__(self, file: Path) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(show_speed=True),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._reading = self._progress.add_task(f"reading {file.name}", total=file.stat().st_size)
        self._writing = self._progress.add_task("appending events", total=None, visible=False)
        self._progress.start()

    def read(self, n_bytes: int) -> None:
        """Show how much of the file has been read."""
        self._progress.update(self._reading, completed=n_bytes)

    def written(self, done: int, total: int) -> None:
        """Show how many events have been appended."""
        self._progress.update(self._writing, completed=done, total=total, visible=True)

    def close(self) -> None:
        """Take the bars away."""
        self._progress.stop()
