"""`recstream up`: its progress is read from the log, a failing log stops no role, and no signal is lost."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from recstream.core.records import GenerationAnnounced
from recstream.errors import LogUnavailable, OffsetOutOfRange
from recstream.log import (
    MODELS,
    PIPELINE,
    RECOMMENDATIONS,
    EventLog,
    NewRecord,
    open_log,
    topic_specs,
)
from recstream.runtime.up import Interrupted, _ProgressFeed, _Signals


@pytest.fixture
def embedded_log(tmp_path: Path) -> Iterator[EventLog]:
    event_log = open_log(f"embedded://{tmp_path / 'log.db'}")
    event_log.create_topics(topic_specs(1))
    yield event_log
    event_log.close()


def made_list(generation: int) -> NewRecord:
    value = b'{"rec_id":"r","user":"u1","generation":%d,"source":"fold-in","items":[]}' % generation
    return NewRecord(RECOMMENDATIONS, b"u1", value)


def announcement(generation: int) -> NewRecord:
    announced = GenerationAnnounced(
        generation=generation, parent=None, artifact="a", digest="", offsets={}, hyperparameters={},
        seed=0, n_users=1, n_items=1, n_interactions=1, loss=None, train_seconds=0.0, created_ts=0,
    )  # fmt: skip
    return NewRecord(MODELS, b"generation", msgspec.json.encode(announced))


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


def test_lists_are_followed_until_the_first_one_of_a_trained_generation(
    embedded_log: EventLog,
) -> None:
    said: list[str] = []
    progress = _ProgressFeed(embedded_log, lambda event, *_, **__: said.append(event))

    def follow(record: NewRecord) -> set[str]:
        embedded_log.append([record])
        progress.follow(0.0)
        assert progress._tail is not None
        return {tp.topic for tp in progress._tail.positions()}

    assert RECOMMENDATIONS in follow(made_list(0))
    assert not progress.is_live
    assert follow(made_list(1)) == {MODELS, PIPELINE}
    assert progress.is_live
    assert said == ["first-list"]
    assert follow(announcement(1)) == {MODELS, PIPELINE}
    assert said == ["first-list", "generation"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_survives_every_error(number: int) -> None:
    with pytest.raises(Interrupted), _Signals(), contextlib.suppress(Exception):
        signal.raise_signal(number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_ignores_is_raised_at_the_next_check() -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with _Signals() as signals:
        signals.check()
        Finalized()
        with pytest.raises(Interrupted):
            signals.check()


def test_a_second_sigterm_does_not_disturb_the_end() -> None:
    with _Signals():
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
