"""Real servers for the tests marked `integration`, and a real browser: each session starts its own."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A machine that is busy must not fail a property.
hypothesis.settings.register_profile("recstream", deadline=None)
hypothesis.settings.load_profile("recstream")

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=LocalNetworkAccessChecks",  # a page that a test serves has no address
]

LONGEST = (
    "tests/integration/test_api_conformance.py",
    "tests/integration/test_spark.py",
    "tests/crash/test_kills.py",
    "tests/integration/test_kafka_pruned.py",
    "tests/integration/test_kafka_system.py",
    "tests/integration/test_kafka_log.py",
    "tests/integration/test_kafka_stopping.py",
    "tests/integration/test_kafka_writers.py",
    "tests/integration/test_real_input.py",
    "tests/worker/test_worker.py",
    "tests/integration/test_up.py",
    "tests/core/numeric/test_kernels.py",
    "tests/docs/test_readme_tour.py",
    "tests/log/faust/test_takeovers.py",
    "tests/integration/test_mongo.py",
)
"""Files that take longest. They come first, so that processes beside each other end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {ROOT / name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


class Server:
    """A server that one of the scripts starts, on a free port, with its data in a folder of its own."""

    def __init__(self, script: str, directory: Path, *options: str) -> None:
        self.port = two_free_ports()
        self.directory = directory
        self._command = [ROOT / "scripts" / script]
        self._options = ["--port", str(self.port), "--directory", str(directory), *options]

    def run(self, action: str) -> None:
        done = subprocess.run(
            [*self._command, action, *self._options],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        self.run("start")

    def stop(self) -> None:
        self.run("stop")

    @property
    def kafka_url(self) -> str:
        return f"kafka://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it as a power cut would."""
        pid = int((self.directory / "pid").read_text())
        os.kill(pid, signal.SIGKILL)
        # Not our child: it is gone when it has no command line left.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            while Path(f"/proc/{pid}/cmdline").read_bytes():
                time.sleep(0.01)


def two_free_ports() -> int:
    """Return a free port whose next one is free too: a broker's controller listens there.

    From below the range that outgoing connections take theirs from, so that none takes the port of a
    server that is being restarted.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000, 2), 1000):
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("no free port between 20000 and 32000")


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server of this test's own, which may be stopped or killed."""
    with contextlib.ExitStack() as running:

        def start(script: str, *options: str) -> Server:
            server = Server(script, tmp_path / f"{script}-server", *options)
            server.start()
            running.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server("kafka", tmp_path_factory.mktemp("kafka"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka_url(kafka_server: Server) -> str:
    return kafka_server.kafka_url


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server("mongo", tmp_path_factory.mktemp("mongo"))
    server.start()
    yield server
    server.stop()


_databases = itertools.count()


@pytest.fixture
def mongo_database_url(mongo_server: Server) -> str:
    """Return a database that no other test uses."""
    return f"mongodb://127.0.0.1:{mongo_server.port}/test{next(_databases)}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Return a browser; a machine without one skips.

    Of a module and not of the session: while it is open, an event loop runs in this thread, and no
    asynchronous test can.
    """
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is needed; Debian's package will do")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
