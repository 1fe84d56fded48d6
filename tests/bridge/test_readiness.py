"""Readiness: roles that do not beat, do not fold or do not keep up; a log that is away."""

import pytest

from recstream.bridge.push import Pipeline
from recstream.bridge.readiness import MAX_TRAINER_LAG, STALLED_S, WINDOW_S, Readiness
from recstream.bridge.views.status import Heartbeat
from recstream.errors import LogUnavailable
from recstream.log.port import TopicPartition
from recstream.log.topics import INTERACTIONS
from recstream.metrics import HEARTBEAT_LATE_S, REGISTRY
from recstream.process import COMPILING

TP = TopicPartition(INTERACTIONS, 0)


class Place:
    """A log, heartbeats and a clock, all set by hand."""

    def __init__(self, folder):
        self.now_s = 100.0
        self.ends, self.done = [0, 0], [0, 0]
        self.silent_s = {"worker": 0.0, "trainer": 0.0}
        self.generation, self.trainer_lag, self.is_active, self.waits_for = 3, 0, True, ""
        self.is_away = False
        self.works, self.compiling = True, ""
        self.readiness = Readiness(self, self, group="g", folder=folder, now_s=lambda: self.now_s)
        self.readiness.parts = {"the log is not followed": lambda: self.works}
        self.readiness.is_compiling = lambda: self.compiling == "bridge"
        self.readiness.sample()

    def committed(self, group, *topics):
        assert (group, topics) == ("g", (INTERACTIONS,))
        if self.is_away:
            raise LogUnavailable("away")
        return {TopicPartition(INTERACTIONS, p): done for p, done in enumerate(self.done)}

    def partitions(self, topic):  # noqa: ARG002
        return 2

    def earliest(self, topic, partition):  # noqa: ARG002
        return 0

    def n_waiting(self, topic, partition, offset):  # noqa: ARG002
        return max(0, self.ends[partition] - offset)

    def _age_ms(self, role):
        silent_s = self.silent_s[role]
        return None if silent_s is None else round(silent_s * 1000)

    def worker_beat(self):
        is_compiling = self.compiling == "worker"
        return Heartbeat(self._age_ms("worker"), self.generation, is_compiling=is_compiling)

    def trainer_beat(self):
        return Heartbeat(
            self._age_ms("trainer"),
            -1,
            self.trainer_lag,
            self.is_active,
            self.waits_for,
            self.compiling == "trainer",
        )

    def pipeline(self):
        return Pipeline(epoch="", offset=0)

    def pipeline_of_roles(self):
        return self.readiness.pipeline().roles

    def roles(self, after_s=2.0):
        self.now_s += after_s
        self.readiness.sample()
        return self.readiness.roles()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_roles_that_beat_and_have_nothing_to_do_are_ready(place):
    roles = place.roles(1000.0)

    assert {name: (role.is_ready, role.state, role.lag) for name, role in roles.items()} == {
        "worker": (True, "ready", 0),
        "trainer": (True, "ready", 0),
        "bridge": (True, "ready", None),
    }


@pytest.mark.parametrize("role", ["worker", "trainer"])
@pytest.mark.parametrize("silent_s", [None, HEARTBEAT_LATE_S + 1])
def test_a_role_without_a_heartbeat_is_down(place, role, silent_s):
    place.silent_s[role] = silent_s

    health = place.roles()[role]

    assert (health.is_ready, health.state) == (False, "down")
    assert "heartbeat" in health.waits_for[0]
    assert health.heartbeat_age_ms == (None if silent_s is None else round(silent_s * 1000))


def test_a_worker_that_beats_but_does_not_fold_is_not_ready(place):
    place.ends[0] = 7
    assert place.roles()["worker"].is_ready

    worker = place.roles(STALLED_S + 1)["worker"]

    assert (worker.state, worker.lag) == ("down", 7)
    assert "7 events wait" in worker.waits_for[0]


def test_one_partition_that_is_not_folded_is_seen_while_others_are(place):
    place.ends = [7, 1000]
    for _ in range(20):
        place.done[1] += 10
        worker = place.roles(1.0)["worker"]

    assert worker.state == "down"
    assert "7 events wait" in worker.waits_for[0]


def test_a_worker_that_is_behind_but_catches_up_is_ready(place):
    place.ends[0] = 1_000_000
    for _ in range(10):
        place.done[0] += 1000
        worker = place.roles(STALLED_S - 1)["worker"]

    assert (worker.is_ready, worker.lag) == (True, 990_000)


def test_a_lag_that_does_not_shrink_is_degraded(place):
    place.ends[0] = 5000
    for _ in range(int(WINDOW_S) + 1):
        place.ends[0] += 10
        place.done[0] += 10
        worker = place.roles(1.0)["worker"]

    assert (worker.state, worker.is_ready, worker.lag) == ("degraded", False, 5000)
    assert "do not become fewer" in worker.waits_for[0]


