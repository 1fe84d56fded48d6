"""`import_products`: put a file of product metadata into the catalogue.

Reads Amazon's metadata (JSON lines of 2014, 2018 and 2023) and any CSV, TSV or JSON lines whose
columns have usual names or are named by the caller. Rejected rows are counted by reason.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from time import perf_counter

import msgspec

from recstream.catalogue import read_change
from recstream.core.content import PRODUCT_COLUMNS, RejectedRow, clean_product, column_name
from recstream.core.records import Item
from recstream.errors import InvalidInput
from recstream.importers.files.cells import parse_id
from recstream.importers.files.combine import fill_down
from recstream.importers.files.file import BadLine
from recstream.importers.files.source import RejectedLine, Row, Source
from recstream.log import CATALOGUE, EventLog, NewRecord, read_records

EXAMPLES = 5
APPEND_ITEMS = 5_000
FILLED = ("Handle", "Title", "Body (HTML)", "Vendor", "Product Category", "Type", "Image Src")
"""Columns that Shopify's products_export.csv fills in the first row of a product alone."""
RARE = frozenset({"from", "until", "vector", "attributes"})
"""Fields that few sources have: nobody misses their columns."""
_SHOWS_ID = frozenset({"no title", "title is a script", "id was there before"})
"""Reasons of rejected rows that show the row's id."""
MAX_NAMES = 200
"""Keys of JSON rows that are looked at to name those that no field takes."""


class ProductsReport(msgspec.Struct, kw_only=True):
    """Counts and examples of an import of products.

    Attributes
    ----------
    rows : int
        Rows of the file.
    imported, already : int
        Items put into the catalogue by this run, and those that it had exactly so.
    withdrawn : int
        Items made unavailable because the file lacks them.
    dropped : dict of str to int
        Number of rejected rows by reason; ``examples`` has the first of each reason.
    mended : dict of str to int
        Number of corrected items by correction.
    absent, unread : tuple of str
        Fields without a column, and columns or keys that no field takes.
    """

    rows: int = 0
    imported: int = 0
    already: int = 0
    withdrawn: int = 0
    dropped: dict[str, int] = {}
    examples: tuple[RejectedLine, ...] = ()
    mended: dict[str, int] = {}
    absent: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    seconds: float = 0.0


