"""Store in anything that fsspec opens: S3, Google Cloud Storage, Azure, SFTP, memory."""

import builtins
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import fsspec

from recstream.errors import ModelStoreUnavailable, NotFound
from recstream.models.store import GONE, checked_name, host_folder

T = TypeVar("T")

_STAMP_KEYS = ("size", "mtime", "LastModified", "ETag", "etag", "created", "updated")


class ObjectStore:
    """A `recstream.models.store.ModelStore` under one prefix of an object store.

    An upload is visible as a whole or not at all, as object stores do it; readers check digests.

    Parameters
    ----------
    url : str
        As fsspec reads it; credentials come from the environment, as the scheme's package documents.

    Raises
    ------
    ValueError
        An unknown scheme.
    ImportError
        The scheme's package is missing.
    """

    def __init__(self, url: str) -> None:
        scheme, _, path = url.partition("://")
        fsspec.get_filesystem_class(scheme)
        self._url = url
        self.opened_folder = host_folder()
        self._where = f"{scheme}://{path.rpartition('@')[2]}"

    def put(self, name: str, content: bytes) -> None:
        """Upload under a name."""
        checked_name(name)

        def put(files: Any, root: str) -> None:
            files.makedirs(root, exist_ok=True)
            files.pipe_file(f"{root}/{name}", content)

        self._trying("writing", put)

    def get(self, name: str) -> bytes:
        """Return the content of a name."""
        checked_name(name)
        try:
            return self._trying(
                "reading", lambda files, root: bytes(files.cat_file(f"{root}/{name}"))
            )
        except FileNotFoundError:
            raise NotFound(f"no artifact {name!r} in {self._where}{GONE}") from None

    def list(self) -> list[str]:
        """Return all names, sorted."""

        def names(files: Any, root: str) -> builtins.list[str]:
            files.invalidate_cache()
            found = files.ls(root, detail=False)
            return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

        try:
            return self._trying("listing", names)
        except FileNotFoundError:
            return []

    def delete(self, name: str) -> None:
        """Delete a name; nothing happens if it is not there."""
        checked_name(name)
        with contextlib.suppress(FileNotFoundError):
            self._trying("deleting", lambda files, root: files.rm_file(f"{root}/{name}"))

    def stamp(self, name: str) -> str | None:
        """Return what the store says of an object: its size, time and tag."""
        checked_name(name)

        def info(files: Any, root: str) -> str:
            files.invalidate_cache()
            found = files.info(f"{root}/{name}")
            return " ".join(f"{found.get(key)}" for key in _STAMP_KEYS)

        try:
            return self._trying("listing", info)
        except FileNotFoundError:
            return None

    def _trying(self, doing: str, operation: Callable[[Any, str], T]) -> T:
        """Call an operation with the files and the prefix; other errors mean that the store is away."""
        try:
            files, root = fsspec.core.url_to_fs(self._url)
            return operation(files, str(root).rstrip("/"))
        except FileNotFoundError:
            raise
        except Exception as error:  # each scheme's package has errors of its own
            raise ModelStoreUnavailable(
                f"the store {self._where}, {doing}: {error}; check that it can be reached, and what "
                "its credentials may do"
            ) from error
