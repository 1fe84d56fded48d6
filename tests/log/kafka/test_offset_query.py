"""Questions about offsets, without a broker."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from recstream.errors import LogUnavailable, NotFound
from recstream.log.kafka import offset_query as module
from recstream.log.kafka.outage import ClientErrors
from recstream.log.port import TopicPartition

INVALID = -1001


class Consumer:
    """Answers for a partition that the broker does not know."""

    def __init__(self, _: dict[str, Any]) -> None:
        pass

    def offsets_for_times(self, asked: list[Any], _: float) -> list[SimpleNamespace]:
        error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        return [SimpleNamespace(offset=INVALID, error=error) for _ in asked]


def test_the_error_of_a_partition_is_no_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Consumer", Consumer)
    query = module.OffsetQuery({}, "here", ClientErrors())

    with pytest.raises(NotFound, match="finding the offset of a time"):
        query.offset_for_time(TopicPartition("t", 0), 5)


def test_a_topic_that_was_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Consumer", Consumer)
    query = module.OffsetQuery({}, "here", ClientErrors(), known={"t"})

    with pytest.raises(LogUnavailable, match="it was there before"):
        query.offset_for_time(TopicPartition("t", 0), 5)
