"""The bridge as a process: how it starts, what it refuses, how it ends."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from recstream.bridge.server import Bridge
from recstream.errors import StartupError
from recstream.settings import Settings
from tests.bridge.bridge_world import DEADLINE_S, running
from tests.waiting import wait_until

RUN = """
import sys
from recstream.bridge.server import run
from recstream.settings import Settings
run(Settings(data_dir=sys.argv[1], port=0))
"""


def test_a_port_in_use_is_named_with_what_to_do(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(StartupError, match=rf"port {port} .* --port"):
            Bridge(Settings(data_dir=str(tmp_path), port=port))

    assert not (tmp_path / "log.db").exists()


def test_a_data_directory_that_can_not_be_made_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")

    with pytest.raises(StartupError, match="data directory"):
        Bridge(Settings(data_dir=str(file), port=0))


def test_another_partition_count_than_the_logs_is_refused(tmp_path):
    with running(tmp_path) as world:
        partitions = world.bridge.settings.partitions

    with pytest.raises(Exception, match="partition"):
        Bridge(Settings(data_dir=str(tmp_path), port=0, partitions=partitions + 1))


def test_a_bridge_stopped_as_soon_as_it_starts_ends(tmp_path):
    for _ in range(5):
        with Bridge(Settings(data_dir=str(tmp_path), port=0)):
            pass


def test_a_request_kept_alive_serves_several(world):
    host, port = world.address.split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as raw:
        file = raw.makefile("rb")
        for _ in range(3):
            raw.sendall(f"GET /health/live HTTP/1.1\r\nHost: {world.address}\r\n\r\n".encode())
            assert file.readline().startswith(b"HTTP/1.1 200")
            while (line := file.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length"):
                    length = int(line.split(b":")[1])
            file.read(length)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_clients_and_ends_the_process_cleanly(tmp_path, number):
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)])
    address: Path = tmp_path / "bridge.json"
    try:
        wait_until(address.exists, "an address")
        url = json.loads(address.read_text())["url"]
        with urllib.request.urlopen(f"{url}/health/live") as answer:
            assert answer.status == 200
        with connect(f"{url.replace('http', 'ws')}/v1/ws", subprotocols=["recstream.v1"]) as client:
            client.send('{"type":"hello","user":"u","subs":[{"ch":"recs"}]}')
            client.recv(timeout=DEADLINE_S)
            process.send_signal(number)
            with pytest.raises(ConnectionClosed) as told:
                [client.recv(timeout=DEADLINE_S) for _ in range(3)]

        assert told.value.rcvd.code == 1012
        assert process.wait(DEADLINE_S) == 0
        assert not address.exists()
    finally:
        process.kill()
        process.wait()
