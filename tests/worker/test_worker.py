"""The worker on the real transport, table and RocksDB: the loop, restarts, and kill -9."""

import asyncio
import gc
import shutil
import signal
import weakref

import msgspec
import pytest

from recstream.checkpoints import open_checkpoints
from recstream.control import submit
from recstream.core.records import (
    CheckpointRequested,
    DeadLetter,
    ForgetRequested,
    PipelineRecord,
    WorkerStatus,
)
from recstream.erasure import forgetting
from recstream.errors import ModelStoreUnavailable, PartitionCountMismatch, StartupError
from recstream.log.port import NewRecord
from recstream.log.topics import CONTROL, DEAD_LETTERS, INTERACTIONS, PIPELINE
from recstream.models import DirectoryStore
from recstream.process.warmup import warm_up
from recstream.worker import forget, loop
from recstream.worker import process as worker
from recstream.worker.app import build_app
from tests.worker.installation import DEADLINE_S, calm_table, eventually, wait_for
from tests.worker.worker_world import CHANGELOG, PARTITIONS, event, single, some_events


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """Kernels are compiled before a deadline runs, and found by the workers' processes."""
    warm_up()


@pytest.mark.slow
async def test_an_event_becomes_a_list_while_generations_come_and_go(installation):
    world = installation.world
    async with installation.serving():
        world.log.append([single(event(1, "u1", "p0"))])
        await eventually(installation.is_worked_off)
        assert world.lists() == []

        installation.announce(1)
        await eventually(lambda: "u1" in world.newest_lists())
        world.log.append([NewRecord(INTERACTIONS, b"u1", b"{}"), single(event(2, "u2", "p0"))])
        await eventually(lambda: "u2" in world.newest_lists())

        installation.announce(2, damage=True)
        await eventually(lambda: world.log.high_watermark(DEAD_LETTERS, 0) > 0)
        world.log.append([single(event(3, "u3", "p0"))])
        await eventually(lambda: "u3" in world.newest_lists())

        def told():
            records = [
                msgspec.json.decode(r.value, type=PipelineRecord) for r in world.read(PIPELINE, 0)
            ]
            return records and records[-1].events == 3

        await eventually(told)

    assert {each.generation for each in world.lists()} == {1}
    letters = [
        msgspec.json.decode(r.value, type=DeadLetter)
        for p in range(PARTITIONS)
        for r in world.read(DEAD_LETTERS, p)
    ]
    assert {each.reason for each in letters} == {"missing", "unusable-model"}
    status = msgspec.json.decode(world.read(PIPELINE, 0)[-1].value, type=WorkerStatus)
    assert (status.generation, status.dead_letters) == (1, 1)


async def test_a_worker_continues_where_it_stopped(installation):
    events = some_events(60)
    installation.world.log.append([single(each) for each in events[:30]])
    async with installation.serving():
        await eventually(installation.is_worked_off)

    installation.world.log.append([single(each) for each in events[30:]])
    async with installation.serving():
        await eventually(installation.is_worked_off)

    expected = calm_table(installation.path, events)
    assert installation.table() == installation.changelog() == expected


async def test_other_rules_are_logged_before_they_are_used(installation):
    installation.world.log.append([single(event(1, "u1", "p0"))])
    async with installation.serving():
        await eventually(installation.is_worked_off)
    # A new log says by which semantics its events are folded.
    assert installation.world.log.high_watermark(CONTROL, 0) == PARTITIONS

    installation.announce(1)
    async with installation.serving(list_size=3):
        await eventually(
            lambda: installation.world.log.high_watermark(CONTROL, 0) == 2 * PARTITIONS
        )
        installation.world.log.append([single(event(2, "u1", "p1"))])
        await eventually(lambda: installation.world.lists()[-1:])

    (listed,) = installation.world.lists()[-1:]
    assert len(listed.items) == 3
    assert listed.control >= 0


async def test_another_partition_count_is_refused(installation):
    with pytest.raises(PartitionCountMismatch, match="must have 3 partitions, has 2"):
        await worker.serve(msgspec.structs.replace(installation.settings, partitions=3))


async def test_a_data_directory_that_can_not_be_used_is_named(installation):
    (installation.path / "tables").write_text("in the way")

    with pytest.raises(StartupError, match=r"tables folder .* can't be used"):
        await worker.serve(installation.settings)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [("after", "3"), ("before", "2"), ("after", "1")])
