"""The worker's status record."""

from recstream.worker.status import WorkerTotals


def test_a_status_record_has_the_recall_of_all_lists_and_of_each_arm() -> None:
    status = WorkerTotals()
    for rank in (1, 7, 0, 0):
        status.scores.add(rank, generation=1, source="fold-in", is_cold=False, arm="b")

    record = status.record("w", None, 0)

    assert record.prequential["all"].hits == {5: 0.25, 10: 0.5, 20: 0.5}
    assert record.prequential["arm:b"].hits == {5: 0.25, 10: 0.5, 20: 0.5}
