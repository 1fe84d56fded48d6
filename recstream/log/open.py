"""`open_log`: open the event log that a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from recstream.errors import InvalidSetting

if TYPE_CHECKING:
    from recstream.log.port import EventLog
    from recstream.settings import Settings


def open_log(url: str, settings: Settings | None = None) -> EventLog:
    """Open the log that a URL names: ``embedded:///path/to/log.db`` or ``kafka://host:port``.

    ``embedded:///path?sync=normal`` does not wait for the disk at each append:
    docs/decisions/log-durability.md.

    Raises
    ------
    InvalidSetting
        The URL's scheme is neither.
    LogUnavailable
        The log can't be reached, created or written.
    LogCorrupt
        The embedded log's file is empty, damaged or no log.
    """
    scheme, _, _ = url.partition("://")
    if scheme == "embedded":
        from recstream.log.embedded import open_embedded  # noqa: PLC0415 - adapters load when used

        return open_embedded(url)
    if scheme == "kafka":
        from recstream.log.kafka import KafkaLog  # noqa: PLC0415 - an extra that may be missing

        return KafkaLog(url, settings)
    raise InvalidSetting(f"broker must be embedded:///path or kafka://host:port, got {url!r}")


def embedded_file(url: str) -> Path | None:
    """Return the file of the embedded log that a URL names, without opening it; None for another log."""
    parts = urlsplit(url)
    return Path(parts.netloc + unquote(parts.path)) if parts.scheme == "embedded" else None
