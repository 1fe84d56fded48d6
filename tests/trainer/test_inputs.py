"""The trainer's inputs start from checkpoints: the same histories as from the whole changelog."""

import msgspec
import pytest

from recstream.checkpoints import columns, open_checkpoints
from recstream.log import TopicPartition
from recstream.trainer.histories import checkpoint
from recstream.trainer.inputs import Inputs
from tests.checkpoints.made import make_checkpoint
from tests.trainer.histories.test_changelog import everything
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


@pytest.mark.parametrize("file", ["new", "of version 0.1", "with odd pages of every user"])
@pytest.mark.parametrize("group_bytes", [400, 10**6])
def test_histories_from_checkpoints_are_those_of_the_changelog(
    fed, settings, monkeypatch, group_bytes, file
):
    monkeypatch.setattr(columns, "GROUP_BYTES", group_bytes)
    if file != "new":
        monkeypatch.setattr(columns.pq.ParquetWriter, "add_key_value_metadata", lambda *_: None)
    if file == "with odd pages of every user":
        monkeypatch.setattr(checkpoint, "_PAGE", b"")
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
