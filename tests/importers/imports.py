"""What an import printed and appended, for tests."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from recstream.core.events import Event, decode_events
from recstream.log import CATALOGUE, INTERACTIONS, open_log, read_records


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
