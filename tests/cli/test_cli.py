"""The command line as people and scripts meet it: help, exit codes, JSON, errors in one line."""

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
from recstream.control import wait_for
from recstream.errors import RecstreamError
from recstream.log.port import EventLog, NewRecord
from recstream.log.topics import CONTROL, DEAD_LETTERS, INTERACTIONS, MODELS
from recstream.settings import child_environ, load


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
def test_every_option_has_help(path: tuple[str, ...]) -> None:
    for parameter in command(path).params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{path} {parameter.name}"


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


@pytest.mark.usefixtures("event_log")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulate", "--rate", "nan"], "'nan' is not a number"),
        (["train", "--timeout", "nan"], "'nan' is not a number"),
        (["forget", "", "--yes"], "a user id of 1 to 256 characters, got 0"),
        (["recommend", "\udcff"], "'\\udcff' is not valid UTF-8"),
        (["log", "tail", "--key", "a\udcff"], "'a\\udcff' is not valid UTF-8"),
        (["train", "--set", "weights=" + "[" * 5_000], "--set weights must be JSON"),
        (["recommend", "x" * 300], "a user id of 1 to 256 characters, got 300"),
        (["export", "{data}/no/where.zip"], "expected a file in a folder that exists"),
        (["export", ""], "expected a file in a folder that exists"),
    ],
)
def test_arguments_that_can_not_be_are_refused_as_wrong_usage(
    arguments: list[str], said: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [each.replace("{data}", str(data)) for each in arguments]

    assert run([*words, "--data-dir", str(data), "--set", "partitions=2"]) == 2
    assert said in capsys.readouterr().err


def test_what_records_hold_can_not_steer_the_terminal(
    event_log: EventLog, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J\x07\x00\x9b"
    for value in (b"\xff", msgspec.json.encode({"type": evil, "reason": evil, "user": evil})):
        for topic in (INTERACTIONS, CONTROL, MODELS, DEAD_LETTERS):
            event_log.append([NewRecord(topic, evil.encode(), value, 0)])
    capsys.readouterr()

    for command in (
        *(["log", "tail", topic] for topic in (INTERACTIONS, CONTROL, MODELS, DEAD_LETTERS)),
        ["dead-letters", "list"],
        ["models", "list"],
        ["steering", "show"],
        ["recommend", evil],
    ):
        run([*command, "--data-dir", str(data), "--set", "partitions=2"])
        said = capsys.readouterr()
        shown = f"{said.out}{said.err}".replace("\n", "").replace("\t", "")
        assert shown.isprintable(), command


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


def test_every_command_is_where_the_table_says() -> None:
    assert {path[0] for path in commands()} == set(COMMANDS)


def test_a_table_without_rows_is_empty() -> None:
    assert table([]) == ""


def test_up_refuses_an_empty_log_file_instead_of_making_a_demo_shop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.db").touch()

    assert run(["up", "--no-open", "--port", "0", "--data-dir", str(tmp_path)]) == 1

    assert "is empty (0 bytes)" in capsys.readouterr().err
    assert (tmp_path / "log.db").stat().st_size == 0


def test_up_without_a_secret_for_other_machines_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"

    assert run(["up", "--host", "::", "--port", "0", "--data-dir", str(data)]) == 1

    assert "set RECSTREAM_SECRET or RECSTREAM_SECRET_FILE" in capsys.readouterr().err
    assert not data.exists()


def test_who_waits_for_an_answer_reads_that_a_role_must_run(monkeypatch, caplog):
    monkeypatch.setitem(wait_for.__globals__, "NOTE_AFTER_S", 0.0)

    with pytest.raises(RecstreamError, match="none came"):
        wait_for(lambda: None, 0.3, lambda: "none came")

    (record,) = caplog.records
    assert "`recstream up` starts the roles" in record.message
