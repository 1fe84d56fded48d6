"""New views start from checkpoints and the newest records, not from all that the log holds."""

import errno

import pytest

from recstream.bridge.views import start
from recstream.bridge.views.lists import Views
from recstream.checkpoints import Checkpoints
from recstream.core.records import ForgetRequested
from recstream.log import INTERACTIONS, MODELS, RECOMMENDATIONS, TopicPartition, partition_for
from recstream.models import DirectoryStore
from tests.checkpoints.made import make_checkpoint
from tests.worker.installation import Installation
from tests.worker.worker_world import CHANGELOG, PARTITIONS, World, generation, single, some_events


def read(views, log):
    """Read everything once; return the number of records read from each partition."""
    counts = {}
    for tp, offset in views.positions().items():
        records = log.read(*tp, offset, 10**6)
        views.apply(records)
        counts[tp] = len(records)
    return counts


def views_of(path, log, checkpoints=None):
    return Views(path, log, changelog=CHANGELOG, checkpoints=checkpoints)


def test_new_views_have_the_same_histories_and_read_less(tmp_path, monkeypatch):
    world = World(tmp_path)
    world.engine.activate(generation())
    world.feed([single(each) for each in some_events(300)], step=20)
    checkpoints = Checkpoints(world.log, DirectoryStore(tmp_path / "checkpoints"))
    for partition in range(PARTITIONS):
        end = world.log.high_watermark(INTERACTIONS, partition)
        make_checkpoint(checkpoints, partition, end, CHANGELOG)
    whole, started = (
        views_of(tmp_path / "a", world.log),
        views_of(tmp_path / "b", world.log, checkpoints),
    )
    read(whole, world.log)
    monkeypatch.setattr(start, "NEWEST_LISTS", 3)

    counts = read(started, world.log)

    users = {f"u{n}" for n in range(7)}
    assert {user: started.history(user) for user in users} == {
        user: whole.history(user) for user in users
    }
    for partition in range(PARTITIONS):
        assert started.folded(partition) == whole.folded(partition) > 0
        assert counts[TopicPartition(CHANGELOG, partition)] == 0
        assert counts[TopicPartition(RECOMMENDATIONS, partition)] == 3
    listed = {user for user in users if started.latest(user)}
    assert listed
    assert all(started.latest(user) == whole.latest(user) for user in listed)
    started.close()
    again = views_of(tmp_path / "b", world.log, checkpoints)
    assert sum(read(again, world.log).values()) == 0
    for each in (whole, again, world):
        each.close()


def idle_users_world(path, monkeypatch):
    """Return a world whose users have lists, and the views of a bridge that has read no list."""
    world = World(path)
    world.engine.activate(generation())
    world.feed([single(each) for each in some_events(200)], step=20)
    monkeypatch.setattr(start, "NEWEST_LISTS", 0)
    views = views_of(path / "new", world.log)
    counts = read(views, world.log)
    assert [counts[RECOMMENDATIONS, partition] for partition in range(PARTITIONS)] == [0, 0]
    return world, views


def test_a_new_bridge_has_the_same_list_for_a_user_who_was_idle_since(tmp_path, monkeypatch):
    whole_path = tmp_path / "whole"
    world, views = idle_users_world(tmp_path, monkeypatch)
    monkeypatch.undo()
    whole = views_of(whole_path, world.log)
    read(whole, world.log)

    for user in world.newest_lists():
        assert views.list_offset(user) == -1
        assert views.latest(user) == whole.latest(user) is not None
        assert views.list_offset(user) == whole.list_offset(user)
    for each in (whole, views, world):
        each.close()


def test_a_list_that_was_pruned_or_of_an_erased_user_does_not_come_back(tmp_path, monkeypatch):
    world, views = idle_users_world(tmp_path, monkeypatch)
    of = {partition_for(user.encode(), PARTITIONS): user for user in world.newest_lists()}
    (partition, pruned), (_, erased) = of.items()
    log = world.log
    log.delete_before(RECOMMENDATIONS, partition, log.high_watermark(RECOMMENDATIONS, partition))

    assert views.latest(pruned) is None

    class ErasedMeanwhile:
        """The log, where the user is erased, and the bridge reads that, just after the list was read."""

        def __getattr__(self, name):
            return getattr(log, name)

        def read(self, *where):
            found = log.read(*where)
            views._log = log
            world.engine.forget(ForgetRequested(id="f1", user=erased, requested_ts=0))
            for tp, offset in views.positions().items():
                views.apply(log.read(*tp, offset, 10**6))
            return found

    views._log = ErasedMeanwhile()
    assert views.latest(erased) is None
    assert views.latest(erased) is None
    views.close()
    world.close()


def test_a_start_that_failed_in_the_middle_leaves_no_rows(tmp_path, monkeypatch):
    world = World(tmp_path)
    world.feed([single(each) for each in some_events(60)], step=20)
    checkpoints = Checkpoints(world.log, DirectoryStore(tmp_path / "checkpoints"))
    make_checkpoint(checkpoints, 0, world.log.high_watermark(INTERACTIONS, 0), CHANGELOG)
    views = views_of(tmp_path / "views", world.log, checkpoints)
    put = start._put_rows

    def put_and_fail(database, _):
        put(database, [(b"somebody-else", b"row")])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(start, "_put_rows", put_and_fail)
    with pytest.raises(OSError, match="No space"):
        views.positions()
    views.close()
    monkeypatch.setattr(start, "_put_rows", put)

    views = views_of(tmp_path / "views", world.log, checkpoints)
    read(views, world.log)

    assert "somebody-else" not in views.users()
    assert list(views.users())
    views.close()
    world.close()


def test_new_views_start_at_the_announcements_of_the_newest_generations(tmp_path):
    installation = Installation(tmp_path)
    for number in range(start.MAX_WITH_DELTAS + 3):
        installation.announce(number)
    log = installation.world.log
    views = views_of(tmp_path / "views", log)

    first = views.positions()[TopicPartition(MODELS, 0)]

    assert first == 3
    read(views, log)
    assert [each.generation for each in views.models.generations()] == [7, 6, 5, 4, 3]
    views.close()
    installation.close()
