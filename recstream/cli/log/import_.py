"""`recstream import`: import files of events and products into the log."""

import threading
from datetime import UTC
from pathlib import Path
from typing import Any

import click
import msgspec

from recstream.cli.log.import_run import Import
from recstream.cli.options import json_option, say, settings_options, table
from recstream.core.events import timestamp_ms
from recstream.core.json_input import json_error
from recstream.core.records import Item
from recstream.errors import InvalidInput, InvalidJson
from recstream.importers import (
    ColumnMapping,
    Source,
    find_files,
    import_events,
    import_items,
    import_products,
    import_topic,
    prepare_source,
    preset,
    presets,
    ratings_mapping,
    read_titles,
    recognise,
    undo_events,
)
from recstream.process import stopped_by_signals
from recstream.settings import Settings, read_bounded

PATH = click.Path(path_type=Path, exists=True)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)

strict_option = click.option("--strict", is_flag=True, help="Stop at the first bad line.")
delimiter_option = click.option("--delimiter", help="Separates columns.  [default: guessed]")
encoding_option = click.option(
    "--encoding", help="Like latin-1 or utf-16.  [default: byte order mark, else utf-8]"
)


@click.group("import")
def import_() -> None:
    """Import files of events or products into the log.

    An interrupted import continues where it was; a finished one adds nothing when it is run again.
    Lines that can't be read are counted, and the first are shown. Files may be compressed by gzip,
    bzip2 or xz, or a zip archive of one file.
    """


@import_.command(short_help="MovieLens ratings, with titles and genres.")
@click.argument("path", type=PATH)
@strict_option
@settings_options()
@json_option
def movielens(settings: Settings, path: Path, strict: bool, as_json: bool) -> None:
    """Import MovieLens: PATH is its folder, or its file of ratings.

    Reads ratings.csv, ratings.dat, ratings.tsv and u.data, with movies.csv, movies.dat or u.item
    beside it. A rating from 0.5 to 5 is an event of type rate with that value.

    \b
    Examples:
      recstream import movielens ml-latest-small
      recstream import movielens ml-100k/u.data
    """
    files = find_files(path)
    mapping, header = ratings_mapping(files.ratings)
    with Import(settings, files.ratings, as_json=as_json) as run:
        source = Source(files.ratings, header=header, on_progress=run.on_progress)
        titles = [] if files.titles is None else list(read_titles(files.titles))
        products = [each for each in titles if isinstance(each, Item)]
        rejected = [each for each in titles if not isinstance(each, Item)]
        report = import_events(run.log, source, mapping, strict=strict, on_written=run.on_written)
        if products:
            report.products = import_items(run.log, products)
        if rejected:
            first = f"line {rejected[0].line}: {rejected[0].reason}"
            report.notes.append(f"{len(rejected):,} lines of {files.titles} rejected; {first}")
        run.finish(report)


@import_.command(short_help="Amazon reviews.")
@click.argument("reviews", type=FILE)
@strict_option
@settings_options()
@json_option
def amazon(settings: Settings, reviews: Path, strict: bool, as_json: bool) -> None:
    """Import Amazon reviews: REVIEWS has JSON lines in the form of 2014, 2018 or 2023.

    A review's stars are an event of type rate with that value.

    \b
    Examples:
      recstream import amazon reviews_Musical_Instruments_5.json.gz
      recstream import amazon Appliances.jsonl.gz
    """
    with Import(settings, reviews, as_json=as_json) as run:
        source = Source(reviews, on_progress=run.on_progress)
        mapping = preset(recognise(source, "amazon"))
        report = import_events(run.log, source, mapping, strict=strict, on_written=run.on_written)
        run.finish(report)


