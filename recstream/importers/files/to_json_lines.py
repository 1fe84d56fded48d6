"""Convert Parquet files, SQL queries and XML feeds to JSON lines."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from xml.etree import ElementTree as ET

import msgspec

from recstream.errors import InvalidInput
from recstream.importers.files.pipe import temporary_file

_ROWS = 500
"""Rows of a table in memory at a time; each may hold long texts."""
MOST_CONVERTED_BYTES = 4 << 30
MOST_GROWTH = 1_000
"""A file may become so many bytes, or so many times its size; real tables compress less."""
MOST_PRODUCT_BYTES = 64 << 20
"""Bytes of a feed from the end of one product to the end of the next."""
_CHUNK_BYTES = 1 << 18
_COLON = re.compile(r"(?<![:\w\\]):(?=\w)")
"""What SQLAlchemy would take for the begin of a parameter."""
_GOOGLE = "{http://base.google.com/ns/1.0}"
_ATOM = "{http://www.w3.org/2005/Atom}"


def spooled(rows: Iterable[dict[str, Any]]) -> BinaryIO:
    """Write rows as JSON lines to a temporary file, which can be read more than once."""
    return temporary_file(map(_line, rows), "the rows")


def spooled_lines(lines: Iterable[bytes], name: str, n_bytes: int) -> BinaryIO:
    """Write what a file becomes to a temporary file.

    Parameters
    ----------
    name : str
        The file's, for the error.
    n_bytes : int
        Size of the file.

    Raises
    ------
    InvalidInput
        It becomes much larger than any real table.
    """
    most = max(MOST_CONVERTED_BYTES, MOST_GROWTH * n_bytes)

    def bounded() -> Iterator[bytes]:
        size = 0
        for line in lines:
            size += len(line)
            if size > most:
                raise InvalidInput(
                    f"{name} would become more than {most:,} bytes of rows, from {n_bytes:,}; "
                    "import a copy with the needed columns alone"
                )
            yield line

    return temporary_file(bounded(), name)


_encode = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode


def _line(row: dict[str, Any]) -> bytes:
    """Return a row as a line of JSON; what JSON can't hold, such as a decimal NaN, is null."""
    try:
        return _encode(row) + b"\n"
    except (ValueError, RecursionError):
        return _encode({name: _or_none(value) for name, value in row.items()}) + b"\n"


def _or_none(value: Any) -> Any:
    try:
        _encode(value)
    except (ValueError, RecursionError):
        return None
    return value


def converted(raw: BinaryIO, name: str, n_bytes: int, *, is_table: bool) -> BinaryIO:
    """Return a Parquet file or a feed as JSON lines in a temporary file."""
    rows = parquet_rows if is_table else feed_rows
    return spooled_lines(map(_line, rows(raw, name)), name, n_bytes)


def _readable(value: Any) -> Any:
    """Return a value of a table as text: a time without a zone is UTC, a date its midnight.

    Bytes are a text if they are valid UTF-8, as columns of older programs hold them.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def _check_names(names: Iterable[str], what: str) -> None:
    counted = Counter(names)
    if twice := [name for name, count in counted.items() if count > 1]:
        raise InvalidInput(
            f"{what} has several columns called {', '.join(twice)}; give each its own name"
        )


def parquet_rows(file: BinaryIO, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, some thousand in memory at a time.

    Parameters
    ----------
    file : binary file
    name : str
        For the error.

    Raises
    ------
    InvalidInput
        It can't be read.
    """
    import pyarrow as pa  # noqa: PLC0415 - 0.2 s that other files need not wait for
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        _check_names(names, name)
        for batch in parquet.iter_batches(_ROWS):
            for values in zip(*map(_column_values, batch.columns), strict=True):
                yield {column: _readable(each) for column, each in zip(names, values, strict=True)}
    except InvalidInput:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidInput(f"{name} is a damaged Parquet file: {error}") from error


