"""Batches of the tests of this folder."""

import pytest


@pytest.fixture(autouse=True)
def batches_of_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read at most 1,000 records of a partition at once, so that few records make several batches."""
    monkeypatch.setattr("recstream.log.faust.consumer.MAX_BATCH_RECORDS", 1_000)
