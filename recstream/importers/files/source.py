"""`Source`: rows of a file of delimited columns or JSON lines, with line numbers."""

from __future__ import annotations

import ast
import copy
import csv
import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from recstream.errors import InvalidInput
from recstream.importers.files.file import MAX_LINE_BYTES, BadLine, InputFile

Row = Sequence[str] | dict[str, Any]
JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
TAB_SUFFIXES = frozenset({".tsv", ".tab"})
MAX_SHOWN = 500
MAX_ROW_LINES = 100
"""A quoted field that spans more lines has no closing quote."""
csv.field_size_limit(MAX_LINE_BYTES)
_EXCEL_SEPARATOR = re.compile(r"\s*sep=([,;|\t])\s*", re.IGNORECASE)
"""First line that Excel writes and reads."""
_LINE_END = re.compile(r"\s*[\r\n]\s*")


class RejectedLine(msgspec.Struct, frozen=True):
    """A rejected line: its number, the reason, and for products what it holds."""

    line: int
    reason: str
    shown: str | msgspec.UnsetType = msgspec.UNSET


class Source:
    """A file of rows.

    Parameters
    ----------
    delimiter : str, optional
        Default: guessed from the name and the first line. May have several characters, like ``::``.
    header : bool
        Whether the first line names the columns; ignored for JSON.
    encoding : str, optional
        Default: by the byte order mark, else UTF-8.
    on_progress : callable, optional
        Called with the bytes of the file read so far, every few thousand lines.
    content : binary file, optional
        JSON lines to read instead; the path is only their name.

    Attributes
    ----------
    columns : tuple of str
        Names in the header, a line end as a space; of JSON the keys of the first row.
    may_be_longer : bool
        Whether rows may have more columns than the header.

    Raises
    ------
    InvalidInput
        The file can't be read, is empty or no text, or is one JSON document.
    """

    def __init__(
        self,
        path: Path,
        *,
        delimiter: str | None = None,
        header: bool = True,
        encoding: str | None = None,
        on_progress: Callable[[int], None] | None = None,
        content: BinaryIO | None = None,
    ) -> None:
        self.may_be_longer = False
        self._steps: list[Callable[[Row], Row | BadLine]] = []
        self._joined: list[Source] = []
        self._file = InputFile(path, encoding=encoding, on_progress=on_progress, content=content)
        self.path = self._file.path
        if delimiter:
            delimiter = delimiter.replace("\\t", "\t")
            if len(delimiter) == 1 and delimiter in '"\r\n\0':
                raise InvalidInput(f"--delimiter must separate columns, got {delimiter!r}")
        first = self._first_line()
        named = _EXCEL_SEPARATOR.fullmatch(first)
        self._n_before = 0 if named is None else 1
        if named is not None:
            first = self._first_line(self._n_before)
        self.is_json = self._file.is_converted or (
            not delimiter and (self._file.suffix in JSON_SUFFIXES or first.startswith(("{", "[{")))
        )
        if self.is_json:
            self._refuse_documents(first)
        self._guessed = named[1] if named is not None else _guess(self._file.suffix, first)
        self.delimiter = delimiter or self._guessed
        self.has_header = header and not self.is_json
        self.columns: tuple[str, ...] = ()
        self._header: tuple[str, ...] = ()
        if self.has_header:
            self._header = tuple(cell.strip() for cell in self._header_row(first))
            self.columns = tuple(_LINE_END.sub(" ", cell) for cell in self._header)
        elif self.is_json:
            rows = (row for _, row in islice(self.rows(), 10) if isinstance(row, dict))
            self.columns = tuple(next(rows, {}))

    @property
    def shown_columns(self) -> str:
        """The columns' names for a message; characters that can't be printed are escaped."""
        names = [name if name.isprintable() else ascii(name) for name in self.columns]
        text = ", ".join(names)
        text = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
        if any("\udc80" <= each <= "\udcff" for each in "".join(self.columns)):
            text += f" (some are not in {self.encoding}: name the encoding with --encoding)"
        return text

    @property
    def encoding(self) -> str:
        """The file's encoding."""
        return self._file.encoding

    @property
    def digest(self) -> str:
        """Digest of the uncompressed content."""
        return self._file.digest

    @property
    def modified_ms(self) -> int:
        """The file's time of modification, in milliseconds since 1970; now if it is no file."""
        if not self.path.exists():
            return time.time_ns() // 1_000_000
        return int(self.path.stat().st_mtime * 1000)

    def add_step(
        self,
        step: Callable[[Row], Row | BadLine],
        adds: Sequence[str] = (),
        of: Source | None = None,
    ) -> None:
        """Change each row by a function, which may add columns of another file."""
        self._steps.append(step)
        self.columns += tuple(adds)
        if of is not None:
            self._joined.append(of)

    def without_header(self) -> Source:
        """Return the same file with its first line read as data."""
        other = copy.copy(self)
        other.has_header = False
        other.columns = ()
        return other

    @property
    def reading(self) -> tuple[str, ...]:
        """Options that differ from what is guessed; part of an import's name."""
        parts = []
        if self.encoding not in {"utf-8", "utf-8-sig"}:
            parts.append(f"encoding={self.encoding}")
        if self.delimiter != self._guessed:
            parts.append(f"delimiter={self.delimiter}")
        if not self.has_header and not self.is_json:
            parts.append("no-header")
        parts += [f"join={each.digest}" for each in self._joined]
        return tuple(parts)

    def rows(self) -> Iterator[tuple[int, Row | BadLine]]:
        """Yield each row with the number of its first line; empty lines are skipped."""
        for number, row in self._rows():
            for step in self._steps:
                if not isinstance(row, BadLine):
                    row = step(row)  # noqa: PLW2901 - changed by each step
            yield number, row

    def _rows(self) -> Iterator[tuple[int, Row | BadLine]]:
        lines = self._lines(self._n_before)
        if self.is_json:
            yield from _json_rows(lines)
            return
        rows = self._split_rows(lines)
        if not self.has_header:
            yield from rows
            return
        next(rows, None)
        for number, row in rows:
            yield number, self._checked(row)

    def _split_rows(self, lines: Lines) -> Rows:
        if len(self.delimiter) > 1:
            return _split_rows(lines, self.delimiter)
        return _Delimited(lines, self.delimiter).rows()

    def _header_row(self, first: str) -> Sequence[str]:
        """Return the cells of the header; a quoted cell may have several lines."""
        if '"' in first:
            _, row = next(self._split_rows(self._lines(self._n_before)))
            if isinstance(row, list) and any(_LINE_END.search(cell) for cell in row):
                return row
        return self._split(first)

    def _checked(self, row: Row | BadLine) -> Row | BadLine:
        """Return a row, or the reason why it is rejected."""
        n_columns = len(self.columns)
        if not isinstance(row, list):
            return row
        if tuple(cell.strip() for cell in row) == self._header:
            return BadLine("the header stands here again; the file was put together from several")
        if self.may_be_longer or not any(row[n_columns:]):
            return row
        return BadLine(
            f"expected {n_columns} columns as in the header, got {len(row)}; quote values with "
            f"{self.delimiter!r} in them"
        )

    def _lines(self, n_before: int) -> Lines:
        """Yield the lines behind some that are not blank."""
        for number, line in self._file.lines():
            if n_before and (isinstance(line, BadLine) or line.strip()):
                n_before -= 1
            elif not n_before:
                yield number, line

    def _first_line(self, n_before: int = 0) -> str:
        """Return the first line that is not blank, or one behind it."""
        for _, line in self._lines(n_before):
            if isinstance(line, BadLine):
                raise InvalidInput(f"{self.path}, line 1: {line.reason}; is it a file of rows?")
            if line.strip():
                return line.strip("\r\n")
        raise InvalidInput(f"{self.path} is empty; expected rows of text")

    def _refuse_documents(self, first: str) -> None:
        if first.lstrip().startswith("["):
            raise InvalidInput(
                f"{self.path} is one JSON array, expected a JSON object a line; "
                "turn it into lines, e.g. with jq -c '.[]'"
            )
        if first.strip() == "{":
            raise InvalidInput(
                f"{self.path} is a JSON document over several lines, expected a JSON object a "
                "line; turn it into lines, e.g. with jq -c ."
            )

    def _split(self, line: str) -> list[str]:
        if len(self.delimiter) > 1:
            return line.split(self.delimiter)
        return next(csv.reader([line], delimiter=self.delimiter), [])


