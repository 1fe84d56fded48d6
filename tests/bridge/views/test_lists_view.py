"""The bridge's read model: it can be deleted, it goes on where it stopped, it is nobody else's."""

import shutil
from contextlib import closing

import pytest

from recstream.bridge.views import start
from recstream.bridge.views.lists import Views, without
from recstream.core.history import table_rows
from recstream.core.history.fold import seen_items
from recstream.erasure import mark
from recstream.log.embedded import EmbeddedLog
from recstream.log.port import NewRecord, Record
from recstream.log.topics import MODELS, PIPELINE, RECOMMENDATIONS, topic_specs
from tests.bridge.bridge_world import CHANGELOG, a_list, checker_board, event, running


def filled(world):
    for user, item in (("ann", "i1"), ("bob", "i2"), ("ann", "i3")):
        world.fold(event(user, item))
        world.publish(user, "x", item)
    world.announce(checker_board(1))
    world.wait_for_views()


def state(world):
    views = world.bridge.deps.views
    return (
        [views.latest(user) for user in ("ann", "bob", "nobody")],
        [views.history(user) for user in ("ann", "bob", "nobody")],
        views.models.generations(),
        views.positions(),
    )


def test_views_that_were_deleted_come_back_equal_from_the_log(tmp_path):
    with running(tmp_path) as world:
        filled(world)
        before = state(world)
    shutil.rmtree(tmp_path / "bridge-0")

    with running(tmp_path) as world:
        assert state(world) == before
        assert seen_items(world.bridge.deps.views.history("ann")) == {"i1", "i3"}


def test_views_whose_files_are_damaged_come_back_equal_from_the_log(tmp_path):
    with running(tmp_path) as world:
        filled(world)
        before = state(world)
    views = tmp_path / "bridge-0" / "views"
    for path in views.iterdir():
        if path.name != "LOCK":
            path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))

    with running(tmp_path) as world:
        world.wait_for_views()
        assert state(world) == before


def test_a_bridge_that_starts_again_reads_only_what_is_new(tmp_path):
    with running(tmp_path) as world:
        filled(world)
        positions = world.bridge.deps.views.positions()

    with running(tmp_path) as world:
        assert world.bridge.deps.views.positions() == positions
        world.publish("ann", "new")
        world.wait_for_views()
        assert world.bridge.deps.views.latest("ann").items[0].item == "new"


def test_views_of_another_log_are_rebuilt(tmp_path):
    with running(tmp_path) as world:
        filled(world)
    for file in tmp_path.glob("log.db*"):
        file.unlink()

    with running(tmp_path) as world:
        assert world.bridge.deps.views.latest("ann") is None
        assert world.bridge.deps.views.history("ann") is None
        assert world.bridge.deps.views.models.generations() == []


def test_two_bridges_on_one_data_directory_keep_out_of_each_others_way(tmp_path):
    with running(tmp_path) as one:
        filled(one)
        with running(tmp_path, log=one.log) as two:
            one.publish("ann", "both")
            one.wait_for_views()
            two.wait_for_views()

            folders = {world.bridge.deps.views.folder.name for world in (one, two)}
            assert folders == {"bridge-0", "bridge-1"}
            assert [w.bridge.deps.views.latest("ann").items[0].item for w in (one, two)] == [
                "both",
                "both",
            ]


def test_records_that_can_not_be_read_stop_nothing(tmp_path):
    with running(tmp_path) as world:
        world.log.append(
            [
                NewRecord(RECOMMENDATIONS, b"bad", b"{", None),
                NewRecord(RECOMMENDATIONS, None, b"{}", 0),
                NewRecord(RECOMMENDATIONS, b"tomb", b'{"x":1}', None),
                NewRecord(RECOMMENDATIONS, b"tomb", None, None),
                NewRecord(CHANGELOG, b"bad", b"\xc1", 0),
            ]
        )
        world.publish("good", "a")
        world.wait_for_views()
        views = world.bridge.deps.views

        assert views.latest("good").items[0].item == "a"
        assert (views.latest("bad"), views.latest("tomb"), views.history("bad")) == (None,) * 3
        assert world.get("/v1/users/bad/recommendations").status == 200


