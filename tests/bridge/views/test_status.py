"""The state of the roles, from their records on the pipeline topic."""

from __future__ import annotations

import msgspec
import pytest

from recstream.bridge.views import Status
from recstream.core.records import TrainerStatus, TrainingProgress
from recstream.log.port import Record
from recstream.log.topics import PIPELINE


class Log:
    epoch = "A"


@pytest.mark.parametrize(
    ("beats", "is_shown"),
    [
        ([("a", True)], True),
        ([("a", True), ("b", False)], True),
        ([("a", True), ("b", True)], False),
    ],
    ids=["same trainer", "one stands by", "another took over"],
)
def test_a_training_is_shown_until_another_trainer_is_active(beats, is_shown):
    status = Status(Log(), now_ms=lambda: 0, connections=lambda: 0)
    records = [
        TrainerStatus(trainer="a", is_active=True),
        TrainingProgress(state="training", generation=1, iteration=12, iterations=12),
        *(TrainerStatus(trainer=name, is_active=is_active) for name, is_active in beats),
    ]

    status.take(
        Record(PIPELINE, 0, offset, 0, b"trainer", msgspec.json.encode(each))
        for offset, each in enumerate(records)
    )

    assert (status.pipeline().training is not None) == is_shown
