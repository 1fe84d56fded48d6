"""A bridge that falls back to an older generation knows what its deltas withdrew."""

import msgspec

from recstream.core.records import DeltaAnnounced
from recstream.log import MODELS, NewRecord
from recstream.models import open_store
from tests.bridge.bridge_world import checker_board, running
from tests.waiting import wait_until


def test_a_withdrawn_item_stays_withdrawn_when_the_newest_artifact_is_lost(tmp_path):
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        delta = DeltaAnnounced(
            generation=1, delta=1, offsets={}, items=(), factors=b"", bias=b"", counts=b"",
            created_ts=0, catalogue={"i1": None},
        )  # fmt: skip
        world.log.append([NewRecord(MODELS, b"delta", msgspec.json.encode(delta), 0)])
        newest = world.announce(checker_board(2))
        world.wait_for_views()
        open_store(world.bridge.settings.models_url).delete(newest.artifact)

    with running(tmp_path) as world:
        recommender = world.bridge.deps.recommender
        wait_until(lambda: recommender.current is not None, "a generation")

        assert recommender.current == (1, 1)
