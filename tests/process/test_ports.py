"""URLs of what listens on this machine."""

import pytest

from recstream.process import url_of


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("localhost", "http://localhost:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 - compared, not bound
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("2001:db8::7", "http://[2001:db8::7]:8000"),
    ],
)
def test_an_address_of_ipv6_is_in_brackets_and_every_address_is_the_loopback_one(
    host: str, url: str
) -> None:
    assert url_of(host, 8000) == url
