"""SQLite file of the embedded log: schema, connections, transactions, errors.

``segments`` has one row for each packed batch of records. Its key is partition and base offset in
one integer, so that reading on is one range scan. ``heads`` has the earliest and the next offset of
every partition.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from ulid import ULID

from recstream.errors import LogCorrupt, LogError, LogUnavailable

T = TypeVar("T")
Sync = Literal["full", "normal"]

APPLICATION_ID = 0x72656373
FORMAT = 1
OFFSET_BITS = 44
"""A segment's key is ``head << OFFSET_BITS | base offset``: 1.7e13 records a partition."""
PAGE_SIZE = 8192
CHECKPOINT_PAGES = 2048
_SQLITE_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_RETRY_S = 0.0003
_open_mutex = threading.Lock()
_open_files: Counter[tuple[int, int]] = Counter()
"""How often this process has each file open, by device and inode."""

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE topics (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL,
    compacted INTEGER NOT NULL, retention_ms INTEGER
);
CREATE TABLE heads (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    low INTEGER NOT NULL, next INTEGER NOT NULL, cleaned INTEGER NOT NULL,
    UNIQUE (topic, partition)
);
CREATE TABLE segments (
    id INTEGER PRIMARY KEY, next INTEGER NOT NULL, count INTEGER NOT NULL,
    max_ts INTEGER NOT NULL, appended_ms INTEGER NOT NULL, size INTEGER NOT NULL,
    crc INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE TABLE offsets (
    grp TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY (grp, topic, partition)
) WITHOUT ROWID;
CREATE TABLE groups (
    name TEXT PRIMARY KEY, generation INTEGER NOT NULL, is_settled INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE members (
    grp TEXT NOT NULL, id TEXT NOT NULL, joined INTEGER NOT NULL, generation INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL, process TEXT NOT NULL, metadata BLOB NOT NULL,
    assignment BLOB NOT NULL, PRIMARY KEY (grp, id)
) WITHOUT ROWID;
CREATE TABLE owners (
    grp TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, member TEXT NOT NULL,
    PRIMARY KEY (grp, topic, partition)
) WITHOUT ROWID;
"""


class Head(NamedTuple):
    """A partition's row: its id, the earliest offset kept and the next offset."""

    id: int
    low: int
    next: int

    def key(self, offset: int) -> int:
        """Return the segment key of an offset of this partition."""
        return self.id << OFFSET_BITS | offset


class Storage:
    """Connections to one file: any number of readers, one writer at a time.

    Parameters
    ----------
    path : Path
        Created if missing, at once with its schema: no process ever sees an empty file.
    sync : {"full", "normal"}
        Whether a commit waits for the disk (survives a power cut) or for the operating system
        only (survives a killed process).
    busy_timeout_s : float
        How long a writer waits for the writers of other processes.

    Raises
    ------
    LogUnavailable
        The file or its folder can't be created, opened or written.
    LogCorrupt
        The file is empty, damaged or no recstream log. It is left as it is.
    """

    def __init__(self, path: Path, *, sync: Sync = "full", busy_timeout_s: float = 15.0) -> None:
        self.path = path
        self.sync = sync
        self.busy_timeout_s = busy_timeout_s
        self._idle: deque[sqlite3.Connection] = deque()
        self._closed = False
        self._file_id = (0, 0)
        with self.translate_errors():
            # While several processes open a new file, any statement may find it locked.
            self._writer, self.epoch = _retry_while_locked(self._open, busy_timeout_s)

    def _open(self) -> tuple[sqlite3.Connection, str]:
        """Return the writing connection and the log's epoch; create the file if it is missing."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                self._create()
            header, size = self._read_header()
            wal = self.path.with_name(f"{self.path.name}-wal")
            has_wal = wal.exists() and wal.stat().st_size > 0
        except OSError as error:
            raise LogUnavailable(
                f"the log {self.path} can't be opened: {error}; name a folder that may be written"
            ) from error
        # SQLite itself would take a file of a few bytes for a new database and overwrite it.
        expected = 0 if header is None else _expected_size(header)
        found = ""
        if header is None:
            pass  # this process has checked it
        elif not header:
            found = "is empty (0 bytes)"
        elif not header.startswith(_SQLITE_MAGIC):
            found = "is not an SQLite file"
        elif size < expected and not has_wal:
            found = f"is cut off ({size:,} of {expected:,} bytes)"
        if found:
            raise LogCorrupt(
                f"the log {self.path} {found}, so records are lost; restore it from a backup, or "
                "move it away to start a new log"
            )
        connection = self._connect(wait_s=0.0)
        try:
            epoch = self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        with _open_mutex:
            _open_files[self._file_id] += 1
        return connection, epoch

    def _read_header(self) -> tuple[bytes | None, int]:
        """Return the file's header and size; no header while this process has the file open already.

        Closing any descriptor of a file releases all locks that the process has on it (POSIX). SQLite in
        another process would then take itself for the last one, and delete the write-ahead log.
        """
        status = self.path.stat()
        with _open_mutex:
            self._file_id = status.st_dev, status.st_ino
            if _open_files[self._file_id]:
                return None, status.st_size
            with self.path.open("rb") as file:
                return file.read(_HEADER_BYTES), status.st_size

    def _create(self) -> None:
        """Create the file with its schema under another name, then link it into place."""
        wal = self.path.with_name(f"{self.path.name}-wal")
        if wal.exists() and wal.stat().st_size:
            raise LogCorrupt(
                f"the log {self.path} is missing, but its write-ahead log {wal.name} has records; "
                f"restore the log next to it, or move {wal.name} away to start a new log"
            )
        new = self.path.with_name(f"{self.path.name}-new-{os.getpid()}-{threading.get_ident()}")
        new.unlink(missing_ok=True)
        try:
            connection = sqlite3.connect(new, isolation_level=None)
            try:
                connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
                connection.execute("BEGIN")
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={FORMAT}")
                connection.execute("INSERT INTO meta VALUES ('epoch', ?)", (str(ULID()),))
                connection.execute("COMMIT")
            finally:
                connection.close()
            with contextlib.suppress(FileExistsError):  # another process was first: its file counts
                os.link(new, self.path)
        finally:
            new.unlink(missing_ok=True)

    def _connect(self, wait_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=wait_s,
        )
        connection.execute(f"PRAGMA synchronous={self.sync}")
        connection.execute("PRAGMA cache_size=-8192")
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> str:
        """Turn the write-ahead log on, check the file's format, return the epoch."""
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise LogUnavailable(
                f"the log {self.path} can't use a write-ahead log (mode {mode}); "
                "keep it on a local disk"
            )
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise LogCorrupt(
                f"{self.path} is an SQLite file but not a recstream log; name another path"
            )
        if form != FORMAT:
            raise LogCorrupt(
                f"the log {self.path} has format {form}, this version reads format {FORMAT}; "
                "use the version that wrote it"
            )
        (epoch,) = connection.execute("SELECT value FROM meta WHERE name='epoch'").fetchone()
        return str(epoch)

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection, None, None]:
        """Yield a connection that sees one snapshot of the file throughout the block."""
        with self.translate_errors():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect(wait_s=self.busy_timeout_s)
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
                if self._closed:
                    connection.close()
                else:
                    self._idle.append(connection)

    @contextmanager
    def write(self) -> Generator[sqlite3.Connection, None, None]:
        """Yield the writing connection in a transaction; the caller holds `EmbeddedLog.write_mutex`."""
        with self.translate_errors():
            connection = self._writer
            # Retries sooner than SQLite's own busy handler, which waits up to 100 ms.
            _retry_while_locked(lambda: connection.execute("BEGIN IMMEDIATE"), self.busy_timeout_s)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def translate_errors(self) -> Generator[None, None, None]:
        """Raise SQLite's errors as `LogError`."""
        if self._closed:
            raise LogUnavailable(f"the log {self.path} was closed by this process; open it again")
        try:
            yield
        except sqlite3.Error as error:
            raise self._translate(error) from error

    def _translate(self, error: sqlite3.Error) -> LogError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        advice = {
            sqlite3.SQLITE_FULL: "free some space on the disk and try again",
            sqlite3.SQLITE_READONLY: "make the file and its folder writable",
            sqlite3.SQLITE_CANTOPEN: "check that the folder exists and may be written",
            sqlite3.SQLITE_BUSY: "another process has locked the log; find and stop it",
            sqlite3.SQLITE_IOERR: "check the disk",
            sqlite3.SQLITE_PERM: "make the file and its folder writable",
        }
        if code in advice:
            return LogUnavailable(f"the log {self.path}: {error}; {advice[code]}")
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return LogCorrupt(
                f"the log {self.path} can't be read: {error}; restore it from a backup, "
                "or move it away to start a new log"
            )
        return LogUnavailable(f"the log {self.path}: {error}")

    def copy_to(self, path: Path) -> None:
        """Copy the file as of one moment to a new path, without free pages; writers continue."""
        with self.translate_errors():
            connection = self._connect(wait_s=self.busy_timeout_s)
            try:
                connection.execute("VACUUM INTO ?", (str(path),))
            except sqlite3.Error as error:
                if error.sqlite_errorcode in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}:
                    raise LogUnavailable(
                        f"the copy {path}: {error}; free some space on its disk and try again"
                    ) from error
                raise
            finally:
                connection.close()

    def start_epoch(self, epoch: str) -> None:
        """Make the file a log of a new epoch, without members of groups; open it again afterwards."""
        with self.write() as connection:
            connection.execute("UPDATE meta SET value=? WHERE name='epoch'", (epoch,))
            for table in ("members", "owners", "groups"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names

    @contextmanager
    def write_alone(self) -> Generator[sqlite3.Connection, None, None]:
        """Yield another connection in a transaction: no process writes meanwhile."""
        with self.translate_errors():
            connection = self._connect(wait_s=self.busy_timeout_s)
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, and truncate it if no reader needs it."""
        with self.translate_errors():
            connection = self._connect(wait_s=0.0)
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.close()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they are returned."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
        self._writer.close()
        with _open_mutex:
            _open_files[self._file_id] -= 1


def _expected_size(header: bytes) -> int:
    """Return the size that an SQLite file's header says; 0 where it does not say."""
    if len(header) < _HEADER_BYTES or header[24:28] != header[92:96]:
        return 0
    page_size = int.from_bytes(header[16:18], "big")
    return int.from_bytes(header[28:32], "big") * (page_size if page_size > 1 else 1 << 16)


def _retry_while_locked(attempt: Callable[[], T], timeout_s: float) -> T:
    """Call a function, again while the file is locked; return its result."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            locked = (error.sqlite_errorcode & 0xFF) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            if not locked or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_S)
