"""A log with topics for Faust apps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from recstream.log.embedded import EmbeddedLog, open_embedded
from recstream.log.topics import TopicSpec
from tests.log.faust.faust_apps import PARTITIONS


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"embedded://{tmp_path}/log.db?sync=normal"


@pytest.fixture
def log(url: str) -> Iterator[EmbeddedLog]:
    log = open_embedded(url)
    log.create_topics([TopicSpec("events", PARTITIONS), TopicSpec("out", PARTITIONS)])
    yield log
    log.close()
