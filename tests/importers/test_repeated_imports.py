"""An import that runs again, or that was interrupted: nothing twice, nothing lost."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from recstream.errors import LogUnavailable
from recstream.importers.events import (
    APPEND_EVENTS,
    EventTable,
    ImportReport,
    import_digest,
    write_events,
)
from recstream.importers.files.source import Source
from recstream.log import open_log
from recstream.log.port import EventLog
from recstream.log.topics import topic_specs
from tests.importers.imports import BAD, PARTITIONS, RATINGS, all_events, run_import, source


def test_running_an_import_again_adds_nothing(tmp_path: Path, event_log: EventLog) -> None:
    run_import(event_log, source(tmp_path, BAD), RATINGS)
    before = all_events(event_log)

    again = run_import(event_log, source(tmp_path, BAD, "copy.csv"), RATINGS)

    assert all_events(event_log) == before
    assert (again.imported, again.already) == (0, 2)


def test_the_same_row_has_the_same_id_in_another_log(tmp_path: Path, event_log: EventLog) -> None:
    other = open_log(f"embedded://{tmp_path}/other.db")
    other.create_topics(topic_specs(PARTITIONS))

    run_import(event_log, source(tmp_path, BAD), RATINGS)
    run_import(other, source(tmp_path, BAD), RATINGS)

    assert all_events(event_log) == all_events(other)
    assert len({event.id for event in all_events(other)}) == 2
    other.close()


class FailsOnce:
    """A log whose third append fails, as when the disk is full."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._left = 2

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, *records: Any, **how: Any) -> Any:
        if self._left == 0:
            raise LogUnavailable("disk full")
        self._left -= 1
        return self._log.append(*records, **how)


def test_an_interrupted_import_continues_where_it_stopped(event_log: EventLog) -> None:
    n_events = 3 * APPEND_EVENTS + 7
    table = EventTable()
    for n in range(n_events):
        user = table.users.setdefault(f"u{n % 5}", n % 5)
        item = table.items.setdefault(f"p{n % 7}", n % 7)
        table.append(n, user, item, n_events - n, 1.0, 1)
    broken: Any = FailsOnce(event_log)

    with pytest.raises(LogUnavailable):
        write_events(broken, table, "digest", ImportReport("file"))
    report = ImportReport("file")
    write_events(event_log, table, "digest", report)

    assert (report.already, report.imported) == (2 * APPEND_EVENTS, APPEND_EVENTS + 7)
    ids = [event.id for event in all_events(event_log)]
    assert len(ids) == len(set(ids)) == n_events


def test_an_import_of_version_0_1_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("user,item,stars,at\nu1,p1,4,0\n")
    rows = Source(path)
    columns = (
        '{"user":"user","item":"item","time":"at","value":"stars","type":"rate","types":{},'
        '"rating_max":5.0,"time_format":"","split":"","user_prefix":"","item_prefix":""}'
    )
    text = f'["{rows.digest}",{columns},false]'
    expected = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
    assert import_digest(rows, RATINGS, once=False) == expected
    other = msgspec.structs.replace(RATINGS, others="skip")
    assert import_digest(rows, other, once=False) != expected
