"""Open the model store that a URL names."""

from __future__ import annotations

from pathlib import Path

from recstream.errors import InvalidSetting
from recstream.models.store import DirectoryStore, ModelStore


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
