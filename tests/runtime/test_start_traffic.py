"""Synthetic traffic is asked for once for each bridge process; a refusal is shown."""

import urllib.error
import urllib.request
from email.message import Message
from typing import Any

import pytest

from recstream.runtime.start_traffic import BridgeTraffic
from recstream.settings import Settings

URL = "http://bridge"


@pytest.fixture
def statuses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the statuses that the bridge answers with, the next one last."""
    coming: list[int] = []

    def refuse(request: Any, timeout: float) -> None:  # noqa: ARG001 - urlopen's signature
        status = coming.pop()
        raise urllib.error.HTTPError(request.full_url, status, "Refused", Message(), None)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
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
