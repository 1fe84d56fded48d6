"""Model store in MongoDB's GridFS, for several machines."""

import builtins
from collections.abc import Callable
from typing import Any, TypeVar

import pymongo
from gridfs import GridFSBucket
from gridfs.errors import CorruptGridFile, NoFile
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, InvalidURI, PyMongoError

from recstream.errors import InvalidSetting, ModelStoreUnavailable, NotFound
from recstream.models.store import GONE, checked_name, host_folder

T = TypeVar("T")

BUCKET = "models"
_OPTIONS: dict[str, Any] = {
    "timeoutMS": 30_000,
    "serverSelectionTimeoutMS": 3_000,
    "appname": "recstream",
}
LOOK_S = 3.0
"""Longest wait for what is not an artifact's content: a trainer that looks must keep its lease."""


class GridFsStore:
    """A `recstream.models.store.ModelStore` in MongoDB: one GridFS file per name.

    A file is visible once it is complete. While the server is away, calls fail within seconds.

    Parameters
    ----------
    url : str
        ``mongodb://[user:password@]host[:port][/database]``; without a database, ``recstream``.

    Raises
    ------
    InvalidSetting
        The URL is not valid.
    """

    def __init__(self, url: str, bucket: str = BUCKET) -> None:
        self.opened_folder = host_folder()
        try:
            given = pymongo.uri_parser.parse_uri(url, warn=False)
            names = {name.lower() for name in given["options"]}
            options = {name: value for name, value in _OPTIONS.items() if name.lower() not in names}
            self._client: MongoClient[dict[str, Any]] = MongoClient(url, **options)
            database = self._client.get_default_database("recstream")
        except (InvalidURI, ConfigurationError, ValueError) as error:
            message = f"models must be mongodb://[user:password@]host[:port][/database]: {error}"
            raise InvalidSetting(message) from error
        self._where = ", ".join(f"{host}:{port}" for host, port in given["nodelist"])
        self._bucket = GridFSBucket(database, bucket_name=bucket)

    def put(self, name: str, content: bytes) -> None:
        """Upload under a name, then delete its older content."""
        checked_name(name)

        def put() -> None:
            newest = self._bucket.upload_from_stream(name, content)
            self._delete(name, but=newest)

        self._trying("writing", put)

    def get(self, name: str) -> bytes:
        """Return the newest content of a name."""

        def get() -> bytes:
            content: bytes = self._bucket.open_download_stream_by_name(checked_name(name)).read()
            return content

        try:
            return self._trying("reading", get)
        except NoFile:
            raise NotFound(f"no artifact {name!r} in MongoDB at {self._where}{GONE}") from None
        except CorruptGridFile as error:  # it is damaged, and waiting does not mend it
            message = f"artifact {name!r} in MongoDB at {self._where} can't be read: {error}"
            raise NotFound(message) from error

    def list(self) -> list[str]:
        """Return the names of complete files."""
        return sorted({file.filename for file in self._look({})})

    def delete(self, name: str) -> None:
        """Delete all contents of a name."""
        self._trying("deleting", lambda: self._delete(checked_name(name)))

    def stamp(self, name: str) -> str | None:
        """Return the ids and sizes of the files of a name."""
        files = self._look({"filename": checked_name(name)})
        return " ".join(sorted(f"{file._id} {file.length}" for file in files)) or None  # noqa: SLF001

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _look(self, query: dict[str, Any]) -> builtins.list[Any]:
        with pymongo.timeout(LOOK_S):
            return self._trying("listing", lambda: list(self._bucket.find(query)))

    def _delete(self, name: str, but: object = None) -> None:
        for file in self._bucket.find({"filename": name}):
            if file._id != but:  # noqa: SLF001 - GridFS's own spelling of the id
                self._bucket.delete(file._id)  # noqa: SLF001

    def _trying(self, doing: str, operation: Callable[[], T]) -> T:
        """Call an operation; its errors mean that the store is away."""
        try:
            return operation()
        except (NoFile, CorruptGridFile):
            raise
        except PyMongoError as error:
            text = str(error).partition("\n")[0].partition(", full error:")[0][:300]
            raise ModelStoreUnavailable(
                f"the models in MongoDB at {self._where}, {doing}: {text}; check that it runs"
                " and what user and password of the models setting may do"
            ) from error
