"""`recstream dead-letters`: what could not be read is listed, shown, mended and sent again."""

import json
from pathlib import Path

import msgspec
import pytest

from recstream.cli import run
from recstream.core.events import Event, encode_event, from_timestamp_ms
from recstream.core.records import DeadLetter, Item
from recstream.log.embedded import EmbeddedLog
from recstream.log.port import EventLog, NewRecord, Position
from recstream.log.topics import CATALOGUE, DEAD_LETTERS, INTERACTIONS
from recstream.trainer.catalogue import CatalogueState

EVENT = Event(id="1", type="view", user="u1", item="p1", ts=from_timestamp_ms(0))


@pytest.fixture
def letter(event_log: EventLog) -> str:
    """A dead letter, and its name: a record cut off in the letter but whole in the log."""
    (position,) = event_log.append([NewRecord(INTERACTIONS, b"u1", b"\xff{broken")])
    dead = DeadLetter(
        reason="malformed-json",
        detail="invalid character",
        topic=INTERACTIONS,
        partition=position.partition,
        offset=position.offset,
        value="\ufffd{bro",
        truncated=True,
    )
    (where,) = event_log.append([NewRecord(DEAD_LETTERS, b"u1", msgspec.json.encode(dead))])
    return f"{where.partition}:{where.offset}"


def newest(event_log: EventLog) -> tuple[bytes | None, bytes | None]:
    partition = next(p for p in (0, 1) if event_log.high_watermark(INTERACTIONS, p))
    record = event_log.read(INTERACTIONS, partition, 0)[-1]
    return record.key, record.value


def test_dead_letters_are_listed_by_reason(
    letter: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dead-letters", "list", "--json", "--data-dir", str(data)]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert answer["counts"] == {"malformed-json": 1}
    assert answer["newest"][0]["id"] == letter


def test_a_dead_letter_is_sent_again_whole(letter: str, data: Path, event_log: EventLog) -> None:
    assert run(["dead-letters", "send", letter, "--data-dir", str(data)]) == 0

    assert newest(event_log) == (b"u1", b"\xff{broken")


def test_a_dead_letter_is_mended_with_a_file(
    letter: str, data: Path, event_log: EventLog, tmp_path: Path
) -> None:
    mended = tmp_path / "mended.json"
    mended.write_bytes(encode_event(EVENT))

    code = run(["dead-letters", "send", letter, "--with", str(mended), "--data-dir", str(data)])

    assert code == 0
    assert newest(event_log) == (b"u1", encode_event(EVENT))


@pytest.mark.usefixtures("letter")
def test_dead_letters_may_be_sent_by_reason(data: Path, event_log: EventLog) -> None:
    run(["dead-letters", "send", "--reason", "too-large", "--data-dir", str(data)])
    before = sum(event_log.high_watermark(INTERACTIONS, p) for p in (0, 1))
    run(["dead-letters", "send", "--reason", "malformed-json", "--data-dir", str(data)])

    after = sum(event_log.high_watermark(INTERACTIONS, p) for p in (0, 1))
    assert (before, after) == (1, 2)


def products_of(event_log: EventLog) -> tuple[CatalogueState, list[DeadLetter]]:
    """Return what a trainer makes of the catalogue topic."""
    products = CatalogueState()
    return products, products.apply(event_log.read(CATALOGUE, 0, 0))[1]


def test_a_product_that_could_not_be_read_is_listed_shown_mended_and_sent_again(
    data: Path, event_log: EventLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lute = msgspec.json.encode(Item(item="p1", title="Lute"))
    event_log.append([NewRecord(CATALOGUE, b"p0", b'{"item":', 0)])
    event_log.append([NewRecord(CATALOGUE, b"wrong", lute, 0), NewRecord(CATALOGUE, b"a\n", None)])
    _, letters = products_of(event_log)
    told = [NewRecord(DEAD_LETTERS, None, msgspec.json.encode(each), 0) for each in letters]
    cut, keyed, gone = (f"0:{each.offset}" for each in event_log.append(told))
    mended = tmp_path / "mended.json"
    mended.write_bytes(msgspec.json.encode(Item(item="p0", title="Harp")))
    at = ["--data-dir", str(data)]

    assert run(["dead-letters", "list", "--reason", "invalid-item", "--json", *at]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert run(["dead-letters", "show", keyed, "--json", *at]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert run(["dead-letters", "send", cut, "--with", str(mended), *at]) == 0
    assert run(["dead-letters", "send", keyed, gone, *at]) == 0

    assert listed["counts"] == {"invalid-item": 3}
    assert (shown["topic"], shown["value"]) == (CATALOGUE, lute.decode())
    products, letters = products_of(event_log)
    assert {name: each.title for name, each in products.items.items()} == {
        "p0": "Harp",
        "p1": "Lute",
    }
    again = event_log.read(CATALOGUE, 0, letters[-1].offset)[0]
    assert [each.offset for each in letters] == [0, 1, 2, 5]
    assert (again.key, again.value) == (b"a\n", None)


def test_letters_that_cant_be_sent_keep_no_others_from_being_sent(
    letter: str, data: Path, event_log: EventLog, capsys: pytest.CaptureFixture[str]
) -> None:
    def put(**changes: object) -> str:
        dead = {"reason": "malformed-json", "detail": "", "topic": INTERACTIONS, "partition": 0}
        value = msgspec.json.encode(dead | {"offset": 7, "pointer": "", "value": "{"} | changes)
        (where,) = event_log.append([NewRecord(DEAD_LETTERS, None, value, 0)])
        return f"{where.partition}:{where.offset}"

    foreign, cut = put(topic="clicks"), put(truncated=True)

    assert run(["dead-letters", "send", "--all", "--json", "--data-dir", str(data)]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert len(answer["sent"]) == 1
    assert newest(event_log) == (b"u1", b"\xff{broken")
    assert sorted(each.split(": ")[0] for each in answer["unsent"]) == sorted([foreign, cut])
    assert run(["dead-letters", "send", cut, "--data-dir", str(data)]) == 1
    assert letter not in (foreign, cut)


@pytest.mark.usefixtures("letter")
def test_dead_letters_are_sent_in_appends_of_bounded_size(
    data: Path, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recstream.cli.log.dead_letters.SEND_RECORDS", 2, raising=False)
    letters = [r for p in (0, 1) for r in event_log.read(DEAD_LETTERS, p, 0)]
    event_log.append([NewRecord(DEAD_LETTERS, None, letters[0].value, 0)] * 4)
    sizes = []
    append = EmbeddedLog.append

    def count(log: EmbeddedLog, records: list[NewRecord], **how: object) -> list[Position]:
        sizes.append(len(records))
        return append(log, records, **how)

    monkeypatch.setattr(EmbeddedLog, "append", count)

    assert run(["dead-letters", "send", "--all", "--data-dir", str(data)]) == 0

    assert sizes == [2, 2, 1]
