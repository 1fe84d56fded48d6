"""No record of any topic that a worker reads stops it: what can't be read becomes a dead letter."""

import json
from types import SimpleNamespace

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from recstream.control import read_timeline
from recstream.core.events import MAX_EVENT_BYTES
from recstream.core.records import DeadLetter, ForgetRequested, Forgotten, GenerationAnnounced
from recstream.erasure import erase, forgetting, without
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord, Record
from recstream.log.topics import CONTROL, DEAD_LETTERS, INTERACTIONS, MODELS
from recstream.models import DirectoryStore, ModelFeed, Unusable
from recstream.worker.loop import WorkerLoop
from tests.worker.memory import MemoryRows
from tests.worker.worker_world import (
    CHANGELOG,
    NOW_MS,
    PARTITIONS,
    World,
    event,
    generation,
    single,
)

DEEP = b"[" * 5000 + b"]" * 5000
HOSTILE = [
    b"[" * 5000,
    DEEP,
    b'{"id":"a","type":"view","user":"u1","item":"p","ts":"2024-01-01T00:00:00Z","context":'
    + b'{"a":' * 3000 + b"1" + b"}" * 3001,
    b'{"user":' + DEEP + b"}",
    b'[{"user":' + DEEP + b"}]",
    b'{"type":' + DEEP + b"}",
    b'{"type":"generation","hyperparameters":' + DEEP + b"}",
    b'{"type":"steering","steering":' + DEEP + b"}",
    b"\x00" * 100, b"\xff\xfe\x00[", b"", b"null", b"1e400", b'"' + b"\\ud800" * 10 + b'"',
]  # fmt: skip
TIMES = [NOW_MS, NOW_MS * 1000, NOW_MS * 1_000_000, 2**63 - 1, -1, 0]
values = st.one_of(st.binary(max_size=200), st.sampled_from(HOSTILE))
times = st.one_of(st.integers(0, 2**63 - 1), st.sampled_from(TIMES))
calm = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def partition_of(user: str) -> int:
    return partition_for(user.encode(), PARTITIONS)


@pytest.mark.parametrize("timestamp_ms", TIMES)
@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_a_record_that_can_not_be_read_is_a_dead_letter_with_its_origin(world, value, timestamp_ms):
    world.engine.activate(generation())
    bad = NewRecord(INTERACTIONS, b"u1", value, partition_of("u1"), timestamp_ms)

    world.feed([bad, single(event(1, "u1", "p0"))])

    (letter,) = world.letters()
    assert (letter.topic, letter.partition, letter.offset) == (INTERACTIONS, partition_of("u1"), 0)
    assert world.engine.status.events == 1
    assert "u1" in world.newest_lists()


@pytest.mark.parametrize("timestamp_ms", [NOW_MS * 1000, NOW_MS * 1_000_000, 2**63 - 1])
def test_a_valid_event_with_a_time_beyond_the_calendar_stops_no_reader(world, timestamp_ms):
    world.engine.activate(generation())

    world.feed([
        single(event(1, "u1", "p0"))._replace(timestamp_ms=timestamp_ms),
        single(event(2, "u1", "p1")),
    ])  # fmt: skip

    assert len(world.letters()) == 1
    assert world.engine.status.events == 1


@pytest.mark.slow
@calm
@given(st.lists(st.tuples(values, times), max_size=5))
def test_any_bytes_and_times_leave_the_worker_folding(tmp_path_factory, records):
    world = World(tmp_path_factory.mktemp("hostile"))
    partition = partition_of("u1")

    world.feed([NewRecord(INTERACTIONS, b"u1", v, partition, at) for v, at in records])
    world.feed([single(event(1, "u1", "p0"))])

    assert world.engine.state(partition).user("u1").history.n_items == 1
    world.close()


@calm
@given(st.lists(st.tuples(values, times), max_size=5))
def test_any_bytes_on_the_control_topic_leave_it_followed(tmp_path_factory, records):
    world = World(tmp_path_factory.mktemp("control"))

    world.log.append([NewRecord(CONTROL, None, v, 0, at) for v, at in records])

    assert world.engine.follow_control() == 0
    assert forgetting(world.log).pending == {}
    world.close()


