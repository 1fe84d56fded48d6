"""Progress of `recstream up`, read from the log: a failing log stops no role."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recstream.errors import LogUnavailable, OffsetOutOfRange
from recstream.log import MODELS, EventLog, NewRecord, open_log, topic_specs
from recstream.runtime.up import _ProgressFeed


@pytest.fixture
def embedded_log(tmp_path: Path) -> Iterator[EventLog]:
    event_log = open_log(f"embedded://{tmp_path / 'log.db'}")
    event_log.create_topics(topic_specs(1))
    yield event_log
    event_log.close()


class _FailingTail:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def poll(self, timeout_s: float, max_records: int = 1000) -> Any:  # noqa: ARG002
        raise self.error

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "error", [LogUnavailable("database is locked"), OffsetOutOfRange("0 was deleted")]
)
def test_progress_is_read_again_after_the_log_could_not_be_read(
    embedded_log: EventLog, error: Exception
) -> None:
    said: list[str] = []
    progress = _ProgressFeed(embedded_log, lambda event, text, **_: said.append(f"{event}: {text}"))
    progress._tail = _FailingTail(error)  # type: ignore[assignment]

    progress.follow(0.0)
    progress.follow(0.0)
    embedded_log.append([NewRecord(MODELS, None, b"no announcement")])
    progress.follow(0.0)

    assert said == [f"log: progress can't be read from the log, trying again: {error}"]
    assert progress._tail is not None
    assert embedded_log.high_watermark(MODELS, 0) in progress._tail.positions().values()