def test_kill_9_around_the_table_write_loses_and_doubles_nothing(installation, kill):
    events = some_events(400)
    records = [single(each) for each in events]
    installation.announce(1)
    first = installation.process(*kill)
    for at in range(0, len(records), 20):
        installation.world.log.append(records[at : at + 20])
        wait_for(lambda: installation.is_worked_off() or first.poll() is not None)
    assert first.wait(DEADLINE_S) == -signal.SIGKILL

    second = installation.process()
    wait_for(installation.is_worked_off)
    second.terminate()
    assert second.wait(DEADLINE_S) == 0

    expected = calm_table(installation.path, events)
    assert installation.table() == installation.changelog() == expected
    offsets = [(each.user, each.as_of.offset, each.rec_id) for each in installation.world.lists()]
    assert len(set(offsets)) == len(offsets)


@pytest.mark.slow
def test_a_second_worker_takes_over_what_a_killed_one_had(installation):
    events = some_events(400)
    records = [single(each) for each in events]
    first, second = installation.process(), installation.process()
    for at in range(0, 200, 10):
        installation.world.log.append(records[at : at + 10])
    wait_for(installation.is_worked_off)
    first.kill()
    first.wait()
    installation.world.log.append(records[200:])
    wait_for(installation.is_worked_off)
    second.terminate()
    assert second.wait(DEADLINE_S) == 0

    assert installation.changelog() == calm_table(installation.path, events)


@pytest.mark.slow
def test_tables_deleted_while_stopped_come_back(installation):
    events = some_events(100)
    for at in range(0, 100, 50):
        installation.world.log.append([single(each) for each in events[at : at + 50]])
        process = installation.process()
        wait_for(installation.is_worked_off)
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
        shutil.rmtree(installation.path / "tables")
    process = installation.process()
    installation.world.log.append([single(event(9999, "u1", "p1"))])
    wait_for(installation.is_worked_off)
    process.terminate()
    assert process.wait(DEADLINE_S) == 0

    expected = calm_table(installation.path, [*events, event(9999, "u1", "p1")])
    assert installation.table() == installation.changelog() == expected
    assert CHANGELOG in installation.world.log.topics()


@pytest.mark.slow
async def test_a_user_is_forgotten_by_a_running_worker_to_the_last_byte(installation, monkeypatch):
    monkeypatch.setattr(forget, "GRACE_MS", 0)
    world, who = installation.world, "zoe-who-will-be-forgotten"
    installation.announce(1)
    events = [event(at, user, f"p{at}") for at, user in enumerate((who, "u1", who, "u2", who))]
    world.log.append([single(each) for each in events])
    async with installation.serving():
        await eventually(lambda: installation.is_worked_off() and who in world.newest_lists())
        others = {k: v for k, v in installation.changelog().items() if not k.startswith(b"zoe")}
        request = ForgetRequested(id="f1", user=who, requested_ts=0)
        world.log.append([NewRecord(CONTROL, None, msgspec.json.encode(request))])
        await eventually(lambda: forgetting(world.log).finished)

    async with installation.serving():  # what recovers from the changelog is what remains
        await eventually(installation.is_worked_off)
    held = installation.table()
    assert {k: v for k, v in held.items() if k in others} == others
    assert not any(key.startswith(b"zoe") for key in held)
    folder = installation.path
    left = [
        path for path in folder.rglob("*") if path.is_file() and who.encode() in path.read_bytes()
    ]
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("step", ["erase", "finish"])
async def test_a_worker_killed_while_it_forgets_leaves_nothing_undone(
    installation, monkeypatch, step
):
    monkeypatch.setattr(forget, "GRACE_MS", 0)
    world, who = installation.world, "zoe-who-will-be-forgotten"
    world.log.append([single(event(at, user, "p1")) for at, user in enumerate((who, "u1", who))])
    request = ForgetRequested(id="f1", user=who, requested_ts=0)
    world.log.append([NewRecord(CONTROL, None, msgspec.json.encode(request))])
    process = installation.process(step, "1")
    assert await asyncio.to_thread(process.wait, DEADLINE_S) == -signal.SIGKILL
    assert not forgetting(world.log).finished

    back = event(9, who, "p2")
    world.log.append([single(back)])
    async with installation.serving():
        await eventually(lambda: forgetting(world.log).finished)
        await eventually(installation.is_worked_off)

    values = [r.value for p in range(PARTITIONS) for r in world.read(INTERACTIONS, p) if r.value]
    assert sorted(value for value in values if who.encode() in value) == [single(back).value]
    assert {key for key in installation.table() if key == who.encode()} == {who.encode()}
    assert installation.table() == {k: v for k, v in installation.changelog().items() if v}


