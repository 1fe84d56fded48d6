"""Commands that look into the log or write to it."""

import io
import json
import socket
from pathlib import Path

import msgspec
import pytest

from recstream.cli import run
from recstream.cli.log.records import diff_text
from recstream.core.events import Event, encode_event, from_timestamp_ms
from recstream.core.records import AsOf, Item, Recommendations, RecommendedItem
from recstream.log.port import EventLog, NewRecord, TopicPartition
from recstream.log.topics import CATALOGUE, INTERACTIONS, RECOMMENDATIONS
from recstream.settings import Settings
from recstream.time_travel.list_diff import EventBetween, ListDiff, Step, compare


def append_list(event_log: EventLog) -> None:
    made = Recommendations(
        rec_id="r-0",
        user="u1",
        generation=3,
        source="fold-in",
        items=(RecommendedItem(item="p2", rank=1, score=0.5),),
    )
    event_log.append(
        [
            NewRecord(CATALOGUE, b"p2", msgspec.json.encode(Item(item="p2", title="A Kettle"))),
            NewRecord(
                RECOMMENDATIONS,
                b"u1",
                b'{"rec_id":"old","user":"u1","generation":1,"source":"popular","items":[]}',
            ),
            NewRecord(RECOMMENDATIONS, b"u1", msgspec.json.encode(made)),
        ]
    )


@pytest.mark.parametrize(
    ("committed", "reason"),
    [(None, "the log has no event of this user"), (0, "no worker has processed"), (1, "seen all")],
)
def test_recommend_says_why_there_is_no_list(
    data: Path,
    event_log: EventLog,
    capsys: pytest.CaptureFixture[str],
    committed: int | None,
    reason: str,
) -> None:
    if committed is not None:
        event = Event(id="1", type="view", user="u1", item="p1", ts=from_timestamp_ms(0))
        (at,) = event_log.append([NewRecord(INTERACTIONS, b"u1", encode_event(event))])
        offsets = {TopicPartition(INTERACTIONS, at.partition): committed}
        event_log.append([], group=Settings().app_id, offsets=offsets)

    assert run(["recommend", "u1", "--data-dir", str(data)]) == 1

    assert reason in capsys.readouterr().err


