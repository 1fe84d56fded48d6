"""`InputFile`: a file or pipe opened as text lines: compression, encoding, bounded lines, digest.

The first bytes tell the format, not the name. What is no text (Parquet, Excel, other binary files)
is refused with advice. A pipe is copied to a temporary file once, so that it can be read twice.
"""

import bz2
import codecs
import gzip
import hashlib
import io
import lzma
import os
import re
import weakref
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from recstream.errors import InvalidInput
from recstream.importers.files.formats import (
    compression_of,
    is_feed,
    is_parquet,
    why_binary,
    why_no_text,
)
from recstream.importers.files.pipe import STANDARD_INPUT, spool
from recstream.importers.files.to_json_lines import converted, spooled_lines

MAX_LINE_BYTES = 4 << 20
"""A longer line is skipped and reported; it is never held in memory."""
PROGRESS_LINES = 2_000
_CHUNK_BYTES = 1 << 18
_SNIFF_BYTES = 4096
_DAMAGED = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ZIP_ENCRYPTED = 1
_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zip", ".lzma"})


class BadLine(NamedTuple):
    """A line that is no row, and why."""

    reason: str


class InputFile:
    """A file of text lines.

    Parameters
    ----------
    path : Path
        A file or a pipe, ``-`` being standard input; plain, or compressed by gzip, bzip2, xz or
        lzma, or a zip archive of one file. A Parquet file or a product feed in XML is read as JSON
        lines.
    encoding : str, optional
        Default: by the byte order mark, else UTF-8. A Parquet file and a feed have their own.
    on_progress : callable, optional
        Called with the bytes of the file read so far, every few thousand lines.
    content : binary file, optional
        JSON lines to read instead; the path is only their name.

    Attributes
    ----------
    is_converted : bool
        Whether it was no text, and is read as JSON lines.
    suffix : str
        The name's ending, without that of the compression.

    Raises
    ------
    InvalidInput
        The file is missing, empty, unreadable or no text, or the encoding is unknown.
    """

    def __init__(
        self,
        path: Path,
        *,
        encoding: str | None = None,
        on_progress: Callable[[int], None] | None = None,
        content: BinaryIO | None = None,
    ) -> None:
        self.path = STANDARD_INPUT if str(path) == "-" else path
        self._on_progress = on_progress
        try:
            self._spooled = spool(self.path) if content is None else content
            self._size = -1 if self._spooled is not None else self.path.stat().st_size
        except OSError as error:
            raise self._unreadable(error) from error
        if self._spooled is not None:
            weakref.finalize(self, self._spooled.close)
        self._digest = ""
        self._compression = ""
        self._is_ascii_superset = True
        self._has_only_carriage_returns = False
        self.encoding = ""
        self._compression = self._sniff_compression()
        start = self._start()
        self.is_converted = content is not None or is_parquet(start) or is_feed(start)
        if self.is_converted and content is None:
            self._convert(start)
            encoding, start = None, self._start()
        if not start:
            raise InvalidInput(f"{self.path} is empty; expected rows of text")
        if why := why_binary(start):
            raise InvalidInput(f"{self.path} {why}")
        self.encoding = self._checked_encoding(encoding, start)
        self._is_ascii_superset = _is_ascii_superset(self.encoding)
        self._has_only_carriage_returns = b"\r" in start[:-1] and b"\n" not in start
        if self._is_ascii_superset and (why := why_no_text(start, self.encoding)):
            raise InvalidInput(f"{self.path} {why}")
        name = path.with_suffix("") if path.suffix.lower() in _SUFFIXES else path
        self.suffix = ".jsonl" if self.is_converted else name.suffix.lower()

    @property
    def digest(self) -> str:
        """Digest of the uncompressed bytes; reads the file to its end unless it was read before."""
        if not self._digest:
            for _ in self.lines():
                pass
        return self._digest

    def lines(self) -> Iterator[tuple[int, str | BadLine]]:
        """Yield each line with its number, the first being 1.

        Bytes that can't be decoded become surrogates (U+DC80 to U+DCFF), which no id may contain.
        """
        hasher = hashlib.blake2b(digest_size=16)
        with self._open() as (file, raw):
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                hasher.update(line)
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    while not line.endswith(b"\n") and (line := file.readline(_CHUNK_BYTES)):
                        hasher.update(line)
                        self._require_unchanged(raw)
                    yield number, BadLine(f"the line is longer than {MAX_LINE_BYTES >> 20} MiB")
                    continue
                for part in _at_carriage_returns(line):
                    text = self._decode(part)
                    yield number, text.removeprefix("\ufeff") if number == 1 else text
                    number += 1
                number -= 1
                if number % PROGRESS_LINES == 0:
                    self._require_unchanged(raw)
                    if self._on_progress is not None:
                        self._on_progress(raw.tell())
            self._require_unchanged(raw)
            if self._on_progress is not None:
                self._on_progress(raw.tell())
        self._digest = hasher.hexdigest()

    def _require_unchanged(self, raw: BinaryIO) -> None:
        """Refuse a file that grows: its rows and its digest must be of the same bytes."""
        if self._spooled is None and os.fstat(raw.fileno()).st_size != self._size:
            raise InvalidInput(
                f"{self.path} had {self._size:,} bytes and changes while it is read; import it "
                "when it is whole, or import a copy"
            )

    def is_utf8(self) -> bool:
        """Whether the whole file is valid UTF-8."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        with self._open() as (file, _):
            try:
                while chunk := file.read(_CHUNK_BYTES):
                    decoder.decode(chunk)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                return False
        return True

    def _decode(self, line: bytes) -> str:
        if not self._is_ascii_superset:
            return line.decode()  # transcoded to UTF-8 on opening
        try:
            return line.decode(self.encoding, errors="surrogateescape")
        except UnicodeError:
            return line.decode("ascii", errors="surrogateescape")

    def _convert(self, start: bytes) -> None:
        """Replace a Parquet file or an XML feed, which may be compressed, by JSON lines."""
        with self._raw() as raw:
            n_bytes = os.fstat(raw.fileno()).st_size
        name = str(self.path)
        if self._compression:
            with self._open() as (file, _):
                chunks = iter(lambda: file.read(_CHUNK_BYTES), b"")
                unpacked = spooled_lines(chunks, name, n_bytes)
            self._replace_by(unpacked)
        with self._raw() as raw:
            found = converted(raw, name, n_bytes, is_table=is_parquet(start))
        self._replace_by(found)

    def _replace_by(self, spooled: BinaryIO) -> None:
        """Read a temporary file in place of what was read so far."""
        if self._spooled is not None:
            self._spooled.close()
        self._spooled, self._compression = spooled, ""
        weakref.finalize(self, spooled.close)

    def _raw(self) -> BinaryIO:
        if self._spooled is not None:
            self._spooled.seek(0)
            return io.FileIO(self._spooled.fileno(), closefd=False)
        try:
            return self.path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from error

    @contextmanager
    def _open(self) -> Generator[tuple[BinaryIO, BinaryIO], None, None]:
        """Yield the uncompressed stream in an ASCII superset, and the raw file."""
        with self._raw() as raw:
            try:
                file = self._uncompressed(raw)
                if not self._is_ascii_superset:
                    file = cast("BinaryIO", io.BufferedReader(_Transcoded(file, self.encoding)))
                elif self._has_only_carriage_returns:
                    file = cast("BinaryIO", io.BufferedReader(_CarriageReturns(file)))
                yield file, raw
            except UnicodeError as error:
                raise InvalidInput(
                    f"{self.path} is not valid {self.encoding}: {error}; name its encoding with "
                    "--encoding"
                ) from error
            except InvalidInput:
                raise
            except _DAMAGED as error:
                if not self._compression:
                    raise
                raise InvalidInput(
                    f"{self.path} is cut off or damaged ({self._compression}): {error}"
                ) from error

    def _uncompressed(self, raw: BinaryIO) -> BinaryIO:
        if self._compression == "gzip":
            return cast("BinaryIO", gzip.GzipFile(fileobj=raw))
        if self._compression == "bzip2":
            return cast("BinaryIO", bz2.BZ2File(raw))
        if self._compression in {"xz", "lzma"}:
            return cast("BinaryIO", lzma.LZMAFile(raw))
        if self._compression == "zip":
            return self._zip_member(raw)
        return cast("BinaryIO", io.BufferedReader(raw)) if isinstance(raw, io.RawIOBase) else raw

    def _zip_member(self, raw: BinaryIO) -> BinaryIO:
        archive = zipfile.ZipFile(raw)
        members = [member for member in archive.infolist() if not member.is_dir()]
        names = [member.filename for member in members]
        shown = [member for member in members if not _is_hidden(member.filename)]
        members = shown or members
        if "[Content_Types].xml" in names:
            raise InvalidInput(f"{self.path} is an Excel or Office file; save the table as CSV")
        if len(members) != 1:
            listed = ", ".join(member.filename for member in members[:5]) or "none"
            raise InvalidInput(
                f"{self.path} must be an archive of one file, got {len(members)} ({listed}); "
                "unpack it and name the file"
            )
        if members[0].flag_bits & _ZIP_ENCRYPTED:
            raise InvalidInput(
                f"{self.path} is encrypted; unpack it with its password and name the file"
            )
        return cast("BinaryIO", archive.open(members[0]))

    def _sniff_compression(self) -> str:
        with self._raw() as raw:
            try:
                start = raw.read(8)
            except OSError as error:
                raise self._unreadable(error) from error
        return compression_of(start)

    def _start(self) -> bytes:
        with self._open() as (file, _):
            return file.read(_SNIFF_BYTES)

    def _checked_encoding(self, encoding: str | None, start: bytes) -> str:
        if encoding is None:
            return next((name for bom, name in _BOMS if start.startswith(bom)), "utf-8")
        try:
            name = codecs.lookup(encoding).name
            "user,item\n".encode(name).decode(name)
        except (LookupError, UnicodeError, ValueError, TypeError) as error:
            raise InvalidInput(
                f"--encoding must be a text encoding like utf-8, latin-1, cp1252 or utf-16, got "
                f"{encoding!r}"
            ) from error
        return name

    def _unreadable(self, error: OSError) -> InvalidInput:
        return InvalidInput(f"{self.path} can't be read: {error.strerror or error}")


def _at_carriage_returns(line: bytes) -> list[bytes]:
    """Return the parts of a line with carriage returns in it: line ends of another system."""
    if b"\r" not in line[:-2]:
        return [line]
    return [part for part in re.split(rb"(?<=\r)(?!\n)", line) if part]


def _is_hidden(name: str) -> bool:
    """Whether a member of an archive is a system's own, such as macOS's resource forks."""
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")


class _CarriageReturns(io.RawIOBase):
    """A stream whose lines end with a carriage return alone, with line feeds instead."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._file.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(chunk)] = chunk
        return len(chunk)


class _Transcoded(io.RawIOBase):
    """A stream in UTF-16, UTF-32 or another encoding without ASCII's line ends, as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = self._file.read(_CHUNK_BYTES)
            self._rest = self._decoder.decode(chunk, final=not chunk).encode()
            if not chunk:
                break
        part = self._rest[: len(buffer)]
        self._rest = self._rest[len(part) :]
        buffer[: len(part)] = part
        return len(part)


def _is_ascii_superset(encoding: str) -> bool:
    try:
        return 'u,"1\n'.encode(encoding).removeprefix(codecs.BOM_UTF8) == b'u,"1\n'
    except UnicodeError:
        return False
