"""The meta topic, which other producers may write to."""

import pytest

from recstream.log.kafka.identity import (
    META,
    Epoch,
    TopicIdentity,
    epoch_record,
    read_meta,
    topic_record,
)
from recstream.log.port import Record
from tests.worker.test_hostile_records import HOSTILE

OURS = [epoch_record(Epoch("e1", "c1")), topic_record("t", TopicIdentity("id", 2))]


@pytest.mark.parametrize("value", [*HOSTILE, b"\xff", b'{"epoch":1}', None])
@pytest.mark.parametrize("key", [None, b"", b"epoch:", b"epoch:\xff", b"topic:", b"topic:\xff\xfe"])
def test_foreign_records_of_the_meta_topic_are_skipped(
    key: bytes | None, value: bytes | None
) -> None:
    rows = [(None, b"x"), (key, value), *((each.key, each.value) for each in OURS), (key, value)]
    meta = read_meta(Record(META, 0, offset, 0, *row) for offset, row in enumerate(rows))
    assert meta.epochs == (Epoch("e1", "c1"),)
    assert meta.topics == {"t": TopicIdentity("id", 2)}
