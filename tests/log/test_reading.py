"""Reading while retention deletes records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recstream.core.events import encode_event
from recstream.errors import BeyondHorizon, OffsetOutOfRange
from recstream.log import (
    INTERACTIONS,
    RECOMMENDATIONS,
    NewRecord,
    read_kept,
    read_records,
    topic_specs,
)
from recstream.log.embedded import EmbeddedLog
from recstream.worker.fold import missing_records, touch_recent_users
from recstream.worker.state import PartitionState
from tests.worker.memory import MemoryRows
from tests.worker.worker_world import event

N, CUT = 10, 4


class Pruned:
    """A log whose first records are deleted between the question for the earliest and the read."""

    def __init__(self, log: EmbeddedLog) -> None:
        self.log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    def read(self, topic: str, partition: int, *more: int) -> Any:
        self.log.delete_before(topic, partition, CUT)
        return self.log.read(topic, partition, *more)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Pruned]:
    made = EmbeddedLog(tmp_path / "log.db", sync="normal")
    made.create_topics(topic_specs(1))
    for topic in (INTERACTIONS, RECOMMENDATIONS):
        each = [event(number, f"u{number}", "i") for number in range(N)]
        made.append([NewRecord(topic, None, encode_event(one), 0) for one in each])
    yield Pruned(made)
    made.close()


def test_of_lists_those_that_are_kept_are_read(log: Pruned) -> None:
    assert [each.offset for each in read_records(log, RECOMMENDATIONS, 0)] == [*range(CUT, N)]


def test_of_events_no_part_is_read(log: Pruned) -> None:
    with pytest.raises(BeyondHorizon, match="from offset 4 on"):
        list(read_records(log, INTERACTIONS, 0))


def test_an_offset_beyond_the_end_stays_an_error(log: Pruned) -> None:
    with pytest.raises(OffsetOutOfRange):
        read_kept(log, RECOMMENDATIONS, 0, N + 1, 1)


def test_a_worker_takes_a_partition_whose_events_are_pruned_meanwhile(log: Pruned) -> None:
    state = PartitionState(0, MemoryRows(), n_recent=100, restore=pytest.fail)
    state.next_offset = N

    touch_recent_users(log, state)

    assert list(state.recent_users) == [f"u{number}" for number in range(CUT, N)]


def test_a_worker_that_lacks_events_pruned_meanwhile_refuses_by_name(log: Pruned) -> None:
    state = PartitionState(0, MemoryRows(), n_recent=100, restore=pytest.fail)
    state.next_offset = 1

    with pytest.raises(BeyondHorizon, match="were pruned"):
        list(missing_records(log, state, N, is_rebuild=False))