@import_.command(short_help="Products: Amazon's metadata, or any CSV, TSV or JSON lines.")
@click.argument("file", type=FILE)
@click.option(
    "--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="The column of a field."
)
@click.option("--withdraw-missing", is_flag=True, help="Make products that FILE lacks unavailable.")
@click.option("--yes", is_flag=True, help="Withdraw though most are missing, or rows have no id.")
@delimiter_option
@encoding_option
@settings_options()
@json_option
def products(
    settings: Settings,
    file: Path,
    columns: tuple[str, ...],
    delimiter: str | None,
    encoding: str | None,
    withdraw_missing: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Import products: FILE has Amazon's metadata (2014, 2018, 2023), or rows with a header.

    The fields are item, title, category, brand, price, description, image, available, from, until,
    vector and attributes.NAME; columns with usual names are found. Entities, tags and prices with a
    currency are corrected. Rows without id or title, and repeated ids, are rejected; the report
    says how many and why.

    Of a complete feed, --withdraw-missing makes the catalogue's other products unavailable, until a
    feed has them again. It stops where more than half would go, unless --yes is given.

    \b
    Examples:
      recstream import products meta_Musical_Instruments.json.gz
      recstream import products products.csv --column item=article_no --column attributes.size=Size
      recstream import products feed.xml --withdraw-missing
    """
    with Import(settings, file, as_json=as_json) as opened:
        report = import_products(
            opened.log,
            file,
            columns=dict(_pair(text, "--column FIELD=COLUMN") for text in columns),
            delimiter=delimiter,
            encoding=encoding,
            on_progress=opened.on_progress,
            withdraw_missing=withdraw_missing,
            is_confirmed=yes,
        )
    lines = [f"{report.imported:,} of {report.rows:,} rows put into the catalogue"]
    if report.already:
        lines.append(f"{report.already:,} had been imported before")
    if report.withdrawn:
        lines.append(f"{report.withdrawn:,} withdrawn: the file lacks them")
    lines += [f"{count:,} rejected: {reason}" for reason, count in report.dropped.items()]
    lines += [f"  line {each.line}: {each.reason}: {each.shown}" for each in report.examples]
    lines += [f"{count:,} corrected: {what}" for what, count in report.mended.items()]
    if report.unread:
        absent = f"no column for {', '.join(report.absent)}; " if report.absent else ""
        unread = ", ".join(name if name.isprintable() else ascii(name) for name in report.unread)
        lines.append(f"{absent}not read: {unread}; name columns with --column FIELD=COLUMN")
    say(report, "\n".join(lines), as_json=as_json)


@import_.command(short_help="Any table, JSON lines or Kafka topic, by naming columns or a preset.")
@click.argument("file", metavar="FILE|-|URL")
@click.option(
    "--mapping",
    "mapping_file",
    type=FILE,
    help="JSON file with what the other options name: user, item, time, type, types …",
)
@click.option("--follow", is_flag=True, help="Of a topic: wait for more until Ctrl-C.")
@click.option("--preset", metavar="NAME", help="Of a well-known source.  [default: by the columns]")
@click.option(
    "--query", metavar="SQL", help="Import its rows; FILE is the database's SQLAlchemy URL."
)
@click.option("--user", metavar="COLUMN", help="User id.")
@click.option("--item", metavar="COLUMN", help="Item; 2+: column 2 and all after; a[].b in JSON.")
@click.option("--time", metavar="COLUMN", help="Time; else --at.")
@click.option("--session", metavar="COLUMN", help="The visit or order; events share its value.")
@click.option("--order", metavar="COLUMN", help="A number that orders rows without a time.")
@click.option("--join", metavar="FILE", help="Add its columns to the rows; see --on.")
@click.option("--on", metavar="COLUMN", help="The column that both files have.")
@click.option("--value", metavar="COLUMN", help="The rating, or the quantity.")
@click.option(
    "--type", metavar="TYPE|COLUMN", help="The type of every row, or its column.  [default: view]"
)
@click.option(
    "--types", multiple=True, metavar="TEXT=TYPE", help="Meaning of a text in the type column."
)
@click.option("--others", type=click.Choice(["refuse", "skip"]), help="Rows of other types.")
@click.option("--rating-max", type=float, help="The best rating.  [default: 5]")
@click.option("--time-format", metavar="FORMAT", help="Like %d.%m.%Y; UTC unless it has %z.")
@click.option("--at", type=click.DateTime(), help="Time of rows without one.  [default: file's]")
@click.option("--split", help="Separates several items in the item column.")
@click.option("--once", is_flag=True, help="Count an item of a user once.")
@click.option("--undo", is_flag=True, help="Take back what the same command imported.")
@click.option("--user-prefix", help="Put before each user id.")
@click.option("--item-prefix", help="Put before each item id.")
@delimiter_option
@click.option(
    "--header/--no-header",
    default=None,
    help="Whether the first line names the columns.  [default: guessed]",
)
@encoding_option
@strict_option
@settings_options()
@json_option
def events(settings: Settings, file: str, query: str | None, as_json: bool, **how: Any) -> None:
    """Import CSV, TSV, JSON lines, Parquet, a query or a topic, by column names or a preset.

    Columns are named by header, key (a.b, a[].b, a|b) or number from 1. Without --user and --item
    the columns tell which preset fits; `recstream import presets` lists all. FILE is - for standard
    input, or kafka://host:port/topic: JSON records of another system, each imported once, also over
    restarts. Times are numbers since 1970 (seconds to nanoseconds, by their size), compact dates
    (20191001) or ISO 8601; UTC without a zone. A value multiplies the weight of an event. Ratings
    are scaled so that --rating-max becomes 5; half of it is neutral.

    \b
    Examples:
      recstream import events ratings.tsv --user 1 --item 2 --value 3 --time 4 --type rate \\
          --no-header
      recstream import events log.jsonl --user user.id --item sku --time at --type kind \\
          --types addtocart=cart
      recstream import events ga4-export.parquet
      recstream import events postgresql://localhost/shop \\
          --query "select user_id, sku, at from orders" \\
          --user user_id --item sku --time at --type purchase
      recstream import events kafka://localhost:9092/clicks --mapping clicks.json --follow
    """
    from recstream.importers.files.to_json_lines import query_rows, spooled

    if file.startswith("kafka://"):
        _topic(settings, file, how, as_json=as_json)
        return
    path = Path(file if query is None else "the query")
    if query is None and "://" in file:
        message = "the URL of a database needs --query; of other URLs only kafka://… can be read"
        raise click.BadParameter(message, param_hint="FILE")
    if query is None and file != "-":
        _check_file(path)
    rows = None if query is None else spooled(query_rows(file, query))
    with Import(settings, path, as_json=as_json) as run:
        source = Source(
            path,
            delimiter=how["delimiter"],
            header=how["header"] is not False,
            encoding=how["encoding"],
            on_progress=run.on_progress,
            content=rows,
        )
        mapping, found = _mapping(source, how)
        source, notes = prepare_source(source, mapping, header=how["header"])
        at_ms = how["at"] and timestamp_ms(how["at"].replace(tzinfo=UTC))
        shared = {"once": how["once"], "at_ms": at_ms, "on_written": run.on_written}
        if how["undo"]:
            run.finish(undo_events(run.log, source, mapping, **shared), done="undone")
            return
        notes = [*found, *notes]
        report = import_events(
            run.log, source, mapping, strict=how["strict"], notes=notes, **shared
        )
        run.finish(report)


@import_.command("presets", short_help="List the presets of `import events`.")
@json_option
def presets_(as_json: bool) -> None:
    """List the sources whose columns `recstream import events` knows.

    \b
    Examples:
      recstream import presets
    """
    found = presets()
    rows = [
        {
            "preset": name,
            "about": each.about,
            "recognised by": ", ".join(each.recognise) or "its name",
        }
        for name, each in found.items()
    ]
    say(found, table(rows), as_json=as_json)


def _topic(settings: Settings, url: str, how: dict[str, Any], *, as_json: bool) -> None:
    """Import another system's topic."""
    from recstream.log.kafka import open_topic

    given = _given(how)
    if not how["preset"] and not {"user", "item"} <= given.keys():
        raise InvalidInput("a topic needs --mapping, --preset, or --user and --item")
    mapping = _mapped(preset(how["preset"]) if how["preset"] else None, given)
    if how["undo"]:
        raise InvalidInput("--undo is for files; the import of a topic can't be undone")
    if mapping.join or mapping.fill or mapping.order:
        raise InvalidInput("join, fill and order are for files; records of a topic stand alone")
    stopping = threading.Event()
    source = open_topic(url, settings)
    with (
        Import(settings, None, as_json=as_json) as run,
        stopped_by_signals(stopping, is_bounded=False),
    ):
        report = import_topic(
            run.log, source, mapping, is_followed=lambda: how["follow"] and not stopping.is_set()
        )
        run.finish(report)


def _check_file(path: Path) -> None:
    """Raise unless a path names something that can be read as a file."""
    try:
        path.stat()
    except OSError as error:
        message = f"there is no file {path}: {error.strerror}"
        raise click.BadParameter(message, param_hint="FILE") from error
    if path.is_dir():
        raise click.BadParameter(f"{path} is a folder, expected a file", param_hint="FILE")


def _given(how: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a mapping that a mapping file and options name; options win."""
    given: dict[str, Any] = {}
    if how["mapping_file"] is not None:
        try:
            content = read_bounded(how["mapping_file"])
            found = msgspec.json.decode(content, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise InvalidInput(
                f"--mapping must name a file with a JSON object, got {how['mapping_file']}: {error}"
            ) from error
        if unknown := sorted(found.keys() - {*ColumnMapping.__struct_fields__}):
            raise InvalidInput(
                f"{how['mapping_file']} may have {', '.join(ColumnMapping.__struct_fields__)}; got "
                f"{', '.join(unknown)}"
            )
        given |= found
    named = {name: how.get(name) for name in ColumnMapping.__struct_fields__}
    given |= {name: value for name, value in named.items() if value or type(value) is float}
    if how["types"]:
        given["types"] = dict(_pair(text, "--types TEXT=TYPE") for text in how["types"])
    return given


def _mapped(chosen: ColumnMapping | None, given: dict[str, Any]) -> ColumnMapping:
    """Return a mapping with the given fields, checked."""
    fields = {} if chosen is None else msgspec.to_builtins(chosen)
    try:
        return msgspec.convert(fields | given, ColumnMapping)
    except msgspec.ValidationError as error:
        wrong = json_error(error, InvalidJson, kind=ColumnMapping)
        where = f" (at {wrong.pointer})" if wrong.pointer else ""
        raise InvalidInput(f"the mapping can't be used: {wrong.reason}{where}") from error


def _mapping(source: Source, how: dict[str, Any]) -> tuple[ColumnMapping, list[str]]:
    """Return the mapping that options and presets choose, and notes about what was recognised."""
    given = _given(how)
    name = how["preset"]
    if not name and "user" in given and "item" in given:
        return _mapped(None, given), []
    name = name or recognise(source)
    return _mapped(preset(name), given), [
        f"read as {name}; --preset chooses another, --user and the like change columns"
    ]


def _pair(text: str, option: str) -> tuple[str, Any]:
    left, found, right = text.partition("=")
    if not found:
        raise InvalidInput(f"expected {option}, got {text!r}")
    return left, right
