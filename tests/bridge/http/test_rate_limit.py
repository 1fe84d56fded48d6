"""The rate of each client is limited; others are not concerned."""

import pytest
from flask import Flask, g

from recstream.bridge.auth import Identity
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.rate_limit import BURST_S, RateLimiter
from tests.bridge.bridge_world import SECRET, running

PER_S = 10


class Client:
    """A limiter, the clock it reads, and requests to charge."""

    def __init__(self, per_s=PER_S):
        self.now_s = 0.0
        self.limiter = RateLimiter(per_s, now_s=lambda: self.now_s)
        self.app = Flask("test")

    def charge(self, amount=1, *, user=None, address="10.0.0.1"):
        with self.app.test_request_context("/", environ_base={"REMOTE_ADDR": address}):
            g.identity = Identity(user=user)
            self.limiter.charge(amount)


def test_a_client_may_send_a_burst_and_then_at_its_rate():
    client = Client()
    for _ in range(int(PER_S * BURST_S)):
        client.charge()
    with pytest.raises(HttpProblem) as refused:
        client.charge()

    assert (refused.value.status, refused.value.retry_after_s) == (429, 1)
    client.now_s += 1.0
    client.charge(PER_S)
    with pytest.raises(HttpProblem):
        client.charge()


def test_other_clients_are_not_limited_by_a_busy_one():
    client = Client()
    client.charge(int(PER_S * BURST_S))

    client.charge(address="10.0.0.2")
    client.charge(user="ann")
    client.charge(user="bob")
    with pytest.raises(HttpProblem):
        client.charge()


def test_the_addresses_of_one_ipv6_network_are_one_client():
    client = Client()
    client.charge(int(PER_S * BURST_S), address="2001:db8:0:1::1")

    for address in ("2001:db8:0:1::2", "2001:0db8::1:ffff:0:0:1", "2001:db8:0:1::3%eth0"):
        with pytest.raises(HttpProblem):
            client.charge(address=address)
    for address in ("2001:db8:0:2::1", "::1", "10.0.0.9", "", "unix:"):
        client.charge(int(PER_S * BURST_S), address=address)
    with pytest.raises(HttpProblem):
        client.charge(address="::ffff:10.0.0.9")


def test_a_batch_above_the_burst_is_accepted_by_itself_and_paid_for_later():
    client = Client()
    client.charge(1000)
    client.now_s += 1000 / PER_S - 1
    with pytest.raises(HttpProblem):
        client.charge(100)

    client.now_s += BURST_S + 1
    client.charge(100)


def test_a_request_with_a_batch_above_the_burst_is_accepted():
    client = Client()
    client.charge()  # the request
    client.charge(1000)  # its entries


def test_zero_means_no_limit():
    client = Client(per_s=0)
    for _ in range(1000):
        client.charge(1000)


def test_a_flood_of_events_gets_429_with_retry_after(tmp_path):
    batch = [{"type": "view", "user": "u", "item": f"i{n}"} for n in range(100)]
    with running(tmp_path, rate_limit=50, secret=SECRET) as world:
        tokens = [world.bridge.deps.auth.issue(user)[0] for user in ("u", "other")]
        answers = [world.post("/v1/events", batch, token=tokens[0]) for _ in range(6)]
        other = world.get("/v1/users/other/recommendations", token=tokens[1])
        health = world.get("/health/live")

    assert {answer.status for answer in answers} == {202, 429}
    assert all(one.headers["Retry-After"] for one in answers if one.status == 429)
    assert (other.status, health.status) == (200, 200)
