"""The worker's status record, and the gauges that are set with it."""

from __future__ import annotations

from recstream.metrics import REGISTRY
from recstream.worker.status import WorkerTotals


def test_a_status_record_sets_the_gauges_of_online_evaluation() -> None:
    status = WorkerTotals()
    for rank in (1, 7, 0, 0):
        status.scores.add(rank, generation=1, source="fold-in", is_cold=False, arm="b")

    record = status.record("w", None, 0)

    assert record.prequential["all"].hits == {5: 0.25, 10: 0.5, 20: 0.5}
    assert REGISTRY.get_sample_value("recstream_prequential_recall_ratio", {"k": "10"}) == 0.5
    assert REGISTRY.get_sample_value("recstream_arm_recall_ratio", {"arm": "b", "k": "5"}) == 0.25
