"""The event log in one SQLite file, for any number of processes on one machine.

In: records to append, offsets to commit, group membership. Out: records by partition and offset,
notifications of appends. `maintain` compacts and merges; `redact` erases.
"""

from urllib.parse import parse_qs, unquote, urlsplit

from recstream.errors import InvalidSetting
from recstream.log.embedded.groups import GroupState, MemberAssignment, Membership
from recstream.log.embedded.log import EmbeddedLog
from recstream.log.embedded.maintenance import MaintenanceResult, maintain, redact
from recstream.log.embedded.notify import GROUPS, Waiter
from recstream.log.embedded.page_gaps import zero_page_gaps
from recstream.log.embedded.reads import find_head, scan
from recstream.log.embedded.storage import Head

__all__ = [
    "GROUPS",
    "EmbeddedLog",
    "GroupState",
    "Head",
    "MaintenanceResult",
    "MemberAssignment",
    "Membership",
    "Waiter",
    "find_head",
    "maintain",
    "open_embedded",
    "redact",
    "scan",
    "zero_page_gaps",
]


def open_embedded(url: str) -> EmbeddedLog:
    """Open ``embedded:///absolute/path?sync=full|normal``.

    Raises
    ------
    InvalidSetting
        The URL has no absolute path, or an option that is not known.
    """
    parts = urlsplit(url)
    options = parse_qs(parts.query, keep_blank_values=True)
    sync = options.pop("sync", ["full"])[-1]
    if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
        raise InvalidSetting(f"broker must be embedded:///absolute/path, got {url!r}")
    if options:
        raise InvalidSetting(
            f"the embedded log's only option is sync, got {sorted(options)} in {url!r}"
        )
    if sync == "full":
        return EmbeddedLog(unquote(parts.path), sync="full")
    if sync == "normal":
        return EmbeddedLog(unquote(parts.path), sync="normal")
    raise InvalidSetting(f"sync must be full or normal, got {sync!r} in {url!r}")
