"""A real shop for the page's tests: `recstream up` in a folder of its own, and a real Chromium."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.shop_client import get
from tests.browser.tcp_proxy import TcpProxy
from tests.waiting import wait_until

START_DEADLINE_S = 180.0
PATIENCE_MS = 15_000
"""For a busy machine; how quick the page is, `scripts/bench/freshness.py` and `push.py` say."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="session")
def shop(shop_folder: Path) -> Iterator[str]:
    """Return the address of a running shop with a trained model."""
    folder = shop_folder
    command = [sys.executable, "-m", "recstream", "up", "--data-dir", str(folder), "--port", "0"]
    # Without self-tuning, a generation follows a request alone.
    command += ["--set", "self_tuning=false"]
    output = folder / "up.log"
    with output.open("w") as log:
        process = subprocess.Popen(
            [*command, "--no-open", "--traffic", "0"], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield wait_until(
                lambda: _served(process, folder, output),
                lambda: f"a trained shop\n{output.read_text()}",
                deadline_s=START_DEADLINE_S,
            )
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _served(process: subprocess.Popen[bytes], folder: Path, output: Path) -> str | None:
    if process.poll() is not None:
        pytest.fail(f"recstream up ended by itself:\n{output.read_text()}")
    address = folder / "bridge.json"
    if not address.exists():
        return None
    url = str(json.loads(address.read_text())["url"])
    try:
        is_trained = (get(f"{url}/v1/pipeline").get("generation") or 0) >= 1
        return url if is_trained and get(f"{url}/health/ready")["status"] == "ready" else None
    except OSError:
        return None


class Visit:
    """Opens pages and keeps what went wrong in them."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser = browser
        self.url = url
        self.contexts: list[Any] = []
        self.troubles: list[str] = []
        self.expected: tuple[str, ...] = ()

    def __call__(
        self,
        user: str = "",
        *,
        url: str = "",
        width: int = 1440,
        height: int = 900,
        has_clock: bool = False,
        **more: Any,
    ) -> Any:
        """Return a page of a fresh browser profile, with its list and products drawn.

        With a clock of its own, `page.clock.fast_forward` passes time at once.
        """
        size = {"width": width, "height": height}
        context = self.browser.new_context(viewport=size, **more)
        if has_clock:
            context.clock.install()
        context.set_default_timeout(PATIENCE_MS)
        self.contexts.append(context)
        return self.open(context, user, url)

    def open(self, context: Any, user: str = "", url: str = "") -> Any:
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.troubles.append(f"uncaught: {error}"))
        page.goto(f"{url or self.url}/" + (f"?user={user}" if user else ""))
        page.locator(".place-open").first.wait_for()
        page.locator(".card-open").first.wait_for()
        return page

    def _heard(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.troubles.append(f"{message.type}: {message.text}")

    def close(self) -> list[str]:
        for context in self.contexts:
            context.close()
        return [
            trouble
            for trouble in self.troubles
            if not any(words in trouble for words in self.expected)
        ]


@pytest.fixture
def visit(chromium: Any, shop: str) -> Iterator[Visit]:
    """Return a function that opens pages; no page may have logged an error in the end."""
    from playwright.sync_api import expect  # noqa: PLC0415 - collecting needs no browser

    expect.set_options(timeout=PATIENCE_MS)
    visit = Visit(chromium, shop)
    yield visit
    assert visit.close() == []


@pytest.fixture
def proxy(shop: str) -> Iterator[TcpProxy]:
    """Return a proxy in front of the shop that can be killed and brought back."""
    host, port = shop.removeprefix("http://").split(":")
    with TcpProxy((host, int(port))) as running:
        yield running