@pytest.mark.slow
async def test_an_idle_worker_sends_heartbeats_with_its_lag(installation, monkeypatch):
    monkeypatch.setattr(loop, "HEARTBEAT_S", 0.2)
    world = installation.world
    world.log.append([single(event(1, "u1", "p0"))])
    async with installation.serving():
        await eventually(installation.is_worked_off)
        n_before = world.log.high_watermark(PIPELINE, 0)
        await eventually(lambda: world.log.high_watermark(PIPELINE, 0) >= n_before + 3)

    statuses = [msgspec.json.decode(r.value, type=WorkerStatus) for r in world.read(PIPELINE, 0)]
    assert statuses[-1].lag == {str(partition): 0 for partition in range(PARTITIONS)}
    assert statuses[-1].ts > statuses[-2].ts


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["_ingest_waiting", "_follow_models", "rank_waiting_lists", "follow_control"]
)
async def test_an_unlisted_error_of_a_thread_or_task_ends_the_worker(
    installation, monkeypatch, method
):
    async def fail_later(_):
        raise KeyError("nobody listed this error")

    def fail(_):
        raise KeyError("nobody listed this error")

    is_async = asyncio.iscoroutinefunction(getattr(loop.WorkerLoop, method))
    monkeypatch.setattr(loop.WorkerLoop, method, fail_later if is_async else fail)
    world = installation.world
    installation.announce(1)
    world.log.append([single(event(1, "u1", "p0"))])

    with pytest.raises(StartupError, match="nobody listed this error"):
        async with asyncio.timeout(60):
            await worker.serve(installation.settings, stop=asyncio.Event())


async def test_a_model_store_that_is_away_does_not_stop_ingest(installation, monkeypatch):
    is_away = True
    get = DirectoryStore.get

    def away(store, name):
        if is_away:
            raise ModelStoreUnavailable("no answer from the store")
        return get(store, name)

    monkeypatch.setattr(DirectoryStore, "get", away)
    world = installation.world
    installation.announce(1)
    async with installation.serving() as task:
        world.log.append([single(event(1, "u1", "p0"))])
        await eventually(installation.is_worked_off)
        assert not task.done()
        installation.announce(2)
        world.log.append([single(event(2, "u2", "p0"))])
        await eventually(installation.is_worked_off)
        assert world.newest_lists() == {}

        is_away = False
        await eventually(lambda: world.newest_lists().keys() == {"u1", "u2"})

    assert {each.generation for each in world.lists()} == {2}


@pytest.mark.slow
async def test_a_lost_table_starts_from_a_checkpoint(installation, caplog):
    world, events = installation.world, some_events(400, n_users=9)
    caplog.set_level("INFO")
    world.log.append([single(each) for each in events[:300]])
    async with installation.serving():
        await eventually(installation.is_worked_off)
        submit(world.log, CheckpointRequested(id="1", requested_ts=1))
        checkpoints = open_checkpoints(world.log, installation.settings)
        await eventually(lambda: {each.partition for each in checkpoints.all()} == {0, 1})
    shutil.rmtree(installation.path / "tables")
    world.log.append([single(each) for each in events[300:]])

    async with installation.serving():
        await eventually(installation.is_worked_off)

    assert caplog.text.count("table restored partition=") == PARTITIONS
    assert installation.table() == installation.changelog() == calm_table(installation.path, events)


async def test_a_worker_that_has_ended_is_kept_by_nobody(installation, monkeypatch):
    """A process that starts its worker again and again must not keep each one's histories and model."""
    ended = []

    def build(*arguments):
        app = build_app(*arguments)
        ended.append(weakref.ref(app.worker_loop))
        return app

    monkeypatch.setattr(worker, "build_app", build)
    async with installation.serving():
        await eventually(installation.is_worked_off)

    def is_gone():
        gc.collect()
        return [each() for each in ended] == [None]

    await eventually(is_gone, 10.0)
