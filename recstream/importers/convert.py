"""Tables that are no text, as JSON lines: Parquet files, queries of a database, product feeds in XML."""

from __future__ import annotations

import tempfile
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
_FEED_NAMES = {
    "g:id": "item",
    "g:title": "title",
    "g:description": "description",
    "g:brand": "brand",
    "g:product_type": "category",
    "g:google_product_category": "category",
    "g:price": "price",
    "g:image_link": "image",
}
"""Fields of Google Merchant feeds as fields of an item; the first that a product has counts."""


def spooled(rows: Iterable[dict[str, Any]]) -> BinaryIO:
    """Write rows as JSON lines to a temporary file, which can be read more than once."""
    encode = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number").encode
    with ExitStack() as stack:
        file = cast("BinaryIO", stack.enter_context(tempfile.TemporaryFile()))
        for row in rows:
            file.write(encode(row) + b"\n")
        file.flush()
        stack.pop_all()
        return file


def _plain(value: Any) -> Any:
    return str(value)


def _with_zone(value: Any) -> Any:
    """Return a value; a time without a zone is UTC, and a date its midnight."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def parquet_rows(path: Any, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, some thousand in memory at a time.

    Parameters
    ----------
    path : path or binary file
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
        for batch in pq.ParquetFile(path).iter_batches(_ROWS):
            for row in batch.to_pylist():
                yield {column: _with_zone(value) for column, value in row.items()}
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"{name} is a damaged Parquet file: {error}") from error


def query_rows(url: str, query: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query, by an SQLAlchemy URL such as ``postgresql://host/shop``.

    Raises
    ------
    InvalidInput
        SQLAlchemy or the database's driver is missing, or the database refuses the query.
    """
    try:
        import sqlalchemy  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InvalidInput('--query needs: pip install "recstream[sql]"') from error
    try:
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            result = connection.execution_options(stream_results=True).execute(
                sqlalchemy.text(query)
            )
            for row in result.yield_per(_ROWS).mappings():
                yield {column: _with_zone(value) for column, value in row.items()}
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise InvalidInput(f"the database refuses the query: {reason}") from error


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
    except ET.ParseError as error:
        raise InvalidInput(f"{name} is no valid XML: {error}") from error
    if not n_found:
        raise InvalidInput(
            f"{name} must be a product feed with <item> or <entry> elements, got none"
        )


def _product(element: ET.Element) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for child in element:
        text = (child.text or "").strip()
        tag = child.tag.replace(_GOOGLE, "g:").replace(_ATOM, "")
        field = _FEED_NAMES.get(tag) or _FEED_NAMES.get(f"g:{tag}")
        if text and field is not None:
            row.setdefault(field, text)
    return row