def test_the_newest_list_of_each_user_is_returned_unless_it_was_deleted(tmp_path):
    def a_record(topic, key, offset, value, headers=()):
        return Record(topic, 0, offset, 0, key, value, headers)

    with closing(EmbeddedLog(tmp_path / "log.db", sync="normal")) as log:
        log.create_topics(topic_specs(1))
        views = Views(tmp_path / "bridge-0", log, changelog=CHANGELOG)
        ann = [a_record(RECOMMENDATIONS, b"ann", n, b"%d" % n) for n in range(2)]
        bob = [a_record(RECOMMENDATIONS, b"bob", n, value) for n, value in ((2, b"2"), (3, None))]
        eve = [
            a_record(RECOMMENDATIONS, b"eve", 4, b"4"),
            a_record(CHANGELOG, b"eve\0p0", 0, None, mark("a request")),
        ]

        applied = views.apply([*ann, *bob, *eve])
        views.close()

    assert applied.lists == {b"ann": ann[1]}


def test_a_folder_is_held_by_one_bridge(tmp_path):
    with closing(EmbeddedLog(tmp_path / "log.db", sync="normal")) as log:
        views = Views(tmp_path / "bridge-0", log, changelog=CHANGELOG)

        with pytest.raises(BlockingIOError):
            Views(tmp_path / "bridge-0", log, changelog=CHANGELOG)

        views.close()
        Views(tmp_path / "bridge-0", log, changelog=CHANGELOG).close()


def test_without_counts_the_places_anew():
    body = a_list("u", "a", "b", "c")

    assert [(one.item, one.rank) for one in without(body, {"a", "x"}).items] == [("b", 1), ("c", 2)]
    assert without(body, {"x"}) is body


def test_no_record_stops_the_views(tmp_path):
    broken = [b"", b"{", b"null", b"[" * 9000, b"\xff", b"1e999"]
    with running(tmp_path) as world:
        for topic in (RECOMMENDATIONS, CHANGELOG, MODELS, PIPELINE):
            for value in broken:
                for key in (b"ann", b"\xff\xfe", b"", None):
                    world.log.append([NewRecord(topic, key, value, 0)])
        filled(world)

        assert world.get("/v1/users/bob/recommendations").status == 200
        with world.socket() as client:
            client.hello("bob", "recs")
            client.receive("recs")
            world.publish("bob", "y")

            assert client.receive("recs")["items"][0]["item"] == "y"


def test_a_new_bridge_answers_an_idle_user_as_the_others_do(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "NEWEST_LISTS", 0)
    with running(tmp_path) as one:
        row, body = one.list_row("idle", "i1", "i2"), a_list("idle", "i1", "i2")
        one.log.append([row, one.list_record(body)])
        one.wait_for_views()
        expected = one.get("/v1/users/idle/recommendations").json
        assert (expected["rec_id"], expected["offset"]) == (body.rec_id, 0)
        with running(tmp_path, log=one.log) as new:
            since = {"epoch": new.log.epoch, "offset": 0}
            assert new.bridge.deps.views.list_offset("idle") == -1
            with new.socket() as client:
                welcome = client.hello("idle", {"ch": "recs", "since": since})

            assert welcome["subs"] == [{"ch": "recs", "offset": 0, "recovered": True}]
            assert new.get("/v1/users/idle/recommendations").json == expected
            assert [each["rec_id"] for each in new.get("/v1/items/i2/lists").json["lists"]] == [
                body.rec_id
            ]


def test_a_list_of_a_placement_has_the_position_of_an_idle_users_list(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "NEWEST_LISTS", 0)
    with running(tmp_path) as one:
        one.log.append([one.list_row("idle", "i1"), one.list_record(a_list("idle", "i1"))])
        with running(tmp_path, log=one.log) as new:
            steering = {"placements": [{"name": "home", "size": 3}]}
            assert new.call("PUT", "/v1/steering", steering).status == 202
            with new.socket() as client:
                welcome = client.hello("idle", {"ch": "recs", "placement": "home"})

            assert welcome["subs"][0]["offset"] == 0


@pytest.mark.parametrize("value", [b"", b"\xff", b"\x91" * 500, b"\x92\xc0\xc0"])
def test_a_position_that_cant_be_read_leaves_the_one_before(tmp_path, value):
    with running(tmp_path) as world:
        good = table_rows.encode_row(table_rows.AppliedRow(7, 7))
        for each in (good, value):
            world.log.append([NewRecord(CHANGELOG, table_rows.APPLIED_KEY, each, 0)])
        world.wait_for_views()

        assert world.bridge.deps.views.folded(0) == 7
