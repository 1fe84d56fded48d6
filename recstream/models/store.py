"""Step 6 of the flow: where artifacts are kept, a tiny port; and a generation ↔ a checked ``.npz``.

An artifact is one file of named arrays and a digest of them, read with ``allow_pickle=False``:
nothing in it is executed. The log carries its name and digest, never its bytes.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from recstream.core.generation import Generation
from recstream.core.numeric.array_codec import read_arrays, write_arrays
from recstream.errors import ArtifactCorrupt, InvalidSetting, NotFound, StartupError

if TYPE_CHECKING:
    from recstream.core.records import GenerationAnnounced

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ReadableStore(Protocol):
    """Blobs by name, for reading."""

    def get(self, name: str) -> bytes:
        """Return a content; raises `NotFound` if there is none of that name."""

    def list(self) -> list[str]:
        """Return all names, sorted."""


class ModelStore(ReadableStore, Protocol):
    """Blobs by name; a name is written once and never changes."""

    def put(self, name: str, content: bytes) -> None:
        """Keep content under a name: all of it durably, or nothing. An old content is replaced."""

    def delete(self, name: str) -> None:
        """Forget a name; nothing happens if it is not there."""


class DirectoryStore:
    """A `ModelStore` in a folder, one file a name.

    Raises
    ------
    StartupError
        The folder can't be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartupError(
                f"models folder {folder} can't be made: {error}; choose another with --models"
            ) from error

    def put(self, name: str, content: bytes) -> None:
        """Write a temporary file, sync it, rename it: a reader sees the whole file or none."""
        target = self.folder / checked_name(name)
        handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=self.folder)
        try:
            os.fchmod(handle, 0o644)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def get(self, name: str) -> bytes:
        """Return the file's content."""
        try:
            return (self.folder / checked_name(name)).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"no artifact {name!r} in {self.folder}") from None

    def list(self) -> list[str]:
        """Return the names of the files that are whole."""
        return sorted(path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def delete(self, name: str) -> None:
        """Remove the file."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / checked_name(name)).unlink()


def checked_name(name: str) -> str:
    """Return an artifact's name if it can be one: no folders, no hidden files."""
    if not _NAME.fullmatch(name):
        raise NotFound(f"an artifact's name is letters, digits, '.', '_' and '-', got {name!r}")
    return name


def open_store(url: str) -> ModelStore:
    """Open the store a URL names: ``file:///path`` or ``mongodb://host:port/database``.

    Raises
    ------
    InvalidSetting
        Another scheme.
    """
    scheme, _, path = url.partition("://")
    if scheme == "file":
        return DirectoryStore(Path(path))
    if scheme in {"mongodb", "mongodb+srv"}:
        from recstream.models.gridfs import GridFsStore  # noqa: PLC0415 - an extra

        return GridFsStore(url)
    shown = f"{scheme}://{path.rpartition('@')[2]}"
    raise InvalidSetting(f"models must be file:///path or mongodb://host:port, got {shown!r}")


def artifact_name(generation: int, content_digest: str) -> str:
    """Return the name of a generation's artifact.

    >>> artifact_name(7, "0123456789abcdef")
    'generation-000007-01234567.npz'
    """
    return f"generation-{generation:06d}-{content_digest[:8]}.npz"


def generation_names(store: ReadableStore, number: int) -> list[str]:
    """Return the names of the artifacts that are kept of a generation: one, but after a crash."""
    prefix = artifact_name(number, "").partition(".")[0]
    return [name for name in store.list() if name.startswith(prefix)]


def pack(generation: Generation) -> tuple[str, bytes]:
    """Return a generation's (digest, artifact bytes)."""
    buffer = io.BytesIO()
    content_digest = write_arrays(buffer, generation.arrays())
    return content_digest, buffer.getvalue()


def unpack(content: bytes, name: str, expected_digest: str | None = None) -> Generation:
    """Return the generation in an artifact; see `unpack_with_digest`."""
    return unpack_with_digest(content, name, expected_digest)[1]


def unpack_with_digest(
    content: bytes, name: str, expected_digest: str | None = None
) -> tuple[str, Generation]:
    """Return an artifact's (digest, generation).

    Parameters
    ----------
    content : bytes
    name : str
        For the error.
    expected_digest : str, optional
        What the find_announcement says.

    Raises
    ------
    ArtifactCorrupt
        Not an artifact, or not the one that was announced.
    """
    actual, named = read_arrays(io.BytesIO(content), name, expected_digest)
    try:
        return actual, Generation.from_arrays(named)
    except ArtifactCorrupt as error:
        raise ArtifactCorrupt(f"{name}: {error}") from error


def fetch(store: ReadableStore, announced: GenerationAnnounced) -> Generation:
    """Return the generation that an find_announcement names, checked against it.

    Raises
    ------
    NotFound
        The artifact is gone (pruned).
    ArtifactCorrupt
        It is not what was announced.
    """
    generation = unpack(store.get(announced.artifact), announced.artifact, announced.digest)
    if generation.number != announced.generation:
        raise ArtifactCorrupt(
            f"{announced.artifact} must hold generation {announced.generation}, "
            f"got {generation.number}"
        )
    return generation


def prune(store: ModelStore, keep: int) -> list[str]:
    """Delete all but the ``keep`` newest generations' artifacts and return the names deleted."""
    names = [name for name in store.list() if name.startswith("generation-")]
    old = names[:-keep] if keep else names
    for name in old:
        store.delete(name)
    return old
