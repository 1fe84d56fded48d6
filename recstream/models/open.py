"""Open the store of artifacts or checkpoints that a URL names."""

from pathlib import Path

from recstream.errors import InvalidSetting
from recstream.models.store import DirectoryStore, ModelStore


def open_store(url: str, setting: str = "models") -> ModelStore:
    """Open the store a URL names.

    Parameters
    ----------
    url : str
        ``file:///path``, ``mongodb://host:port/database`` (GridFS), or anything that fsspec opens, like
        ``s3://bucket/path``; that needs the extra ``object-store`` and the scheme's own package.
    setting : str
        For messages, and the bucket of GridFS.

    Raises
    ------
    InvalidSetting
        Another scheme, or a package is missing.
    """
    scheme, found, path = url.partition("://")
    if scheme == "file":
        if not Path(path).is_absolute():
            raise InvalidSetting(f"{setting} must be file:///absolute/path, got {url!r}")
        return DirectoryStore(Path(path))
    if scheme in {"mongodb", "mongodb+srv"}:
        from recstream.models.gridfs import GridFsStore  # noqa: PLC0415 - an extra

        return GridFsStore(url, setting)
    shown = f"{scheme}://{path.rpartition('@')[2]}"
    if not found:
        raise InvalidSetting(
            f"{setting} must be file:///path, mongodb://host:port or s3://bucket/path, got {shown!r}"
        )
    try:
        from recstream.models.object_store import ObjectStore  # noqa: PLC0415 - an extra

        return ObjectStore(url)
    except (ImportError, ValueError) as error:
        raise InvalidSetting(
            f"{setting} can't be opened at {shown!r}: {error}; it must be file:///path, "
            "mongodb://host:port or a scheme of fsspec, which needs recstream[object-store]"
        ) from error
