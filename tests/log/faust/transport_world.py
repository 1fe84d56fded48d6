"""What the tests of Faust on the embedded log share: records, what became of them."""

import json
from typing import Any

from recstream.log.embedded import EmbeddedLog
from recstream.log.port import NewRecord
from tests.log.faust.faust_apps import APP_ID, CHANGELOG, PARTITIONS

RAW: Any = {"value_type": bytes, "value_serializer": "raw"}


def put(log: EmbeddedLog, count: int, *, n_keys: int = 10) -> None:
    log.append([NewRecord("events", b"k%d" % (n % n_keys), b"%d" % n) for n in range(count)])


def changelog_state(log: EmbeddedLog) -> dict[str, int]:
    """Return what a table rebuilt from the changelog would hold."""
    state: dict[str, int] = {}
    for partition in range(PARTITIONS):
        offset = 0
        while found := log.read(CHANGELOG, partition, offset):
            for record in found:
                assert record.key is not None
                assert record.value is not None
                state[json.loads(record.key)] = int(record.value)
            offset = found[-1].offset + 1
    return state


def committed(log: EmbeddedLog) -> int:
    return sum(log.committed(APP_ID).values())
