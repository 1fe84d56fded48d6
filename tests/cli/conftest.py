"""A data folder with a log in it, for the commands that look at one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from recstream.log import open_log
from recstream.log.port import EventLog
from recstream.log.topics import topic_specs


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def event_log(data: Path) -> Iterator[EventLog]:
    event_log = open_log(f"embedded://{data}/log.db")
    event_log.create_topics(topic_specs(2))
    yield event_log
    event_log.close()
