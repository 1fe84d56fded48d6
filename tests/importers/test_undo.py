"""`import events --undo`: what an import put into histories leaves them again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from recstream.cli import run as run_command
from recstream.core.events import (
    Event,
    EventWeights,
    decode_events,
    encode_event,
    from_timestamp_ms,
)
from recstream.core.history.fold import FoldSettings, History, apply
from recstream.errors import InvalidInput, LogUnavailable
from recstream.importers import import_events, undo_events
from recstream.importers.files.source import Source
from recstream.importers.mapping import ColumnMapping
from recstream.log import EventLog, NewRecord, open_log
from recstream.log.topics import INTERACTIONS, topic_specs

WRONG = ColumnMapping(user="item", item="user", time="at", type="purchase")
SETTINGS = FoldSettings(weights=EventWeights(), half_life_ms=1e10)
RIGHT = msgspec.structs.replace(WRONG, user="user", item="item")
TEXT = "user,item,at\nann,tea,100\nann,tea,300\nbob,tea,200\nbob,soap,400\n"


@pytest.fixture
def event_log(tmp_path: Path) -> Iterator[EventLog]:
    event_log = open_log(f"embedded://{tmp_path}/data/log.db")
    event_log.create_topics(topic_specs(2))
    yield event_log
    event_log.close()


def rows(tmp_path: Path) -> Source:
    path = tmp_path / "orders.csv"
    path.write_text(TEXT)
    return Source(path)


def histories(event_log: EventLog) -> dict[str, set[str]]:
    """Return the items of every user, folded from the log."""
    found: dict[str, History] = {}
    for partition in range(2):
        for record in event_log.read(INTERACTIONS, partition, 0, 10_000):
            for index, event in enumerate(decode_events(record.value or b"[]")):
                history = found.get(event.user, History(event.user))
                found[event.user] = apply(history, event, record.offset, index, SETTINGS)
    return {
        user: {each.item for each in history.entries()}
        for user, history in found.items()
        if history.n_items
    }


def view(user: str, item: str) -> NewRecord:
    event = Event(id="live", type="view", user=user, item=item, ts=from_timestamp_ms(10**12))
    return NewRecord(INTERACTIONS, user.encode(), encode_event(event))


def test_what_an_import_with_wrong_columns_added_leaves_the_histories(
    tmp_path: Path, event_log: EventLog
) -> None:
    import_events(event_log, rows(tmp_path), WRONG)
    event_log.append([view("tea", "jam")])
    assert histories(event_log) == {"tea": {"ann", "bob", "jam"}, "soap": {"bob"}}

    report = undo_events(event_log, rows(tmp_path), WRONG)
    again = undo_events(event_log, rows(tmp_path), WRONG)

    assert (report.undone, report.already, again.undone, again.already) == (4, 0, 0, 4)
    assert "DELETE /v1/items/{item} withdraws" in report.notes[-1]
    assert histories(event_log) == {"tea": {"jam"}}
    import_events(event_log, rows(tmp_path), RIGHT)
    assert histories(event_log) == {"tea": {"jam"}, "ann": {"tea"}, "bob": {"tea", "soap"}}


def test_an_import_that_was_undone_says_so_when_it_is_run_again(
    tmp_path: Path, event_log: EventLog
) -> None:
    import_events(event_log, rows(tmp_path), WRONG)
    undo_events(event_log, rows(tmp_path), WRONG)

    again = import_events(event_log, rows(tmp_path), WRONG)

    assert (again.imported, histories(event_log)) == (0, {})
    assert "was undone" in again.notes[-1]


def test_the_progress_of_an_undo_reaches_its_total_though_impressions_stay(
    tmp_path: Path, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        "user,item,at,kind\nann,tea,100,view\nann,soap,300,impression\nbob,tea,200,impression\n"
        "bob,soap,400,purchase\nbob,jam,500,cart\n"
    )
    mapping = msgspec.structs.replace(RIGHT, type="kind")
    import_events(event_log, Source(path), mapping)
    monkeypatch.setattr("recstream.importers.events.APPEND_EVENTS", 2)
    progress: list[tuple[int, int]] = []

    undo_events(
        event_log, Source(path), mapping, on_written=lambda *counts: progress.append(counts)
    )

    assert progress == [(2, 3), (3, 3)]


def test_an_import_that_is_not_in_the_log_is_refused(tmp_path: Path, event_log: EventLog) -> None:
    import_events(event_log, rows(tmp_path), WRONG)
    before = histories(event_log)

    with pytest.raises(InvalidInput, match=r"no import of .*orders.csv with these options"):
        undo_events(event_log, rows(tmp_path), RIGHT)

    assert histories(event_log) == before


def test_of_an_import_that_was_cut_off_what_it_appended_is_undone(
    tmp_path: Path, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(n_events: int, attempt: Callable[..., object]) -> None:
        append = event_log.append
        appends = iter([append])

        def once(*given: Any, **more: Any) -> Any:
            try:
                return next(appends)(*given, **more)
            except StopIteration:
                raise LogUnavailable("the disk is full") from None

        monkeypatch.setattr("recstream.importers.events.APPEND_EVENTS", n_events)
        monkeypatch.setattr(event_log, "append", once)
        with pytest.raises(LogUnavailable):
            attempt(event_log, rows(tmp_path), WRONG)
        monkeypatch.setattr(event_log, "append", append)

    cut_off(3, import_events)
    assert histories(event_log) == {"tea": {"ann", "bob"}}
    cut_off(2, undo_events)

    report = undo_events(event_log, rows(tmp_path), WRONG)

    assert (report.undone, report.already) == (1, 2)
    assert histories(event_log) == {}


def test_the_command_undoes_with_the_options_of_the_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows(tmp_path)
    command = ["import", "events", str(tmp_path / "orders.csv"), "--user", "item", "--item", "user"]
    command += ["--data-dir", str(tmp_path / "data")]

    assert run_command([*command, "--undo"]) == 1
    assert "nothing to undo" in capsys.readouterr().err
    assert run_command(command) == 0
    assert run_command([*command, "--undo"]) == 0

    assert "4 events undone" in capsys.readouterr().out