def _column_values(column: Any) -> list[Any]:
    """Return the values of a column of Arrow; one that Python can't hold is a text, or None."""
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_timestamp(column.type) and column.type.tz:
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))  # names of zones may be unknown
    try:
        return cast("list[Any]", column.to_pylist())
    except (OverflowError, ValueError):
        return [_value(each) for each in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except OverflowError:
        return f"{scalar.value} {scalar.type.unit}" if hasattr(scalar, "value") else None
    except ValueError:
        return None


def query_rows(url: str, query: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query, by an SQLAlchemy URL such as ``postgresql://host/shop``.

    Raises
    ------
    InvalidInput
        SQLAlchemy or the database's driver is missing, the database refuses the query, or it gives
        no rows.
    """
    try:
        import sqlalchemy  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InvalidInput('--query needs: pip install "recstream[sql]"') from error
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            result = connection.execution_options(stream_results=True).execute(
                sqlalchemy.text(_COLON.sub(r"\\:", query))
            )
            if not result.returns_rows:
                raise InvalidInput("expected a query that returns rows, such as select …")
            _check_names(result.keys(), "the query")
            row = None
            for row in result.yield_per(_ROWS).mappings():
                yield {column: _readable(value) for column, value in row.items()}
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise InvalidInput(f"the database refuses the query: {_reason(error)}") from error
    if row is None:
        raise InvalidInput("the query gives no rows; nothing was imported")


def _engine(url: str) -> Any:
    """Return the engine of a database; its URL may hold a password and is not shown."""
    import sqlalchemy  # noqa: PLC0415

    try:
        engine = sqlalchemy.create_engine(url)
    except ImportError as error:
        raise InvalidInput(
            f"the driver of the database is missing: {error}; install it with pip"
        ) from error
    except sqlalchemy.exc.NoSuchModuleError as error:
        raise InvalidInput(f"there is no such kind of database: {error}") from error
    except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
        raise InvalidInput(
            "with --query, FILE must be the SQLAlchemy URL of a database, like "
            "postgresql://user:password@host:5432/shop; this one can't be read"
        ) from error
    path = (engine.url.database or "") if engine.dialect.name == "sqlite" else ""
    if path not in {"", ":memory:"} and "uri" not in engine.url.query and not Path(path).exists():
        raise InvalidInput(f"there is no file {path}; SQLite would make an empty database")
    return engine


def _reason(error: Exception) -> str:
    text = str(getattr(error, "orig", None) or error)
    return (text.splitlines() or [type(error).__name__])[0]


def feed_rows(file: BinaryIO, name: str) -> Iterator[dict[str, Any]]:
    """Yield the products of a Google Merchant feed (RSS 2.0 or Atom), one in memory at a time.

    Raises
    ------
    InvalidInput
        It is no such feed, or cut off.
    """
    n_found = n_unfinished = 0
    parser: Any = ET.XMLPullParser(("end",))  # expat bounds entities
    try:
        while (chunk := file.read(_CHUNK_BYTES)) and n_unfinished <= MOST_PRODUCT_BYTES:
            parser.feed(chunk)
            n_unfinished += len(chunk)
            for _, element in parser.read_events():
                if element.tag not in {"item", f"{_ATOM}entry"}:
                    continue
                n_found += 1
                n_unfinished = 0
                yield _product(element)
                element.clear()
        if not chunk:
            parser.close()
    except (ET.ParseError, LookupError, ValueError) as error:
        raise InvalidInput(f"{name} is no valid XML: {error}") from error
    if chunk:
        raise InvalidInput(
            f"{name} has more than {MOST_PRODUCT_BYTES:,} bytes in or before a product"
        )
    if not n_found:
        raise InvalidInput(
            f"{name} must be a product feed with <item> or <entry> elements, got none"
        )


def _product(element: ET.Element) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for child in element:
        text = (child.text or "").strip()
        if text:
            row.setdefault(child.tag.removeprefix(_GOOGLE).removeprefix(_ATOM), text)
    return row
