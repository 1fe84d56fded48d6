"""Synthetic traffic of the demo shop over REST."""

from datetime import UTC, datetime

import pytest

from recstream.log.topics import INTERACTIONS
from recstream.runtime.demo_shop import seed_shop
from tests.bridge.bridge_world import NOW, SECRET, running
from tests.waiting import wait_until


def test_traffic_of_the_demo_shop_is_switched_on_and_off(tmp_path):
    with running(tmp_path) as world:
        refused = world.call("PUT", "/v1/traffic", {"rate": 50})
        seed_shop(world.log, seed=0, now=datetime(2026, 11, 22, tzinfo=UTC))
        before = n_events(world)

        on = world.call("PUT", "/v1/traffic", {"rate": 100}).json
        wait_until(lambda: n_events(world) > before + 3, "events")
        assert world.get("/v1/traffic").json["n_sent"] > 3
        off = world.call("PUT", "/v1/traffic", {"rate": 0}).json
        sent = n_events(world)

        assert (refused.status, refused.json["type"]) == (409, "urn:recstream:problem:no-demo-shop")
        assert (on["rate"], on["since_ts"]) == (100.0, round(NOW.timestamp() * 1000))
        assert (off["rate"], off["n_sent"], off["why_not"]) == (0.0, 0, "")
        assert n_events(world) == sent


def n_events(world):
    return sum(world.log.high_watermark(INTERACTIONS, p) for p in range(2))


@pytest.mark.parametrize(("allowed", "status"), [(False, 403), (True, 200)])
def test_a_bridge_with_a_secret_sends_traffic_only_if_a_setting_allows_it(
    tmp_path, allowed, status
):
    with running(tmp_path, secret=SECRET, allow_traffic=allowed) as world:
        seed_shop(world.log, seed=0, now=datetime(2026, 11, 22, tzinfo=UTC))
        token, _ = world.bridge.deps.auth.issue(None)

        assert world.call("PUT", "/v1/traffic", {"rate": 1}, token=token).status == status
