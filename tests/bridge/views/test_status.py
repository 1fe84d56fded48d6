"""The state of the roles, from their records on the pipeline topic."""

import msgspec
import pytest

from recstream.bridge.views import Status
from recstream.bridge.views.status import MAX_REASONS, ROLES_KEPT
from recstream.core.records import (
    ClickCounts,
    DeadLetter,
    Lineage,
    PrequentialScore,
    Recommendations,
    TrainerStatus,
    TrainingProgress,
    WorkerStatus,
)
from recstream.log.port import Record
from recstream.log.topics import DEAD_LETTERS, PIPELINE
from recstream.metrics import REGISTRY


class Log:
    """A log whose pipeline topic ends at offset 10, and whose dead letters end at 3."""

    epoch = "A"

    def partitions(self, _topic):
        return 1

    def earliest(self, _topic, _partition):
        return 0

    def high_watermark(self, topic, _partition):
        return {PIPELINE: 10, DEAD_LETTERS: 3}[topic]


def sample(name, **labels):
    """Return a metric's value, 0 before it was set."""
    return REGISTRY.get_sample_value(f"recstream_{name}", labels) or 0.0


def record_of(status, offset=10, topic=PIPELINE):
    return Record(topic, 0, offset, 0, None, msgspec.json.encode(status))


def status_at(now_ms=0):
    status = Status(Log(), now_ms=lambda: now_ms, connections=lambda: 0)
    status.positions()
    return status


def worker(folded, ignored=0, name="w", **fields):
    """Return the status of a worker that folded and ignored so many views."""
    counts = {"view": {"folded": folded, "ignored": ignored}}
    fields = {"published": 0, "dead_letters": 0, "lag": {}, "generation": 1} | fields
    return WorkerStatus(worker=name, events=folded + ignored, outcomes=counts, **fields)


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


def test_events_are_counted_from_one_status_record_to_the_next():
    before = sample("events_ingested_total", type="view", outcome="folded")
    status = status_at()

    status.take([record_of(worker(100), offset=9)])  # before the bridge started
    status.take([record_of(worker(103, ignored=1), offset=10)])
    status.take([record_of(worker(2), offset=11)])  # the worker was restarted
    status.take([record_of(worker(5, name="another"), offset=12)])

    found = sample("events_ingested_total", type="view", outcome="folded")
    assert found - before == 3 + 2 + 5


def test_a_status_record_with_impossible_counts_stops_nobody():
    status = status_at()

    changed = [status.take([record_of(worker(count), offset=10)]) for count in (-5, 10**400, 7)]

    assert changed[-1]
    assert [each.events for each in status.pipeline().workers] == [7]


def test_gauges_are_those_of_the_workers_that_report():
    scores = {
        "all": PrequentialScore(events=4, hits={10: 0.5}, mrr=0.2),
        "arm:b": PrequentialScore(events=4, hits={5: 0.25}, mrr=0.2),
    }
    clicks = {"arm:b": ClickCounts(shown=8, clicked=2)}
    one = worker(1, prequential=scores, clicks=clicks, fold_in_ms_p50=0.5, fold_in_ms_p99=4.0)

    status_at().take([record_of(one), record_of(worker(1, name="v", fold_in_ms_p99=3.0), 11)])

    assert sample("prequential_recall_ratio", k="10") == 0.5
    assert sample("arm_recall_ratio", arm="b", k="5") == 0.25
    assert sample("arm_items", arm="b", what="shown") == 8.0
    assert sample("arm_items", arm="b", what="taken") == 2.0
    assert sample("fold_in_duration_seconds", quantile="0.5") == 0.0005
    assert sample("fold_in_duration_seconds", quantile="0.99") == 0.004


def test_trainings_that_end_while_the_bridge_runs_are_counted_once():
    before = sample("training_duration_seconds_sum")
    status = status_at()
    done = TrainingProgress(state="done", generation=2, seconds=4.0)

    status.take([record_of(done, offset=9), record_of(done, offset=10)])
    status.take([record_of(TrainingProgress(state="training", generation=3, seconds=1.0), 11)])

    assert sample("training_duration_seconds_sum") - before == 4.0


