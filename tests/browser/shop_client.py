"""What the page's tests ask of the shop beside the page: its REST interface, and patience."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest


def get(url: str) -> Any:
    """Return what an address answers, as JSON."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def request(url: str, method: str, body: Any) -> int:
    """Send JSON; return the status."""
    data = json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    sent = urllib.request.Request(url, data=data, headers=headers, method=method)
    with urllib.request.urlopen(sent, timeout=10) as answer:
        return int(answer.status)


def expect(actual: Any) -> Any:
    """Return Playwright's waiting assertions; imported late, so that collecting needs no browser."""
    from playwright.sync_api import expect  # noqa: PLC0415

    return expect(actual)


def wait_until(ask: Callable[[], Any], what: Callable[[], str], *, deadline_s: float) -> Any:
    """Return the first answer that is not None or False; fail when the deadline passes."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            if answer := ask():
                return answer
        except OSError:
            pass
        time.sleep(0.05)
    pytest.fail(f"{what()}: not within {deadline_s:g} s")