Lines = Iterator[tuple[int, str | BadLine]]
Rows = Iterator[tuple[int, Row | BadLine]]


def _split_rows(lines: Lines, delimiter: str) -> Rows:
    for number, line in lines:
        if isinstance(line, BadLine):
            yield number, line
        elif line.strip():
            yield number, line.rstrip("\r\n").split(delimiter)


class _Delimited:
    """Rows of delimited columns; a quote that is never closed costs its own line alone.

    Parameters
    ----------
    lines : iterator
    delimiter : str
        One character. Tab-separated files quote nothing: a quotation mark is part of the text.
    """

    def __init__(self, lines: Lines, delimiter: str) -> None:
        self._lines = lines
        self._options: dict[str, Any] = {"delimiter": delimiter}
        if delimiter == "\t":
            self._options["quoting"] = csv.QUOTE_NONE
        self._pending: deque[tuple[int, str | BadLine]] = deque()
        self._taken: list[tuple[int, str | BadLine]] = []
        self._n_columns = 0

    def rows(self) -> Rows:
        """Yield each row with the number of its first line."""
        reader = csv.reader(self._texts(), **self._options)
        while True:
            self._taken.clear()
            error = ""
            row: list[str] | None = None
            try:
                row = next(reader)
            except StopIteration:
                if not self._taken:
                    return
            except csv.Error as raised:
                error = str(raised)
            taken = self._taken
            if not taken:
                return
            number, last = taken[-1]
            if isinstance(last, BadLine) and len(taken) == 1:
                yield number, last
            elif len(taken) > 1 and (error or row is None or not self._is_whole(row)):
                number = taken[0][0]
                self._pending.extendleft(reversed(taken[1:]))
                yield number, BadLine("a quotation mark that opens a field is never closed")
            elif error or row is None:
                yield taken[0][0], BadLine(error or "the line can't be read")
            else:
                if row:
                    self._n_columns = self._n_columns or len(row)
                    yield taken[0][0], row
                continue
            reader = csv.reader(self._texts(), **self._options)

    def _texts(self) -> Iterator[str]:
        """Yield lines to the parser, and note which ones it took for the row."""
        for entry in chain(iter(self._pop, None), self._lines):
            self._taken.append(entry)
            line = entry[1]
            if isinstance(line, BadLine) or len(self._taken) > MAX_ROW_LINES:
                return
            yield line

    def _pop(self) -> tuple[int, str | BadLine] | None:
        return self._pending.popleft() if self._pending else None

    def _is_whole(self, row: list[str]) -> bool:
        """Whether a row of several lines was meant as one: strictly quoted, with all columns."""
        if len(row) != (self._n_columns or len(row)):
            return False
        try:
            texts = [line for _, line in self._taken if isinstance(line, str)]
            return next(csv.reader(texts, strict=True, **self._options)) == row
        except (csv.Error, StopIteration):
            return False


