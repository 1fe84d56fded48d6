"""Synthetic traffic is asked for once for each bridge process; a refusal is shown."""

import threading
import urllib.error
import urllib.request
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from recstream.runtime import start_traffic
from recstream.runtime.start_traffic import BridgeTraffic, open_bridge
from recstream.settings import Settings

URL = "http://bridge"


@pytest.fixture
def statuses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the statuses that the bridge answers with, the next one last."""
    coming: list[int] = []

    def refuse(request: Any, timeout_s: float) -> None:  # noqa: ARG001
        status = coming.pop()
        raise urllib.error.HTTPError(request.full_url, status, "Refused", Message(), None)

    monkeypatch.setattr(start_traffic, "open_bridge", refuse)
    return coming


def test_each_bridge_process_that_refuses_is_shown_once(statuses: list[int]) -> None:
    traffic = BridgeTraffic(Settings(), 5.0, lambda: 0.0)
    statuses += [403, 403]
    said = (
        "no synthetic traffic: PUT http://bridge/v1/traffic was answered 403 Refused; "
        "switch it on in the page's lab"
    )

    assert [traffic.ensure_on(URL, process_id) for process_id in (1, 1, 2, 2)] == [
        said,
        "",
        said,
        "",
    ]


def test_an_overloaded_bridge_is_asked_again(statuses: list[int]) -> None:
    traffic = BridgeTraffic(Settings(), 5.0, lambda: 0.0)
    statuses += [403, 503, 503]

    assert [bool(traffic.ensure_on(URL, 1)) for _ in range(3)] == [False, False, True]
    assert statuses == []


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


def test_a_bridge_of_this_machine_is_asked_without_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)
    with HTTPServer(("127.0.0.1", 0), _Answering) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with open_bridge(f"http://127.0.0.1:{server.server_port}/health/live", 5.0) as answer:
            assert answer.status == 200
        thread.join()
