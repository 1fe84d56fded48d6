"""The adapters that the contract suites run against."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ulid import ULID

from recstream.log import open_log
from recstream.log.port import EventLog

Opener = Callable[[], EventLog]


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.integration)])
def open_client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Return a function that opens one more client of the log under test."""
    url = (
        f"embedded://{tmp_path}/log.db"
        if request.param == "embedded"
        else request.getfixturevalue("kafka_url")
    )
    opened: list[EventLog] = []

    def open_one() -> EventLog:
        opened.append(open_log(url))
        return opened[-1]

    yield open_one
    for log in opened:
        log.close()


@pytest.fixture
def log(open_client: Opener) -> EventLog:
    return open_client()


@pytest.fixture
def topic() -> str:
    """Return a name that no other test uses: servers are shared by a session."""
    return f"topic-{ULID()}"
