"""Model store: artifacts as blobs by name. The port, and a folder as the default implementation."""

import contextlib
import fcntl
import os
import re
import tempfile
from pathlib import Path
from typing import BinaryIO, Protocol

from recstream.errors import NotFound, StartupError

_WRITING = ".writing-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
GONE = ": it was pruned (setting keep_generations) or deleted; name a newer generation or moment"


class ReadableStore(Protocol):
    """The reading half of a model store."""

    def get(self, name: str) -> bytes:
        """Return the content under a name; raises `NotFound` if there is none."""

    def list(self) -> list[str]:
        """Return all names, sorted."""


class ModelStore(ReadableStore, Protocol):
    """Blobs by name; a name is written once and never changes.

    Methods raise `ModelStoreUnavailable` or `OSError` while the store can't be reached: try again.
    """

    def put(self, name: str, content: bytes) -> None:
        """Store content under a name, durably and as a whole; replace older content."""

    def delete(self, name: str) -> None:
        """Delete a name; nothing happens if it is not there."""

    def stamp(self, name: str) -> str | None:
        """Return a text that changes when the content of a name does; None if there is none."""


class DirectoryStore:
    """A `ModelStore` in a folder, one file per name.

    Raises
    ------
    StartupError
        The folder can't be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened_folder = folder / ".opened"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartupError(
                f"models folder {folder} can't be made: {error}; choose another with --models"
            ) from error

    def put(self, name: str, content: bytes) -> None:
        """Write a temporary file, sync it, rename it: a reader sees the whole file or none."""
        target = self.folder / checked_name(name)
        self._delete_unfinished()
        file, temporary = self._unfinished()
        try:
            with file:
                os.fchmod(file.fileno(), 0o644)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(target)
        except BaseException as error:
            Path(temporary).unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(target)
            raise
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _unfinished(self) -> tuple[BinaryIO, str]:
        """Return a new temporary file that this process has locked, and its path."""
        while True:
            handle, temporary = tempfile.mkstemp(prefix=_WRITING, dir=self.folder)
            file = os.fdopen(handle, "wb")
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if Path(temporary).exists():  # else deleted as unfinished before it was locked
                return file, temporary
            file.close()

    def _delete_unfinished(self) -> None:
        """Delete what processes that were killed left behind: nobody holds its lock."""
        for path in self.folder.glob(f"{_WRITING}*"):
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()

    def get(self, name: str) -> bytes:
        """Return the file's content."""
        try:
            return (self.folder / checked_name(name)).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"no artifact {name!r} in the models folder{GONE}") from None

    def list(self) -> list[str]:
        """Return the names of complete files."""
        return sorted(path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def delete(self, name: str) -> None:
        """Remove the file."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / checked_name(name)).unlink()

    def stamp(self, name: str) -> str | None:
        """Return the file's identity, size and time of modification."""
        try:
            found = (self.folder / checked_name(name)).stat()
        except FileNotFoundError:
            return None
        return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"


def host_folder() -> Path:
    """Return where this host's processes open artifacts of a store that is elsewhere."""
    return Path(tempfile.gettempdir()) / f"recstream-opened-{os.getuid()}"


def checked_name(name: str) -> str:
    """Return a name if it is valid: no folders, no hidden files. Raises `NotFound`."""
    if not _NAME.fullmatch(name):
        raise NotFound(f"an artifact's name is letters, digits, '.', '_' and '-', got {name!r}")
    return name