def _json_rows(lines: Lines) -> Rows:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for number, line in lines:
        if isinstance(line, BadLine):
            yield number, line
            continue
        if not line.strip():
            continue
        try:
            yield number, decode(line)
        except RecursionError:
            yield number, BadLine("expected a JSON object, got one that nests too deep")
        except msgspec.DecodeError as error:
            yield number, _lenient_row(line) or BadLine(str(error))
        except UnicodeError:
            yield (
                number,
                BadLine("expected text in the file's encoding, got other bytes (--encoding)"),
            )


def _lenient_row(line: str) -> dict[str, Any] | None:
    """Return a row with NaN or Infinity, or one written as a Python dict; else ``None``.

    Amazon's metadata of 2014 is Python; pandas writes NaN.
    """
    try:
        row = ast.literal_eval(line.strip()) if line.startswith("{'") else json.loads(line)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return {str(key): value for key, value in row.items()} if isinstance(row, dict) else None


def _guess(suffix: str, first: str) -> str:
    """Return the delimiter that a file's name and first line suggest."""
    if suffix in TAB_SUFFIXES or "\t" in first:
        return "\t"
    if suffix == ".csv":
        return max(",;|", key=first.count)
    for delimiter in ("::", ",", ";", "|", " "):
        if delimiter in first:
            return delimiter
    return ","
