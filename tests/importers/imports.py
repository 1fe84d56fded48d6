"""What an import printed and appended, for tests."""

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from recstream.core.events import Event, decode_events
from recstream.importers.events import ImportReport, import_events
from recstream.importers.files.source import Source
from recstream.importers.mapping import ColumnMapping
from recstream.log import CATALOGUE, INTERACTIONS, EventLog, open_log, read_records

RATINGS = ColumnMapping(user="user", item="item", value="stars", time="at", type="rate")
AT_MS = 1_600_000_000_000
PARTITIONS = 3
BAD = """user,item,stars,at
u1,p1,4,100
u1,p2,many,100
u1,p3,9,100
,p4,4,100
u1,p5,4,soon
u1
u1,"p\x006",4,100
u2,p7,5,90
"""


class Outcome(NamedTuple):
    code: int
    report: dict[str, Any]
    error: str
    events: list[Event]


def logged(data: Path) -> Iterator[Event]:
    if not (data / "log.db").exists():
        return
    log = open_log(f"embedded://{data}/log.db")
    for partition in range(log.topics().get(INTERACTIONS, 0)):
        for record in log.read(INTERACTIONS, partition, 0, 10_000):
            yield from decode_events(record.value or b"[]")
    log.close()


def products_in(data: Path) -> list[bytes | None]:
    log = open_log(f"embedded://{data}/log.db")
    keys = [record.key for record in log.read(CATALOGUE, 0, 0)]
    log.close()
    return keys


def put(tmp_path: Path, content: str | bytes, name: str = "f.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def imported(folder: Path) -> list[tuple[str, str, str, str]]:
    """Return the events in the log."""
    with closing(open_log(f"embedded://{folder}/data/log.db")) as event_log:
        values = [
            record.value
            for partition in range(event_log.partitions(INTERACTIONS))
            for record in read_records(event_log, INTERACTIONS, partition)
        ]
    events = [event for value in values if value is not None for event in json.loads(value)]
    return sorted(
        (each["user"], each["item"], each["type"], re.sub(r"(\.\d{3})000Z", r"\1Z", each["ts"]))
        for each in events
    )


def events_of(event_log: EventLog) -> list[list[Event]]:
    """Return the events of each partition in the order of the log."""
    return [
        [
            event
            for record in event_log.read(INTERACTIONS, partition, 0, 10_000)
            if record.value is not None
            for event in decode_events(record.value)
        ]
        for partition in range(PARTITIONS)
    ]


def all_events(event_log: EventLog) -> list[Event]:
    return [event for partition in events_of(event_log) for event in partition]


def source(tmp_path: Path, text: str, name: str = "ratings.csv", **how: Any) -> Source:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return Source(path, **how)


def run_import(
    event_log: EventLog, rows: Source, mapping: ColumnMapping, **how: Any
) -> ImportReport:
    return import_events(event_log, rows, mapping, at_ms=AT_MS, **how)