@pytest.mark.parametrize(
    "absurd",
    [
        {"half_life_ms": 0},
        {"half_life_ms": -5.0},
        {"half_life_ms": 5e-324},
        {"half_life_ms": 1e308},
        {"list_size": 0},
        {"list_size": -3},
        {"list_size": 10**9},
        {"from_offset": -5},
        {"semantics": 99},
        {"list_format": -1},
        {"steering": 2**50},
    ],
    ids=str,
)
def test_absurd_settings_on_the_control_topic_stop_no_fold(world, absurd):
    world.engine.activate(generation())
    world.feed([single(event(n, "u1", f"p{n}")) for n in range(5)])
    rules: dict[str, object] = {
        "type": "rules", "from_offset": 0, "weights": {}, "half_life_ms": 1000.0, "list_size": 5,
        "adopted_ts": 0,
    }  # fmt: skip
    for partition in range(PARTITIONS):
        value = msgspec.json.encode({**rules, **absurd, "partition": partition})
        world.log.append([NewRecord(CONTROL, None, value, 0)])

    world.rows = MemoryRows()  # the events are folded again, by the settings of their offsets
    world.timeline = read_timeline(world.log)
    world.engine = world.new_engine()
    world.engine.activate(generation())
    for partition in range(PARTITIONS):
        world.engine.assign(partition)
    world.feed([single(event(7, "u1", "p7"))])

    assert world.engine.state(partition_of("u1")).user("u1").history.n_items == 6
    assert "p7" not in world.newest_lists()["u1"]


@pytest.mark.parametrize("number", [-1, 2**53 + 1, 2**63, 10**30])
def test_a_generation_with_a_number_that_no_row_can_hold_is_unusable(world, tmp_path, number):
    announced = GenerationAnnounced(
        generation=number, parent=None, artifact="a", digest="d", offsets={}, hyperparameters={},
        seed=0, n_users=0, n_items=0, n_interactions=0, loss=None, train_seconds=0.0, created_ts=0,
    )  # fmt: skip
    feed = ModelFeed(world.log, DirectoryStore(tmp_path / "models"))
    assert feed.newest() is None
    value = json.dumps(msgspec.structs.asdict(announced) | {"type": "generation"}).encode()
    world.log.append([NewRecord(MODELS, None, value, 0)])

    (step,) = feed.poll(5)

    assert isinstance(step, Unusable)
    assert "Expected `int`" in str(step.error)
    feed.close()


@pytest.mark.parametrize(
    ("artifact", "digest"),
    [
        ("../../../etc/passwd", "d"),
        ("/etc/passwd", "d"),
        ("", "d"),
        ("a/../b", "d"),
        ("**", "d"),
        ("a", "*"),
        ("a", "../../x"),
        ("a", ""),
    ],
)
def test_a_generation_that_names_a_file_elsewhere_is_unusable(world, tmp_path, artifact, digest):
    announced = GenerationAnnounced(
        generation=0, parent=None, artifact=artifact, digest=digest, offsets={}, hyperparameters={},
        seed=0, n_users=0, n_items=0, n_interactions=0, loss=None, train_seconds=0.0, created_ts=0,
    )  # fmt: skip
    feed = ModelFeed(world.log, DirectoryStore(tmp_path / "models"))
    assert feed.newest() is None
    world.log.append([NewRecord(MODELS, None, msgspec.json.encode(announced), 0)])

    (step,) = feed.poll(5)

    assert isinstance(step, Unusable)
    feed.close()


