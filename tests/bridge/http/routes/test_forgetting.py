"""Forgetting over REST, and views that follow it or come too late."""

from pathlib import Path

import msgspec
import pytest

from recstream.core.records import ForgetRequested, Forgotten
from recstream.erasure import erase, finish, forgetting, mark
from recstream.log.embedded import EmbeddedLog
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord
from recstream.log.topics import CONTROL, INTERACTIONS, RECOMMENDATIONS, topic_specs
from tests.bridge.bridge_world import CHANGELOG, SECRET, World, a_list, event, partition_of, running

WHO = "zoe-who-will-be-forgotten"


def ask(world: World, user: str = WHO) -> ForgetRequested:
    answer = world.call("DELETE", f"/v1/users/{user}")
    assert answer.status == 202, answer.body
    (_, request) = forgetting(world.log).pending[answer.json["id"]]
    return request


def begin(log: EmbeddedLog, request: ForgetRequested) -> Forgotten:
    """Do what the worker's engine does."""
    key = request.user.encode()
    number = partition_for(key, log.partitions(INTERACTIONS))
    done = Forgotten(
        id=request.id,
        partition=number,
        at_offset=log.high_watermark(INTERACTIONS, number),
        forgotten_ts=0,
    )
    gone = {r.key for r in log.read(CHANGELOG, number, 0) if r.key.partition(b"\0")[0] == key}
    tombstones = [NewRecord(CHANGELOG, each, None, number, None, mark(request.id)) for each in gone]
    log.append(
        [
            *tombstones,
            NewRecord(RECOMMENDATIONS, key, None, number, None, mark(request.id)),
            NewRecord(CONTROL, b"forgotten", msgspec.json.encode(done), 0),
        ]
    )
    return done


def end(log: EmbeddedLog, request: ForgetRequested, done: Forgotten) -> None:
    erase(log, CHANGELOG, request.user, [done])
    finish(log, {forgetting(log).pending[request.id][0]})


def filled(world: World) -> None:
    for user in (WHO, "bob"):
        world.fold(event(user, "i1"), event(user, "i2"), publish=a_list(user, "i3"))
    world.wait_for_views()


def left_in(folder: Path) -> list[str]:
    """Return the files that name the user, after the views were opened once more."""
    with running(folder):
        pass
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if WHO.encode() in path.read_bytes()]


def test_the_answer_says_what_follows_and_where_the_request_is(tmp_path):
    with running(tmp_path) as world:
        answer = world.call("DELETE", f"/v1/users/{WHO}")

        assert answer.status == 202
        (record,) = world.log.read(CONTROL, 0, answer.json["offset"])
        request = msgspec.json.decode(record.value, type=ForgetRequested)
        assert (request.id, request.user) == (answer.json["id"], WHO)
        assert WHO.encode() not in (record.key or b"")
        assert "erased" in answer.json["follows"]


def test_a_forgotten_user_has_no_list_no_events_and_no_byte_in_the_views(tmp_path):
    with running(tmp_path) as world:
        filled(world)
        request = ask(world)
        done = begin(world.log, request)
        world.wait_for_views()
        views = world.bridge.deps.views
        assert (views.latest(WHO), views.history(WHO)) == (None, None)

        end(world.log, request, done)

        assert world.get(f"/v1/users/{WHO}/events").json["events"] == []
        assert world.get(f"/v1/users/{WHO}/recommendations").json["source"] == "popular"
        assert views.latest("bob").items[0].item == "i3"
        assert len(world.get("/v1/users/bob/events").json["events"]) == 2
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("is_resumed", [True, False])
def test_views_that_come_too_late_are_built_anew(tmp_path, is_resumed):
    log = EmbeddedLog(tmp_path / "log.db", sync="normal")
    log.create_topics(topic_specs(2))
    with running(tmp_path, log=log) as world:
        filled(world)
        request = ask(world)
        if not is_resumed:
            world.bridge.deps.follower.stop()
            end(log, request, begin(log, request))
            views = world.bridge.deps.views
            assert views.latest(WHO) is not None
            world.bridge.deps.follower._stopping.clear()
            world.bridge.deps.follower._follow_log = stepping(world)
            world.bridge.deps.follower._follow_log()
            assert (views.latest(WHO), views.history(WHO)) == (None, None)
            assert views.latest("bob").items[0].item == "i3"
    if is_resumed:
        end(log, request, begin(log, request))
        with running(tmp_path, log=log) as world:
            world.wait_for_views()
            views = world.bridge.deps.views
            assert (views.latest(WHO), views.history(WHO)) == (None, None)
            assert views.latest("bob").items[0].item == "i3"
            positions = views.positions()
            assert views.positions() == positions
    log.close()
    assert left_in(tmp_path) == []


def stepping(world: World):
    """Return a follower's turn that reads all, and starts again when views are outdated."""
    views, log = world.bridge.deps.views, world.log

    def follow() -> None:
        for tp, offset in views.positions().items():
            views.apply(log.read(*tp, offset, 10_000))

    return follow


def test_others_events_of_a_redacted_envelope_are_still_shown(tmp_path):
    with running(tmp_path) as world:
        number = partition_of(world, WHO)
        other = next(f"o{at}" for at in range(50) if partition_of(world, f"o{at}") == number)
        parts = [event(WHO, "i1"), event(other, "i2")]
        value = b"[" + b",".join(msgspec.json.encode(each) for each in parts) + b"]"
        world.log.append([NewRecord(INTERACTIONS, None, value, number)])
        request = ask(world)
        end(world.log, request, begin(world.log, request))

        answer = world.get(f"/v1/users/{other}/events")

        assert [each["event"]["item"] for each in answer.json["events"]] == ["i2"]


def test_only_the_user_or_a_service_may_ask(tmp_path):
    with running(tmp_path, secret=SECRET) as world:
        tokens = {who: world.bridge.deps.auth.issue(who)[0] for who in (WHO, "bob")}
        path = f"/v1/users/{WHO}"

        assert world.call("DELETE", path).status == 401
        assert world.call("DELETE", path, token=tokens["bob"]).status == 403
        assert world.call("DELETE", path, token=tokens[WHO]).status == 202