def test_recommend_says_that_an_empty_list_has_nothing_left(
    data: Path, event_log: EventLog, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = Recommendations(rec_id="r", user="u1", generation=1, source="popular", items=())
    event_log.append([NewRecord(RECOMMENDATIONS, b"u1", msgspec.json.encode(empty))])

    assert run(["recommend", "u1", "--data-dir", str(data)]) == 0

    assert "no item is left to list" in capsys.readouterr().out


def test_recommend_shows_the_newest_list_with_titles(
    event_log: EventLog, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    append_list(event_log)

    assert run(["recommend", "u1", "--data-dir", str(data)]) == 0

    said = capsys.readouterr().out
    assert "generation 3" in said
    assert "A Kettle" in said


def test_log_tail_shows_the_newest_records_of_a_key(
    event_log: EventLog, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    append_list(event_log)

    code = run(
        [
            "log",
            "tail",
            "recommendations",
            "--key",
            "u1",
            "-n",
            "1",
            "--json",
            "--data-dir",
            str(data),
        ]
    )

    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert code == 0
    assert (record["key"], record["value"]["rec_id"]) == ("u1", "r-0")


def test_log_tail_finds_a_key_however_far_back(
    event_log: EventLog, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = NewRecord(RECOMMENDATIONS, b"rare", b"{}", partition=0)
    event_log.append([record, *(record._replace(key=b"often") for _ in range(1_500))])

    run(["log", "tail", "recommendations", "--key", "rare", "--json", "--data-dir", str(data)])

    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["offset"] == 0


def test_log_tail_from_an_offset_shows_the_first_from_there(
    event_log: EventLog, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = NewRecord(RECOMMENDATIONS, b"u1", b"{}", partition=0)
    event_log.append([record] * 9)
    arguments = ["log", "tail", "recommendations", "--from", "3", "-n", "2", "--partition", "0"]

    run([*arguments, "--json", "--data-dir", str(data)])

    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["offset"] for line in lines] == [3, 4]
    assert run([*arguments[:3], "--from", "10", "--data-dir", str(data)]) == 1
    assert "--from must be up to 9" in capsys.readouterr().err


def test_an_import_answers_with_what_it_did(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("user,item\nu1,p1\n,p2\n")
    arguments = ["import", "events", str(file), "--user", "user", "--item", "item"]

    assert run([*arguments, "--data-dir", str(data)]) == 0
    text = capsys.readouterr().out
    assert run([*arguments, "--data-dir", str(data), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)

    assert "1 event imported" in text
    assert "no column of times is named (--time)" in text
    assert "line 3: expected a user id" in text
    assert (again["imported"], again["already"], again["rejected"]) == (0, 1, 1)


def test_simulate_says_when_no_bridge_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    assert run(["simulate", "--url", f"http://127.0.0.1:{port}", "--events", "1"]) == 1

    said = capsys.readouterr().err
    assert "no bridge answers" in said
    assert "--url" in said


def test_simulate_appends_straight_to_the_log(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["simulate", "--direct", "--events", "20", "--rate", "100000", "--json"]

    assert run([*arguments, "--data-dir", str(data)]) == 0

    assert json.loads(capsys.readouterr().out)["accepted"] == 20


def test_training_without_a_trainer_says_so(
    event_log: EventLog, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert event_log.high_watermark("recstream.control", 0) == 0

    assert run(["train", "--timeout", "1", "--data-dir", str(data)]) == 1

    assert "is a trainer running?" in capsys.readouterr().err
    assert event_log.high_watermark("recstream.control", 0) == 1


@pytest.mark.parametrize("arguments", [["--timeout", "1"], ["--no-wait"]])
def test_forgetting_puts_the_request_into_the_log(
    arguments: list[str], event_log: EventLog, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(["forget", "u1", "--yes", *arguments, "--data-dir", str(data)])

    (record,) = event_log.read("recstream.control", 0, 0)
    assert msgspec.json.decode(record.value or b"")["user"] == "u1"
    assert record.key is None
    assert done == (1 if "--timeout" in arguments else 0)
    assert done == 0 or "is a worker running?" in capsys.readouterr().err


def test_forgetting_asks_first(
    event_log: EventLog, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

    assert run(["forget", "u1", "--data-dir", str(data)]) == 130
    assert event_log.high_watermark("recstream.control", 0) == 0


def test_a_token_needs_a_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RECSTREAM_SECRET", raising=False)
    assert run(["token", "--user", "u1"]) == 2
    assert "RECSTREAM_SECRET_FILE" in capsys.readouterr().err

    monkeypatch.setenv("RECSTREAM_SECRET", "made-up-for-this-test-" * 2)
    assert run(["token", "--user", "u1"]) == 0
    assert capsys.readouterr().out.count(".") == 2


@pytest.mark.parametrize("command", [["token"], ["replay", "--verify"], ["export", "part.zip"]])
@pytest.mark.usefixtures("event_log")
def test_an_empty_user_does_not_mean_all_users(
    command: list[str],
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RECSTREAM_SECRET", "made-up-for-this-test-" * 2)

    assert run([*command, "--user", "", "--data-dir", str(data)]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert "expected a user id of 1 to 256 characters, got 0" in said.err


def test_steering_is_put_into_the_log_shown_in_words_and_cleared(
    event_log: EventLog, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules.json"
    rule = {"action": "exclude", "name": "hide", "where": {"brand": "Acme"}}
    file.write_text("\ufeff" + json.dumps({"rules": [rule]}))  # as some editors write
    here = ["--data-dir", str(data)]

    assert run(["steering", "set", str(file), "--no-wait", *here]) == 0
    assert "hide: leave out brand Acme" in capsys.readouterr().out
    assert run(["steering", "show", "--json", *here]) == 0
    assert json.loads(capsys.readouterr().out)["steering"]["rules"][0]["name"] == "hide"
    assert run(["steering", "set", str(file), "--timeout", "0.2", *here]) == 1
    assert "is a worker running?" in capsys.readouterr().err
    assert run(["steering", "clear", *here]) == 0
    assert run(["steering", "show", *here]) == 0
    assert "by scores alone" in capsys.readouterr().out
    assert event_log.high_watermark("recstream.control", 0) == 3


def test_a_document_that_cannot_be_meant_is_not_set(
    event_log: EventLog, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules.json"
    file.write_text('{"arms": [{"name": "a", "share": 0.5}]}')

    assert run(["steering", "set", str(file), "--data-dir", str(data)]) == 1
    assert "must sum to 1" in capsys.readouterr().err
    assert run(["steering", "check", str(file), "--data-dir", str(data)]) == 1
    file.write_text("{}")
    assert run(["steering", "check", str(file), "--data-dir", str(data)]) == 0
    assert "there is no model yet" in capsys.readouterr().out
    assert event_log.high_watermark("recstream.control", 0) == 0


def test_an_invalid_document_is_named_with_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('{"rules": [{"action": "bost"}]}')
    said = f"Error: {rules}: Invalid value 'bost'; known: exclude, only, boost, pin (at /rules/0/"
    for command in (
        ["steering", "check", str(rules)],
        ["steering", "set", str(rules)],
        ["what-if", "list", "u1", "--steering", str(rules)],
        ["what-if", "log", "--steering", str(rules)],
    ):
        assert run([*command, "--data-dir", str(tmp_path)]) == 1
        assert capsys.readouterr().err.startswith(said), command


def test_a_file_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["steering", "check", str(tmp_path / "gone.json")]) == 1
    assert (
        capsys.readouterr().err
        == f"Error: {tmp_path}/gone.json can't be used: No such file or directory\n"
    )


def test_what_is_not_there_yet_is_said_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = tmp_path / "events.csv"
    events.write_text("user,item\na,b\n")
    data = ["--data-dir", str(tmp_path / "data")]
    named = [str(events), "--user", "user", "--item", "item"]
    assert run(["import", "events", *named, *data]) == 0
    for command, said in (
        (["models", "list"], "no models; a trainer makes one"),
        (["checkpoint", "verify"], "no checkpoints; `recstream checkpoint create` makes them"),
        (["explain", "a", "b"], "no model had been announced by then"),
        (["import", "events", *named, "--types", "x=y"], "Invalid enum value 'y'; known: cart"),
    ):
        capsys.readouterr()
        run([*command, *data])
        captured = capsys.readouterr()
        assert said in captured.out + captured.err, command


def test_a_comparison_begins_with_the_two_lists_and_the_whole_change() -> None:
    def a_list(offset: int, *items: str) -> Recommendations:
        return Recommendations(
            rec_id="r", user="ada", generation=1, delta=offset, source="fold-in",
            items=tuple(RecommendedItem(item=each, rank=n, score=1.0) for n, each in enumerate(items, 1)),
            as_of=AsOf(partition=0, offset=offset),
        )  # fmt: skip

    def step(offset: int, before: Recommendations | None, after: Recommendations, n: int) -> Step:
        event = EventBetween(offset=offset, id="e", type="view", item="p1", ts=None)
        return Step(
            rec_id="r", source="fold-in", as_of=offset, generation=1, delta=offset, model_changed=False,
            steering_changed=False, events=(event,) * n,
            change=compare(before.items if before else (), after.items),
        )  # fmt: skip

    first, last = a_list(4, "a", "b"), a_list(5, "b", "c")
    found = ListDiff(
        user="ada", before=None, after=last, change=compare((), last.items),
        steps=(step(4, None, first, 84), step(5, first, last, 1)),
    )  # fmt: skip

    assert diff_text(found).splitlines() == [
        "ada: from no list to the list as of 5 (generation 1.5)",
        "    + b at 1, + c at 2",
        "in 2 steps:",
        "  as of 4  74 earlier events, " + ", ".join(["view p1 (4)"] * 10),
        "    + a at 1, + b at 2",
        "  as of 5  view p1 (5)",
        "    + c at 2, - a from 1, b 2 → 1",
    ]


def test_a_replay_that_compared_no_list_calls_none_identical(
    data: Path, event_log: EventLog, capsys: pytest.CaptureFixture[str]
) -> None:
    event = Event(id="1", type="view", user="u1", item="p1", ts=from_timestamp_ms(0))
    event_log.append([NewRecord(INTERACTIONS, b"u1", encode_event(event))])

    assert run(["replay", "--verify", "--user", "nobody", "--data-dir", str(data)]) == 0

    assert capsys.readouterr().out.endswith("0 lists derived again: no list to compare\n")
