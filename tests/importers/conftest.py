"""Run imports into a log of the test's own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recstream.cli import cli
from recstream.cli import run as run_command
from recstream.log import EventLog, open_log
from recstream.log.topics import topic_specs
from tests.importers.imports import PARTITIONS, Outcome, logged


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def import_(data: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Return a function that runs `recstream import` and reads the log."""

    def do(kind: str, file: Path | str, *options: str) -> Outcome:
        capsys.readouterr()
        arguments = ["import", kind, str(file), *options, "--data-dir", str(data), "--json"]
        code = run_command(arguments)
        said = capsys.readouterr()
        report = json.loads(said.out) if said.out else {}
        return Outcome(code, report, said.err, sorted(logged(data), key=lambda e: e.item or ""))

    return do


@pytest.fixture
def events(import_: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Return a function that imports events with columns ``user`` and ``item``."""
    return lambda file, *options: import_(
        "events", file, "--user", "user", "--item", "item", *options
    )


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    def invoke(*arguments: str, data: str | None = None) -> Any:
        return CliRunner().invoke(
            cli, [*arguments, "--data-dir", str(tmp_path / "data"), "--json"], input=data
        )

    return invoke


@pytest.fixture
def event_log(tmp_path: Path) -> Iterator[EventLog]:
    event_log = open_log(f"embedded://{tmp_path}/log.db")
    event_log.create_topics(topic_specs(PARTITIONS))
    yield event_log
    event_log.close()
