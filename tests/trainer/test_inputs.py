"""The trainer's inputs start from checkpoints: the same histories as from the whole changelog."""

from __future__ import annotations

import msgspec
import pytest

from recstream.checkpoints import columns, open_checkpoints
from recstream.log import TopicPartition
from recstream.trainer import checkpoint
from recstream.trainer.inputs import Inputs
from tests.checkpoints.made import make_checkpoint
from tests.trainer.test_changelog import everything
from tests.trainer.trainer_world import SETTINGS, follow
from tests.worker.worker_world import CHANGELOG, event, single


@pytest.fixture
def settings(tmp_path):
    return msgspec.structs.replace(SETTINGS, data_dir=str(tmp_path))


def read(settings, log):
    found = Inputs(settings, log)
    try:
        while not found.is_caught_up:
            found.poll(1.0)
    finally:
        found.close()
    return found


@pytest.mark.parametrize("page", [b"\0p", b""])
@pytest.mark.parametrize("rows_at_once", [9, 100_000])
def test_histories_from_checkpoints_are_those_of_the_changelog(
    fed, settings, monkeypatch, rows_at_once, page
):
    monkeypatch.setattr(columns, "GROUP_ROWS", rows_at_once)
    monkeypatch.setattr(checkpoint, "_PAGE", page)  # b"": every user as if some page were odd
    checkpoints = open_checkpoints(fed.log, settings)
    made = [
        make_checkpoint(
            checkpoints,
            p,
            7 * (fed.log.high_watermark("recstream.interactions", p) // 14),
            CHANGELOG,
        )
        for p in range(2)
    ]
    fed.feed([single(event(10_000, "new", "p1")), single(event(10_001, "u1", "p1"))])
    expected = follow(fed)

    started = read(settings, fed.log)

    assert all(each.changelog_offset > 0 for each in made)
    assert started.histories.offsets == expected.offsets
    assert started.histories.n_events == expected.n_events
    assert everything(started.changelog) == everything(expected)


def test_only_what_came_after_the_checkpoint_is_read(fed, settings):
    checkpoints = open_checkpoints(fed.log, settings)
    made = [make_checkpoint(checkpoints, p, 10**6, CHANGELOG) for p in range(2)]

    started = read(settings, fed.log)

    for manifest in made:
        tp = TopicPartition(CHANGELOG, manifest.partition)
        assert manifest.changelog_offset + 1 == fed.log.high_watermark(*tp)
    assert started.histories.n_events == follow(fed).n_events
