"""Step 1 of the flow: files of rows, plain or gzipped, delimited or JSON lines, read line by line."""

from __future__ import annotations

import ast
import csv
import gzip
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from recstream.errors import InvalidInput

Row = Sequence[str] | dict[str, Any]
JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
TAB_SUFFIXES = frozenset({".tsv", ".tab"})
PROGRESS_LINES = 2_000
csv.field_size_limit(1 << 20)


class BadLine(NamedTuple):
    """A line that is no row, and why."""

    reason: str


class Source:
    """A file of rows; reading it to the end gives the digest of its content.

    Parameters
    ----------
    path : Path
        Ends in ``.gz`` if it is gzipped.
    delimiter : str, optional
        Default: by the file's name and first line. May be several characters, like ``::``.
    header : bool or None
        Whether the first line names the columns; None: JSON has none, others are taken to have
        one unless ``columns`` are all numbers.
    encoding : str
    on_progress : callable, optional
        Takes the bytes of the file read so far, every few thousand lines.

    Raises
    ------
    InvalidInput
        The file is not there or can't be read.
    """

    def __init__(
        self,
        path: Path,
        *,
        delimiter: str | None = None,
        header: bool = True,
        encoding: str = "utf-8",
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        self.path = path
        self._hash = hashlib.blake2b(digest_size=16)
        self._encoding = encoding
        self._on_progress = on_progress
        first = self._first_line()
        suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
        self.is_json = delimiter is None and (suffix in JSON_SUFFIXES or first.startswith("{"))
        if self.is_json and first.startswith("["):
            raise InvalidInput(
                f"{path} is one JSON array, expected a JSON object a line; "
                "turn it into lines, e.g. with jq -c '.[]'"
            )
        self.delimiter = delimiter or _guess(suffix, first)
        self.has_header = header and not self.is_json
        self.columns: tuple[str, ...] = ()
        if self.has_header:
            self.columns = tuple(name.strip() for name in self._split(first))

    @property
    def digest(self) -> str:
        """Digest of the content read so far."""
        return self._hash.hexdigest()

    def rows(self) -> Iterator[tuple[int, Row | BadLine]]:
        """Yield each row with its line number, the first line being 1; empty lines are left out."""
        lines = self._lines()
        if self.is_json:
            yield from _json_rows(lines)
            return
        rows = self._delimited(lines)
        if self.has_header:
            next(rows, None)
        yield from rows

    def _delimited(self, lines: Iterator[str]) -> Iterator[tuple[int, Row | BadLine]]:
        if len(self.delimiter) > 1:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n").split(self.delimiter)
            return
        # Tab-separated files quote nothing: a lone quotation mark there is part of a title.
        if self.delimiter == "\t":
            reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(lines, delimiter=self.delimiter)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, BadLine(str(error))
                continue
            if row:
                yield reader.line_num, row

    def _split(self, line: str) -> list[str]:
        if len(self.delimiter) > 1:
            return line.split(self.delimiter)
        return next(csv.reader([line], delimiter=self.delimiter), [])

    def _first_line(self) -> str:
        with self._open() as (file, _):
            line = file.readline(1 << 20)
        return line.decode(self._encoding, errors="surrogateescape").lstrip("\ufeff").strip("\r\n")

    def _lines(self) -> Iterator[str]:
        """Yield lines; bytes that are no text become surrogates, which no name may hold."""
        with self._open() as (file, raw):
            for number, line in enumerate(file):
                self._hash.update(line)
                text = line.decode(self._encoding, errors="surrogateescape")
                yield text.lstrip("\ufeff") if number == 0 else text
                if self._on_progress is not None and number % PROGRESS_LINES == 0:
                    self._on_progress(raw.tell())
            if self._on_progress is not None:
                self._on_progress(raw.tell())

    def _open(self) -> _Opened:
        return _Opened(self.path)


class _Opened:
    """A file open for reading, unzipped if need be; what goes wrong says which file it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: list[BinaryIO] = []

    def __enter__(self) -> tuple[BinaryIO, BinaryIO]:
        try:
            raw: BinaryIO = self._path.open("rb")
        except OSError as error:
            raise InvalidInput(f"{self._path} can't be read: {error.strerror}") from error
        self._files.append(raw)
        if self._path.suffix == ".gz":
            unzipped: Any = gzip.GzipFile(fileobj=raw)
            self._files.append(unzipped)
        return self._files[-1], raw

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        for file in reversed(self._files):
            file.close()
        if isinstance(error, gzip.BadGzipFile | EOFError):
            raise InvalidInput(f"{self._path} is cut off or not gzipped: {error}") from error


def _json_rows(lines: Iterator[str]) -> Iterator[tuple[int, Row | BadLine]]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, decode(line)
        except (msgspec.DecodeError, UnicodeError) as error:
            yield number, _python_row(line) or BadLine(str(error))


def _python_row(line: str) -> dict[str, Any] | None:
    """Return a row written as a Python dict, as in Amazon's metadata of 2014; ``None`` if it is none."""
    if not line.startswith("{'"):
        return None
    try:
        row = ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _guess(suffix: str, first: str) -> str:
    """Return the delimiter that a file's name and first line suggest."""
    if suffix in TAB_SUFFIXES or "\t" in first:
        return "\t"
    if suffix == ".csv":
        return ";" if first.count(";") > first.count(",") else ","
    for delimiter in ("::", ",", ";", "|", " "):
        if delimiter in first:
            return delimiter
    return ","
