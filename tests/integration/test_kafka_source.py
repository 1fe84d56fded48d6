"""A topic of a real broker as a source, through the command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from recstream.cli import cli
from recstream.core.events import decode_events
from recstream.log import DEAD_LETTERS, INTERACTIONS, open_log, read_records
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import Server

pytestmark = pytest.mark.integration


def imported(folder: Path) -> tuple[list[str], int]:
    """Return the users of all events, and the number of dead letters."""
    with closing(open_log(f"embedded://{folder / 'log.db'}")) as log:
        users = [
            event.user
            for partition in range(log.partitions(INTERACTIONS))
            for record in read_records(log, INTERACTIONS, partition)
            for event in decode_events(record.value or b"[]")
        ]
        letters = sum(
            log.high_watermark(DEAD_LETTERS, p) for p in range(log.partitions(DEAD_LETTERS))
        )
    return sorted(users), letters


@pytest.fixture
def put(kafka_server: Server) -> Callable[..., None]:
    servers = {"bootstrap.servers": f"127.0.0.1:{kafka_server.port}"}
    admin = AdminClient(servers)
    admin.create_topics([NewTopic("clicks", 2)])["clicks"].result(30)
    producer = Producer(servers)

    def put(*users: str) -> None:
        for user in users:
            value = b"{" if user == "?" else json.dumps({"u": user, "i": "p1"}).encode()
            producer.produce("clicks", value)
        assert producer.flush(30) == 0

    return put


def test_a_topic_is_imported_once_over_runs_and_followed_until_interrupted(
    kafka_server: Server, tmp_path: Path, put: Callable[..., None]
) -> None:
    mapping = tmp_path / "clicks.json"
    mapping.write_text('{"user": "u", "item": "i"}')
    url, data = f"{kafka_server.kafka_url}/clicks", ("--data-dir", str(tmp_path))

    def run(*more: str) -> Result:
        return CliRunner().invoke(cli, ["import", "events", url, *data, "--json", *more])

    put("ann", "?", "bob")
    report = json.loads(run("--mapping", str(mapping)).output)
    assert (report["imported"], report["rejected"]) == (2, 1)
    assert json.loads(run("--mapping", str(mapping)).output)["imported"] == 0
    assert imported(tmp_path) == (["ann", "bob"], 1)

    following = subprocess.Popen(
        [
            *(sys.executable, "-m", "recstream", "import", "events", url, "--json"),
            *("--user", "u", "--item", "i", "--follow", *data),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    put("cid")
    wait_until(lambda: "cid" in imported(tmp_path)[0], "the new record")
    following.send_signal(signal.SIGINT)
    output, _ = following.communicate(timeout=60)
    assert json.loads(output)["imported"] == 1
    assert imported(tmp_path) == (["ann", "bob", "cid"], 1)

    missing = CliRunner().invoke(
        cli,
        ["import", "events", f"{kafka_server.kafka_url}/nothing", *data, "--mapping", str(mapping)],
    )
    assert "there is no topic 'nothing'" in str(missing.exception)
    assert "a topic needs --mapping" in str(run().exception)


def test_a_topic_that_was_created_again_and_grew_is_named(
    kafka_server: Server, tmp_path: Path
) -> None:
    servers = {"bootstrap.servers": f"127.0.0.1:{kafka_server.port}"}
    admin = AdminClient(servers)
    producer = Producer(servers)

    def put(n: int) -> None:
        admin.create_topics([NewTopic("visits", 1)])["visits"].result(30)
        for number in range(n):
            producer.produce("visits", json.dumps({"u": f"u{number}", "i": "p1"}).encode())
        assert producer.flush(30) == 0

    def run() -> Result:
        url = f"{kafka_server.kafka_url}/visits"
        named = ["--user", "u", "--item", "i", "--json", "--data-dir", str(tmp_path)]
        return CliRunner().invoke(cli, ["import", "events", url, *named])

    put(2)
    assert json.loads(run().output)["imported"] == 2
    admin.delete_topics(["visits"])["visits"].result(30)
    wait_until(lambda: "visits" not in admin.list_topics().topics, "the end of the topic")
    put(5)

    assert "deleted and created again" in str(run().exception)
    assert imported(tmp_path) == (["u0", "u1"], 0)