def test_a_worker_that_folds_each_event_soon_is_ready_though_some_always_wait(place):
    for _ in range(100):
        place.done[0] = place.ends[0]
        place.ends[0] += 1000
        worker = place.roles(1.0)["worker"]

    assert (worker.is_ready, worker.lag) == (True, 1000)


def test_a_worker_without_a_model_is_degraded(place):
    place.generation = -1

    assert place.roles()["worker"].state == "degraded"


def test_trainers_that_only_stand_by_or_wait_for_the_store_are_degraded(place):
    place.is_active = False
    assert place.roles()["trainer"].waits_for == ("trainer: none is active",)

    place.is_active, place.waits_for = True, "the model store is away"
    trainer = place.roles()["trainer"]

    assert (trainer.state, trainer.waits_for) == ("degraded", ("trainer: the model store is away",))


def test_a_trainer_that_does_not_catch_up_is_degraded(place):
    place.trainer_lag = MAX_TRAINER_LAG + 1
    place.roles()
    assert place.roles()["trainer"].is_ready

    assert place.roles(WINDOW_S)["trainer"].state == "degraded"


def test_a_bridge_that_can_make_no_lists_yet_says_how_far_it_is(place):
    reported = []
    place.readiness.on_change = lambda: reported.append(place.pipeline_of_roles()[-1].reason)
    for said in ("preparing 100 products, 1 %", "preparing 100 products, 2 %", ""):
        place.readiness.preparing = lambda said=said: said
        bridge = place.roles()["bridge"]
        assert bridge.state == ("degraded" if said else "ready")

    assert reported == [
        "bridge: preparing 100 products, 1 %",
        "bridge: preparing 100 products, 2 %",
        "",
    ]


@pytest.mark.parametrize("role", ["worker", "trainer", "bridge"])
def test_a_role_whose_kernels_are_being_compiled_is_ready_with_a_note(place, role):
    place.compiling = role

    roles = place.roles()

    assert all(each.state == "ready" for each in roles.values())
    assert {name: each.note for name, each in roles.items() if each.note} == {role: COMPILING}
    reasons = {each.name: each.reason for each in place.pipeline_of_roles() if each.reason}
    assert reasons == {role: COMPILING}


@pytest.mark.parametrize("role", ["worker", "trainer", "bridge"])
def test_the_note_says_for_how_long_kernels_have_been_compiled(place, role):
    place.compiling = role
    place.roles()

    after_30_s = place.roles(30.0)[role].note
    place.compiling = ""
    place.roles()
    place.compiling = role

    assert after_30_s == f"{COMPILING} (30 s so far)"
    assert place.roles()[role].note == COMPILING


def test_while_lists_wait_for_kernels_no_role_says_that_they_are_slower(place):
    place.generation = -1
    place.readiness.preparing = lambda: "compiling kernels"

    for role in ("worker", "trainer", "bridge"):
        place.compiling = role
        place.roles()
        reasons = {each.name: each.reason for each in place.pipeline_of_roles()}
        assert "lists come when" in reasons[role]
        assert "slower" not in reasons[role]


def test_a_log_that_is_away_is_named(place):
    place.is_away = True

    roles = place.roles()

    assert roles["bridge"].waits_for == ("bridge: the log can't be read",)
    assert roles["worker"].lag is None


def test_a_log_that_does_not_answer_is_named(place):
    place.now_s += STALLED_S + 1

    assert place.readiness.roles()["bridge"].waits_for == ("bridge: the log can't be read",)


def test_a_part_of_the_bridge_that_ended_is_named(place):
    place.works = False

    assert place.readiness.roles()["bridge"].waits_for == ("the log is not followed",)


def test_changes_are_reported_and_metrics_set(place):
    n_changes = []
    place.readiness.on_change = lambda: n_changes.append(1)
    place.roles()
    assert not n_changes

    place.silent_s["worker"] = HEARTBEAT_LATE_S + 8
    place.ends[1] = 5
    place.roles()

    assert len(n_changes) == 1
    ready = {
        role: REGISTRY.get_sample_value("recstream_role_ready", {"role": role})
        for role in ("worker", "trainer", "bridge")
    }
    assert ready == {"worker": 0.0, "trainer": 1.0, "bridge": 1.0}
    assert REGISTRY.get_sample_value("recstream_heartbeat_age_seconds", {"role": "worker"}) == 20.0
    lag = {"agent": "ingest", "partition": "1"}
    assert REGISTRY.get_sample_value("recstream_consumer_lag_events", lag) == 5.0
