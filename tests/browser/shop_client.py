"""What the page's tests ask of the shop beside the page: its REST interface, and patience."""

import json
import urllib.request
from typing import Any


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