class ProductReader:
    """Reads the items of a file, each id once, and counts rejected rows.

    Parameters
    ----------
    columns : mapping, optional
        Column of each field of `Item`; see `recstream.core.content.clean.PRODUCT_COLUMNS`.

    Raises
    ------
    InvalidInput
        ``columns`` names an unknown field or a column that the file does not have, or the file has
        no column for id or title.

    Attributes
    ----------
    ids, rejected_ids : set of str
        Ids of the items, and of rejected rows.
    n_without_id : int
        Rejected rows without an id.
    """

    def __init__(self, source: Source, columns: Mapping[str, str] | None = None) -> None:
        self._source = source
        self._columns = dict(columns or {})
        own = {name for name in self._columns if name.startswith("attributes.")}
        unknown = self._columns.keys() - PRODUCT_COLUMNS.keys() - own
        if unknown:
            fields = f"{', '.join(PRODUCT_COLUMNS)} and attributes.NAME"
            raise InvalidInput(f"items have the fields {fields}; got {', '.join(sorted(unknown))}")
        absent = set(self._columns.values()) - set(source.columns)
        if source.has_header and absent:
            raise InvalidInput(
                f"{source.path} has the columns {source.shown_columns}; it has no"
                f" {', '.join(sorted(absent))}"
            )
        if source.has_header:
            for field in ("item", "title"):
                self._require(field)
        used = {column_name(name) for name in self._columns.values()}
        used.update(name for names in PRODUCT_COLUMNS.values() for name in names)
        names = Counter(map(column_name, source.columns))
        if twice := sorted(name for name in used if names[name] > 1):
            raise InvalidInput(
                f"{source.path} has several columns called {', '.join(twice)}; give each its own "
                "name"
            )
        self.rows = self.n_without_id = 0
        self.ids: set[str] = set()
        self.rejected_ids: set[str] = set()
        self._names = dict.fromkeys(
            source.columns[:MAX_NAMES] if source.is_json else source.columns
        )
        self.dropped: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self.examples: list[RejectedLine] = []

    def items(self) -> Iterator[Item]:
        """Yield the file's items in order."""
        for line, row in self._source.rows():
            self.rows += 1
            if isinstance(row, BadLine):
                self._drop(line, RejectedRow("not readable", row.reason))
                continue
            cleaned = clean_product(self._named(row), self._columns)
            if isinstance(cleaned, RejectedRow):
                self._drop(line, cleaned)
                continue
            try:
                name = parse_id(cleaned.item.item)
            except ValueError:
                self._drop(line, RejectedRow("no id", cleaned.item.title[:60]))
                continue
            if name in self.ids:
                self._drop(line, RejectedRow("id was there before", name))
            else:
                self.ids.add(name)
                self.mended.update(cleaned.repairs)
                yield msgspec.structs.replace(cleaned.item, item=name)

    def missing(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the fields without a column, and the columns that no field takes; call it after `items`."""
        by_name = {column_name(name): name for name in self._names}
        taken: set[str] = set()
        absent = []
        for field, usual in PRODUCT_COLUMNS.items():
            names = [column_name(self._columns[field])] if field in self._columns else usual
            if found := by_name.keys() & {*names}:
                taken |= found
            elif field not in RARE:
                absent.append(field)
        taken |= {column_name(column) for column in self._columns.values()}
        return tuple(absent), tuple(name for key, name in by_name.items() if key not in taken)

    def _require(self, field: str) -> None:
        """Check that the file has a column for a field."""
        if field in self._columns:
            return
        known = {column_name(name) for name in self._source.columns}
        if known.isdisjoint(PRODUCT_COLUMNS[field]):
            raise InvalidInput(
                f"{self._source.path} needs a column for the {field}: one of "
                f"{', '.join(PRODUCT_COLUMNS[field])}; its columns: {self._source.shown_columns}; "
                f"name it with --column {field}=COLUMN"
            )

    def _named(self, row: Row) -> Mapping[str, object]:
        if isinstance(row, dict):
            if len(self._names) < MAX_NAMES and not row.keys() <= self._names.keys():
                self._names.update(dict.fromkeys([*row][:MAX_NAMES]))
            return row
        return dict(zip(self._source.columns, row, strict=False))

    def _drop(self, line: int, dropped: RejectedRow) -> None:
        self.dropped[dropped.reason] += 1
        if self.dropped[dropped.reason] <= EXAMPLES:
            self.examples.append(RejectedLine(line, dropped.reason, dropped.shown))
        try:
            self.rejected_ids.add(parse_id(dropped.shown if dropped.reason in _SHOWS_ID else ""))
        except ValueError:
            self.n_without_id += 1


def import_products(
    event_log: EventLog,
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    on_progress: Callable[[int], None] | None = None,
    withdraw_missing: bool = False,
    is_confirmed: bool = False,
) -> ProductsReport:
    """Put the products of a file into the catalogue that it does not have exactly so.

    Parameters
    ----------
    path : Path
        CSV, TSV or JSON lines, plain or compressed.
    columns : mapping, optional
        Column of each field of `Item`.
    on_progress : callable, optional
        Called with the bytes of the file read so far.
    withdraw_missing : bool
        Make the catalogue's items that the file lacks unavailable.
    is_confirmed : bool
        Do so too where most items are missing, or rows have no id.

    Raises
    ------
    InvalidInput
        The file can't be read, has no such columns, or none of its rows is a product; or missing
        items need to be confirmed.
    LogUnavailable
    """
    begun = perf_counter()
    end = event_log.high_watermark(CATALOGUE, 0)
    source = Source(path, delimiter=delimiter, encoding=encoding, on_progress=on_progress)
    if {"Handle", "Variant SKU"} <= {*source.columns}:
        fill_down(source, FILLED)
    reader = ProductReader(source, columns)
    imported = import_items(event_log, reader.items())
    n_items = reader.rows - sum(reader.dropped.values())
    if withdraw_missing and not reader.rows:
        raise InvalidInput(f"{path} has no rows; nothing was withdrawn")
    if reader.rows and not n_items:
        reasons = ", ".join(f"{count} × {why}" for why, count in reader.dropped.most_common())
        raise InvalidInput(
            f"no row of {path} is a product ({reasons}); its columns: {source.shown_columns}; "
            "name columns with --column FIELD=COLUMN"
        )
    withdrawn = _withdraw_missing(event_log, reader, end, is_confirmed) if withdraw_missing else 0
    absent, unread = reader.missing()
    return ProductsReport(
        rows=reader.rows,
        imported=imported,
        already=n_items - imported,
        withdrawn=withdrawn,
        dropped=dict(reader.dropped.most_common()),
        examples=tuple(reader.examples),
        mended=dict(reader.mended.most_common()),
        absent=absent,
        unread=unread,
        seconds=perf_counter() - begun,
    )


def import_items(event_log: EventLog, items: Iterable[Item]) -> int:
    """Append the items that differ from their newest record; return their number.

    Only hashes of the records are held in memory.
    """
    newest = {each.key: hash(each.value) for each in read_records(event_log, CATALOGUE, 0)}
    encode = msgspec.json.Encoder().encode
    imported = 0
    batch: list[NewRecord] = []
    for item in items:
        key, value = item.item.encode(), encode(item)
        if newest.get(key) == hash(value):
            continue
        batch.append(NewRecord(CATALOGUE, key, value))
        if len(batch) == APPEND_ITEMS:
            event_log.append(batch)
            imported, batch = imported + len(batch), []
    if batch:
        event_log.append(batch)
    return imported + len(batch)


def _withdraw_missing(
    event_log: EventLog, reader: ProductReader, end: int, is_confirmed: bool
) -> int:
    """Make the items that were available before offset ``end`` and that a file lacks unavailable.

    Items that were put since ``end`` stay as they are.
    """
    if reader.n_without_id and not is_confirmed:
        rows = "1 row has" if reader.n_without_id == 1 else f"{reader.n_without_id:,} rows have"
        raise InvalidInput(
            f"{rows} no id that can be read, so that it is not known which products are missing; "
            "the other rows were imported, nothing was withdrawn; mend the file, or use --yes"
        )
    listed = reader.ids | reader.rejected_ids
    kept: set[bytes] = set()
    missing: dict[bytes, Item] = {}
    for record in read_records(event_log, CATALOGUE, 0):
        key = record.key or b""
        missing.pop(key, None)
        if record.offset >= end:
            continue
        kept.discard(key)
        try:
            name, item = read_change(record)
        except InvalidInput:
            continue
        if item is None or not item.available:
            continue
        if name in listed:
            kept.add(key)
        else:
            missing[key] = item
    if len(missing) > len(kept) and not is_confirmed:
        raise InvalidInput(
            f"the file lacks {len(missing):,} of the {len(missing) + len(kept):,} products that are "
            "available; its rows were imported, nothing was withdrawn; if the file is complete, "
            "use --yes"
        )
    withdrawn = [msgspec.structs.replace(each, available=False) for each in missing.values()]
    return import_items(event_log, withdrawn)