def test_dead_letters_of_every_role_are_counted_by_reason():
    names = "dead_letters_total"
    before = {each: sample(names, reason=each) for each in ("malformed", "unreadable", "other")}
    status = status_at()
    letter = DeadLetter(reason="malformed", detail="", topic="t", partition=0, offset=0)
    many = [
        DeadLetter(reason=f"r{n}", detail="", topic="t", partition=0, offset=0) for n in range(200)
    ]

    status.take([record_of(letter, 3, DEAD_LETTERS), record_of(["odd"], 4, DEAD_LETTERS)])
    status.take([record_of(each, 5, DEAD_LETTERS) for each in many])

    found = {each: sample(names, reason=each) - n for each, n in before.items()}
    assert found == {"malformed": 1.0, "unreadable": 1.0, "other": 202.0 - MAX_REASONS}


def test_the_stages_of_a_pushed_list_are_measured_from_the_append():
    n_before = sample("freshness_seconds_count", stage="sent")
    before = {
        each: sample("freshness_seconds_sum", stage=each)
        for each in ("folded", "published", "sent")
    }
    lineage = Lineage(
        event_id="e", event_ts=900, appended_ts=1000, folded_ts=1010, published_ts=1020
    )
    made = Recommendations(
        rec_id="r", user="u", epoch="A", offset=1, generation=1, source="fold-in", items=(), lineage=lineage
    )  # fmt: skip

    imported = Lineage(event_ts=1, appended_ts=10_000_000, folded_ts=1, published_ts=1)
    status_at(now_ms=1050).pushed(made)
    status_at(now_ms=1050).pushed(msgspec.structs.replace(made, lineage=imported))

    found = {each: sample("freshness_seconds_sum", stage=each) - n for each, n in before.items()}
    assert found == pytest.approx({"folded": 0.01, "published": 0.02, "sent": 0.05})
    assert sample("freshness_seconds_count", stage="sent") - n_before == 1.0


@pytest.mark.parametrize("ahead_s", [-3600, 0, 3600])
def test_a_heartbeat_is_as_old_as_its_arrival_whatever_the_clocks_of_the_machines(ahead_s):
    now = {"ms": 10**9, "s": 50.0}
    status = Status(Log(), now_ms=lambda: now["ms"], connections=lambda: 0, now_s=lambda: now["s"])
    status.positions()

    status.take([record_of(worker(1, ts=10**9 + 1000 * ahead_s))])
    now["s"] += 2.0
    assert status.worker_beat().age_ms == 2000

    assert len(status.pipeline().workers) == 1

    now["s"] += 60.0
    now["ms"] -= 10**8  # the bridge's clock is set back
    assert status.worker_beat().age_ms == 62_000
    assert status.pipeline().workers == ()


def test_a_heartbeat_from_before_the_bridge_is_as_old_as_it_says():
    now_s = [50.0]
    status = Status(Log(), now_ms=lambda: 90_000, connections=lambda: 0, now_s=lambda: now_s[0])
    status.positions()

    status.take([record_of(worker(1, ts=60_000), offset=9)])

    assert status.worker_beat().age_ms == 30_000


def test_a_worker_and_a_trainer_of_one_name_have_heartbeats_of_their_own():
    clock_s = [0.0]
    status = Status(Log(), now_ms=lambda: 0, connections=lambda: 0, now_s=lambda: clock_s[0])
    status.positions()
    status.take([record_of(worker(1, name="host-1"))])
    clock_s[0] = 60.0

    status.take([record_of(TrainerStatus(trainer="host-1", is_active=True))])

    assert status.worker_beat().age_ms == 60_000
    assert status.trainer_beat().age_ms == 0
    others = [TrainerStatus(trainer=f"t{n}", is_active=False) for n in range(ROLES_KEPT)]
    status.take(map(record_of, others))
    assert status.worker_beat().age_ms == 60_000
