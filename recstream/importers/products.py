"""Step 1 of the flow for products: a file of metadata becomes items on the catalogue topic.

Reads Amazon's metadata (JSON lines of 2014, 2018 and 2023) and any CSV, TSV or JSON lines whose
columns are named like them or by the caller. Which rows were left out, and why, is reported.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import perf_counter

import msgspec

from recstream.core.content import PRODUCT_COLUMNS, RejectedRow, clean_product
from recstream.core.records import Item
from recstream.errors import InvalidInput
from recstream.importers.items import import_items
from recstream.importers.source import BadLine, Row, Source
from recstream.log import EventLog

EXAMPLES = 5
_CHUNK_BYTES = 1 << 20


class Problem(msgspec.Struct, frozen=True):
    """A row that was left out: its line, why, and what it is."""

    line: int
    reason: str
    shown: str = ""


class ProductsReport(msgspec.Struct, kw_only=True):
    """What an import of products did.

    Attributes
    ----------
    rows : int
        Rows of the file.
    imported, already : int
        Items put into the catalogue now, and by an earlier run.
    dropped : dict of str to int
        By reason, the rows that were left out; ``examples`` are the first of each reason.
    mended : dict of str to int
        By what was mended, the items.
    """

    rows: int = 0
    imported: int = 0
    already: int = 0
    dropped: dict[str, int] = {}
    examples: tuple[Problem, ...] = ()
    mended: dict[str, int] = {}
    seconds: float = 0.0


class ProductReader:
    """Reads the items of a file, each id once, and counts what it leaves out.

    Parameters
    ----------
    source : Source
    columns : mapping, optional
        By field of `Item`, the column it is taken from; see `recstream.core.content.clean.PRODUCT_COLUMNS`.

    Raises
    ------
    InvalidInput
        ``columns`` names a field that items don't have, or a column that the file does not.
    """

    def __init__(self, source: Source, columns: Mapping[str, str] | None = None) -> None:
        self._source = source
        self._columns = dict(columns or {})
        unknown = self._columns.keys() - PRODUCT_COLUMNS.keys()
        if unknown:
            message = f"items have the fields {', '.join(PRODUCT_COLUMNS)}; got {', '.join(sorted(unknown))}"
            raise InvalidInput(message)
        absent = set(self._columns.values()) - set(source.columns)
        if source.has_header and absent:
            message = (
                f"{source.path} has the columns {', '.join(source.columns)}; it has no"
                f" {', '.join(sorted(absent))}"
            )
            raise InvalidInput(message)
        self.rows = 0
        self.dropped: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self.examples: list[Problem] = []

    def items(self) -> Iterator[Item]:
        """Yield the file's items in order."""
        seen: set[str] = set()
        for line, row in self._source.rows():
            self.rows += 1
            if isinstance(row, BadLine):
                self._drop(line, RejectedRow("not readable", row.reason))
                continue
            cleaned = clean_product(self._named(row), self._columns)
            if isinstance(cleaned, RejectedRow):
                self._drop(line, cleaned)
            elif cleaned.item.item in seen:
                self._drop(line, RejectedRow("id was there before", cleaned.item.item))
            else:
                seen.add(cleaned.item.item)
                self.mended.update(cleaned.mended)
                yield cleaned.item

    def _named(self, row: Row) -> Mapping[str, object]:
        if isinstance(row, dict):
            return row
        return dict(zip(self._source.columns, row, strict=False))

    def _drop(self, line: int, dropped: RejectedRow) -> None:
        self.dropped[dropped.reason] += 1
        if self.dropped[dropped.reason] <= EXAMPLES:
            self.examples.append(Problem(line, dropped.reason, dropped.shown))


def read_products(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[Item]:
    """Yield the items of a file, cleaned; rows that are no products are left out."""
    return ProductReader(Source(path), columns).items()


def run(
    event_log: EventLog,
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    on_progress: Callable[[int], None] | None = None,
) -> ProductsReport:
    """Put the products of a file into the catalogue; a second run adds nothing.

    Parameters
    ----------
    event_log : EventLog
    path : Path
        CSV, TSV or JSON lines, gzipped if it ends in ``.gz``.
    columns : mapping, optional
        By field of `Item`, the column it is taken from.
    delimiter, encoding : str, optional
    on_progress : callable, optional
        Takes the bytes of the file read so far.

    Raises
    ------
    InvalidInput
        The file can't be read, or has no such columns.
    LogUnavailable
    """
    begun = perf_counter()
    source = Source(path, delimiter=delimiter, encoding=encoding, on_progress=on_progress)
    reader = ProductReader(source, columns)
    how = repr((sorted((columns or {}).items()), delimiter, encoding))
    imported = import_items(event_log, reader.items(), _digest(path, how))
    n_items = reader.rows - sum(reader.dropped.values())
    return ProductsReport(
        rows=reader.rows,
        imported=imported,
        already=n_items - imported,
        dropped=dict(reader.dropped.most_common()),
        examples=tuple(reader.examples),
        mended=dict(reader.mended.most_common()),
        seconds=perf_counter() - begun,
    )


def _digest(path: Path, how: str) -> str:
    """Return a digest of a file and of how it is read: the name of its import."""
    hasher = hashlib.blake2b(how.encode(), digest_size=12)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from error
    return hasher.hexdigest()
