"""Convert Parquet files, SQL queries and XML feeds to JSON lines."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime
from typing import Any, BinaryIO, cast
from xml.etree import ElementTree as ET

import msgspec

from recstream.errors import InvalidInput

_ROWS = 10_000
_GOOGLE = "{http://base.google.com/ns/1.0}"
_ATOM = "{http://www.w3.org/2005/Atom}"


def spooled(rows: Iterable[dict[str, Any]]) -> BinaryIO:
    """Write rows as JSON lines to a temporary file, which can be read more than once."""
    encode = msgspec.json.Encoder(enc_hook=_text, decimal_format="number").encode
    with ExitStack() as stack:
        file = cast("BinaryIO", stack.enter_context(tempfile.TemporaryFile()))
        for row in rows:
            file.write(encode(row) + b"\n")
        file.flush()
        stack.pop_all()
        return file


def _text(value: Any) -> Any:
    return str(value)


def _readable(value: Any) -> Any:
    """Return a value of a table as texts of files are: a time without a zone is UTC, a date its midnight.

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
                sqlalchemy.text(query)
            )
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
        return sqlalchemy.create_engine(url)
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
    n_found = 0
    try:
        for _, element in ET.iterparse(file):  # noqa: S314 - expat bounds entities
            if element.tag not in {"item", f"{_ATOM}entry"}:
                continue
            n_found += 1
            yield _product(element)
            element.clear()
    except (ET.ParseError, LookupError, ValueError) as error:
        raise InvalidInput(f"{name} is no valid XML: {error}") from error
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
