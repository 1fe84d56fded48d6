"""The command line as people and scripts meet it: help, exit codes, JSON, errors in one line."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from recstream.cli import COMMANDS, cli, run
from recstream.cli.options import as_flags, table
from recstream.core.events import Event, encode, from_timestamp_ms
from recstream.core.records import DeadLetter, Item, Recommendations, RecommendedItem
from recstream.log import open_log
from recstream.log.port import EventLog, NewRecord
from recstream.log.topics import CATALOGUE, DEAD_LETTERS, INTERACTIONS, RECOMMENDATIONS, topic_specs
from recstream.settings import child_environ, load
from recstream.stream.products import Products


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that does something."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def command(path: tuple[str, ...]) -> click.Command:
    found: click.Command | None = cli
    for name in path:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name)
    assert found is not None
    return found


EVERY = [pytest.param(path, id=" ".join(path)) for path in commands()]


@pytest.mark.parametrize("path", EVERY)
def test_every_command_has_help_with_an_example_that_names_it(path: tuple[str, ...]) -> None:
    text = command(path).help or ""

    assert "Example" in text
    assert f"recstream {' '.join(path)}" in text.partition("Example")[2]


@pytest.mark.parametrize("path", EVERY)
def test_every_option_has_help_or_says_itself(path: tuple[str, ...]) -> None:
    for parameter in command(path).params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help or parameter.show_default, f"{path} {parameter.name}"


@pytest.mark.parametrize("path", EVERY)
def test_every_command_answers_in_json_on_request(path: tuple[str, ...]) -> None:
    assert "as_json" in {parameter.name for parameter in command(path).params}


@pytest.mark.parametrize("path", EVERY)
def test_help_is_no_failure(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    assert "Usage: recstream" in capsys.readouterr().out


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from recstream.cli import run; run(['--help'])\n"
        "heavy = {'numpy', 'numba', 'faust', 'flask', 'rich', 'scipy', 'asyncio'} & {*sys.modules}\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )

    command_line = [sys.executable, "-c", program]
    done = subprocess.run(command_line, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()


def test_the_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recstream", "--version"], capture_output=True, check=True
    )

    assert done.stdout.startswith(b"recstream, version ")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def event_log(data: Path) -> Iterator[EventLog]:
    event_log = open_log(f"embedded://{data}/log.db")
    event_log.create_topics(topic_specs(2))
    yield event_log
    event_log.close()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["fly"], 2),
        (["up", "--shop", "grand"], 2),
        (["recommend"], 2),
        (["doctor", "--set", "n_factors=none"], 2),
        (["doctor", "--set", "colour=red"], 2),
        (["dead-letters", "send"], 2),
        (["recommend", "u1"], 1),
        (["log", "tail", "nothing"], 1),
        (["import", "events", "no-such-file.csv", "--user", "1", "--item", "2"], 2),
    ],
)
def test_what_fails_says_so_in_one_message_without_a_traceback(
    arguments: list[str], code: int, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [] if arguments == ["fly"] else ["--data-dir", str(data)]

    assert run([*arguments, *more]) == code

    said = capsys.readouterr()
    assert said.out == ""
    assert "Error: " in said.err
    assert "Traceback" not in said.err


def test_an_error_is_json_too_where_json_was_asked_for(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["recommend", "u1", "--data-dir", str(data), "--json"]) == 1

    error = json.loads(capsys.readouterr().err)["error"]
    assert error["type"] == "NotFound"
    assert "recstream up" in error["detail"]


def test_looking_makes_no_log(data: Path) -> None:
    run(["log", "tail", "--data-dir", str(data)])

    assert not data.exists()


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "invoke", interrupted)

    assert run(["doctor"]) == 130


def test_flags_and_variables_carry_the_settings_to_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSTREAM_PORT", "0")
    given = {
        "data_dir": str(tmp_path / "a b"),
        "weights": {"view": 2.0},
        "allowed_origins": ["https://shop.example"],
        "n_factors": 7,
        "secret": "x" * 40,
    }
    settings = load(given)

    flags = as_flags(settings)
    environ = child_environ(settings)

    assert not any("x" * 40 in flag for flag in flags)
    assignments = [flag.removeprefix("--set=").partition("=") for flag in flags]
    child = {name: json.loads(v) if v[:1] in "{[" else v for name, _, v in assignments}
    assert load(child, environ=environ) == settings


def test_the_defaults_need_no_flags() -> None:
    assert as_flags(load()) == []


def test_the_doctor_finds_a_healthy_place_healthy(
    event_log: EventLog, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["doctor", "--data-dir", str(data), "--port", "0", "--set", "partitions=2"]

    assert run([*arguments, "--json"]) == 0

    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {finding["state"] for finding in findings} == {"ok"}
    assert any(event_log.epoch in finding["detail"] for finding in findings)


@pytest.mark.usefixtures("event_log")
def test_the_doctor_fails_where_something_must_be_mended(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        assert run(["doctor", "--data-dir", str(data), "--port", port]) == 1

    said = capsys.readouterr().out
    assert "has 2 partitions, the settings say 4" in said
    assert f"port {port} on 127.0.0.1 is in use" in said


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


EVENT = Event(id="1", type="view", user="u1", item="p1", ts=from_timestamp_ms(0))


@pytest.fixture
def letter(event_log: EventLog) -> str:
    """A dead letter, and its name: a record that was cut off in the letter but is whole in the log."""
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
    mended.write_bytes(encode(EVENT))

    code = run(["dead-letters", "send", letter, "--with", str(mended), "--data-dir", str(data)])

    assert code == 0
    assert newest(event_log) == (b"u1", encode(EVENT))


@pytest.mark.usefixtures("letter")
def test_dead_letters_may_be_sent_by_reason(data: Path, event_log: EventLog) -> None:
    run(["dead-letters", "send", "--reason", "too-large", "--data-dir", str(data)])
    before = sum(event_log.high_watermark(INTERACTIONS, p) for p in (0, 1))
    run(["dead-letters", "send", "--reason", "malformed-json", "--data-dir", str(data)])

    after = sum(event_log.high_watermark(INTERACTIONS, p) for p in (0, 1))
    assert (before, after) == (1, 2)


def products_of(event_log: EventLog) -> tuple[Products, list[DeadLetter]]:
    """Return what a trainer makes of the catalogue topic."""
    products = Products()
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

    assert "1 events imported" in text
    assert "line 3: expected a user id" in text
    assert (again["imported"], again["already"], again["rejected"]) == (0, 1, 1)


def test_simulate_says_when_no_bridge_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    assert run(["simulate", "--url", f"http://127.0.0.1:{port}", "--events", "1"]) == 1

    assert "no bridge answers" in capsys.readouterr().err


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


def test_steering_is_put_into_the_log_shown_in_words_and_cleared(
    event_log: EventLog, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules.json"
    rule = {"action": "exclude", "name": "hide", "where": {"brand": "Acme"}}
    file.write_text(json.dumps({"rules": [rule]}))
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


def test_every_command_is_where_the_table_says() -> None:
    assert {path[0] for path in commands()} == set(COMMANDS)


def test_a_table_of_nothing_is_empty() -> None:
    assert table([]) == ""