def test_a_number_that_no_generation_can_have_yet_is_not_counted_on(world, tmp_path):
    announced = GenerationAnnounced(
        generation=2**53, parent=None, artifact="a", digest="d", offsets={}, hyperparameters={},
        seed=0, n_users=0, n_items=0, n_interactions=0, loss=None, train_seconds=0.0, created_ts=0,
    )  # fmt: skip
    world.log.append([NewRecord(MODELS, None, msgspec.json.encode(announced), 0)])
    feed = ModelFeed(world.log, DirectoryStore(tmp_path / "models"))

    assert feed.newest() is None
    assert feed.newest_announced is None
    feed.close()


@pytest.mark.parametrize("number", [10**20, 2**64, -(2**63) - 1, 10**400])
def test_a_number_of_a_context_that_no_row_can_hold_is_not_kept_and_stops_nobody(world, number):
    steering = {"rules": [{
        "action": "pin", "name": "late", "items": ["p1"], "when": {"context": {"hour": {"min": 18}}},
    }]}  # fmt: skip
    document = {"type": "steering", "id": "s", "steering": steering, "requested_ts": 0}
    world.engine.activate(generation())
    world.feed([single(event(0, "u1", "p2"))])
    world.log.append([NewRecord(CONTROL, None, json.dumps(document).encode(), 0)])
    assert world.engine.follow_control() == 1
    context = {"day": 5, "hour": number}
    value = msgspec.json.encode(msgspec.structs.replace(event(1, "u1", "p0"), context=context))

    world.feed([single(event(1, "u1", "p0"))._replace(value=value)])

    assert world.engine.state(partition_of("u1")).user("u1").history.context == (("day", 5),)
    assert "u1" in world.newest_lists()


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_a_record_of_the_models_topic_that_can_not_be_read_is_unusable(world, tmp_path, value):
    feed = ModelFeed(world.log, DirectoryStore(tmp_path / "models"))
    world.log.append([NewRecord(MODELS, None, value, 0)])
    assert feed.newest() is None

    world.log.append([NewRecord(MODELS, None, value, 0)])
    (step,) = feed.poll(5)

    assert isinstance(step, Unusable)
    feed.close()


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_a_user_is_erased_beside_records_that_can_not_be_read(world, value):
    partition = partition_of("zoe")
    world.log.append([NewRecord(INTERACTIONS, b"zoe", value, partition, NOW_MS)])
    world.log.append([NewRecord(DEAD_LETTERS, None, value, partition, NOW_MS)])
    world.feed([single(event(1, "zoe", "p0"))])
    request = ForgetRequested(id="f1", user="zoe", requested_ts=0)

    forgotten = world.engine.forget(request)
    erase(world.log, CHANGELOG, "zoe", [forgotten])

    assert isinstance(forgotten, Forgotten)
    assert all(r.key != b"zoe" for r in world.read(INTERACTIONS, partition))


@calm
@given(st.binary(max_size=300))
def test_redacting_any_record_never_raises(value):
    record = Record(INTERACTIONS, 0, 0, NOW_MS, b"zoe", value)

    assert without(record, "zoe").key is None


def test_an_unreadable_control_record_is_warned_of_once_however_often_the_topic_is_followed(
    world, caplog
):
    world.log.append([NewRecord(CONTROL, None, b"not json", 0)])
    for _ in range(3):
        world.engine.follow_control()
    warnings = [each.message for each in caplog.records if "record not read" in each.message]
    assert len(warnings) == 1
    assert f"topic={CONTROL} partition=0 offset=0" in warnings[0]


def test_the_letter_of_an_unusable_announcement_holds_its_beginning_alone(world):
    value = b"\xff" * (1 << 20)
    record = Record(MODELS, 0, 7, NOW_MS, b"generation", value)

    WorkerLoop._write_dead_letter(
        SimpleNamespace(_log=world.log), Unusable(record, ValueError("x"))
    )

    letter = msgspec.json.decode(world.read(DEAD_LETTERS, 0)[-1].value, type=DeadLetter)
    assert (letter.reason, letter.detail, letter.offset) == ("unusable-model", "x", 7)
    assert letter.truncated
    assert value.decode(errors="replace").startswith(letter.value)
    assert len(letter.value) <= MAX_EVENT_BYTES
