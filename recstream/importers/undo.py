"""`undo_events`: take the events of an import back.

A history can't be folded backwards, so each event is answered by a ``remove`` of its item: the log keeps both,
and a replay sees both.
"""

import time
from collections.abc import Callable
from itertools import islice

import msgspec

from recstream.errors import InvalidInput
from recstream.importers.events import (
    UNDOING,
    ImportReport,
    append_events,
    import_digest,
    import_progress,
    read_events,
)
from recstream.importers.files.source import Source
from recstream.importers.mapping import ColumnMapping
from recstream.log import EventLog


def undo_events(
    event_log: EventLog,
    source: Source,
    mapping: ColumnMapping,
    *,
    at_ms: int | None = None,
    once: bool = False,
    on_written: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Append a ``remove`` for each event that `import_events` appended with the same arguments.

    The item leaves the user's history with all events on it. Doing it again adds nothing.

    Raises
    ------
    InvalidInput
        There is no such import in the log; or as `read_events`.
    """
    started_s = time.perf_counter()
    report = ImportReport(str(source.path))
    start_ms = source.modified_ms if at_ms is None else at_ms
    table = read_events(source, mapping, report, at_ms=start_ms, once=once)
    digest = import_digest(source, mapping, once=once, at_ms=at_ms)
    if not (n_imported := import_progress(event_log, digest)):
        raise InvalidInput(
            f"the log has no import of {source.path} with these options, so there is nothing to undo; "
            "name the same file, columns and options as at the import"
        )
    undoing = digest + UNDOING
    done = report.already = import_progress(event_log, undoing)
    n_removals = table.n_removals(n_imported)
    removals = (
        msgspec.structs.replace(
            event, id=event.id + UNDOING, type="remove", value=None, session=None
        )
        for event in islice(table.in_time_order(), n_imported)
        if event.type != "impression"
    )
    for n in append_events(event_log, islice(removals, done, None), undoing, done):
        report.undone += n
        if on_written is not None:
            on_written(done + report.undone, n_removals)
    report.notes.append(
        "items that only this import named stay at the end of lists; DELETE /v1/items/{item} withdraws "
        "them"
    )
    report.seconds = time.perf_counter() - started_s
    return report
