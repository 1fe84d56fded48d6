"""A session becomes a user's: copies in the log, once, and for nobody but who it was."""

from datetime import timedelta

import msgspec
import pytest

from recstream.bridge import session_merge
from recstream.core.events import Event, EventWeights, decode_events, encode_event
from recstream.core.history import table_rows as history_rows
from recstream.core.history.fold import FoldSettings, History, apply
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS
from tests.bridge.bridge_world import NOW, SECRET, World, event, partition_of, running

SESSION = "visitor-0123456789abcdef"


def merge(world: World, user: str, session: str = SESSION, **more: str):
    return world.post(f"/v1/users/{user}/merge", {"from": session, **more})


def events_of(world: World, user: str) -> list[Event]:
    return [
        found
        for record in world.records(INTERACTIONS, user)
        for found in decode_events(record.value)
    ]


def folded(events: list[Event]) -> History:
    rules = FoldSettings(EventWeights(), 1e9)
    history = History(events[0].user)
    for offset, one in enumerate(events):
        history = apply(history, one, offset, 0, rules)
    return history


def test_a_sessions_events_become_the_users_in_order_as_they_were(world):
    session = "visitor-inorder000000000"
    first = event(session, "i1", ts=NOW - timedelta(hours=1), rec_id="r-1", context={"page": "top"})
    again = event(session, "i1", "cart", id="again", session="s1")
    world.fold(first, event(session, "i2"), again)
    world.wait_for_views()

    answer = merge(world, "mia", session)

    assert (answer.status, answer.json["merged"], answer.json["left"]) == (202, 3, 0)
    copies = events_of(world, "mia")
    newest = world.records(INTERACTIONS, "mia")[-1]
    assert answer.json["position"]["offsets"] == {str(partition_of(world, "mia")): newest.offset}
    assert [(one.item, one.type) for one in copies] == [
        ("i1", "view"),
        ("i2", "view"),
        ("i1", "cart"),
    ]
    assert copies[0].context == {"page": "top", "merged_from": session}
    for copy, original in zip(copies, [first, event(session, "i2"), again], strict=True):
        assert msgspec.structs.replace(
            copy, id=original.id, user=session, context=original.context
        ) == msgspec.structs.replace(original)


def test_events_of_a_producer_with_keys_of_its_own_are_merged_too(world):
    session = "visitor-foreign/0000000"
    raw = encode_event(event(session, "i1"))
    foreign = [(b"key", raw), (None, encode_event(event(session, "i2")).replace(b"/", rb"\/"))]
    at = partition_of(world, session)
    world.log.append([NewRecord(INTERACTIONS, key, value, at) for key, value in foreign])
    world.fold(event(session, "i3"))
    world.wait_for_views()

    assert merge(world, "kim", session).json["merged"] == 3
    assert [one.item for one in events_of(world, "kim")] == ["i1", "i2", "i3"]


def test_a_merge_that_is_repeated_counts_once(world):
    session = "visitor-twice00000000000"
    world.fold(event(session, "i1"), event(session, "i2"))

    merge(world, "ron", session)
    once = events_of(world, "ron")
    merge(world, "ron", session)
    twice = events_of(world, "ron")

    assert len(twice) == 2 * len(once)
    assert folded(twice).n_ids == folded(once).n_ids == 2
    assert [one.id for one in twice[2:]] == [one.id for one in once]


def test_a_merge_copies_no_event_that_the_user_has_already(world):
    session = "visitor-repeats000000000"
    world.fold(event(session, "i1"))
    merge(world, "eve", session)
    world.fold(*events_of(world, "eve"))
    world.fold(event(session, "i2"))
    world.wait_for_views()
    n_before = len(events_of(world, "eve"))

    answers = [merge(world, "eve", session) for _ in range(2)]

    assert [one.json["merged"] for one in answers] == [2, 2]
    copied = events_of(world, "eve")[n_before:]
    assert {one.item for one in copied} == {"i2"}


def test_a_merge_is_charged_by_its_events(tmp_path):
    with running(tmp_path, rate_limit=4) as world:  # 20 at once
        world.fold(*(event(SESSION, f"i{n}") for n in range(18)))
        world.wait_for_views()

        assert [merge(world, user).status for user in ("ann", "bob")] == [202, 429]


def test_copies_of_one_event_for_two_users_have_two_ids():
    one = event(SESSION, "i1")

    assert session_merge.copy_id(one, "a") != session_merge.copy_id(one, "b")
    assert session_merge.copy_id(one, "a") == session_merge.copy_id(one, "a")


def test_what_no_worker_has_folded_yet_is_merged_too(world):
    session = "visitor-unfolded00000000"
    world.fold(event(session, "i1"))
    late = event(session, "i9", "like")
    world.log.append([NewRecord(INTERACTIONS, session.encode(), encode_event(late))])

    assert merge(world, "kim", session).json["merged"] == 2
    assert events_of(world, "kim")[-1].item == "i9"


def test_impressions_stay_with_the_session_and_an_unknown_session_merges_nothing(world):
    session = "visitor-shown00000000000"
    shown = Event(id="x", type="impression", user=session, items=("i1",), ts=NOW)
    world.log.append([NewRecord(INTERACTIONS, session.encode(), encode_event(shown))])

    answer = merge(world, "ada", session)

    assert (answer.status, answer.json["merged"]) == (202, 0)
    assert events_of(world, "ada") == []


def test_events_of_an_envelope_are_found(world):
    session = "visitor-envelope00000000"
    events = [event(session, f"i{n}") for n in range(3)]
    body = b"[" + b",".join(encode_event(one) for one in events) + b"]"
    partition = partition_of(world, session)
    world.log.append([NewRecord(INTERACTIONS, None, body, partition)])

    assert merge(world, "eva", session).json["merged"] == 3


def test_beyond_the_bound_the_newest_event_of_each_item_is_still_found(world, monkeypatch):
    monkeypatch.setattr(session_merge, "MAX_SCANNED", 3)
    session = "visitor-longago000000000"
    old = [event(session, "i1"), event(session, "i1", "cart", id="c"), event(session, "i2")]
    world.fold(*old)
    partition = partition_of(world, session)
    others = [
        NewRecord(INTERACTIONS, b"other", encode_event(event("other", f"o{n}")), partition)
        for n in range(4)
    ]
    world.log.append(others)
    last = event(session, "i3")
    world.fold(last)
    world.wait_for_views()
    history = world.bridge.deps.views.history(session)
    end = world.log.high_watermark(INTERACTIONS, partition)

    found = session_merge.read_session(world.log, session, history, end)

    assert [(one.item, one.type) for one in found.events] == [
        ("i1", "cart"),
        ("i2", "view"),
        ("i3", "view"),
    ]
    assert found.n_missing == 1


def test_a_long_session_brings_its_newest_events(world, monkeypatch):
    monkeypatch.setattr(session_merge, "MAX_MERGED", 2)
    session = "visitor-long000000000000"
    world.fold(*(event(session, f"i{n}") for n in range(4)))
    world.wait_for_views()

    answer = merge(world, "lea", session)

    assert (answer.json["merged"], answer.json["left"]) == (2, 2)
    assert [one.item for one in events_of(world, "lea")] == ["i2", "i3"]


def test_while_workers_are_far_behind_a_merge_can_be_tried_later(world, monkeypatch):
    monkeypatch.setattr(session_merge, "MAX_SCANNED", 1)
    session = "visitor-behind0000000000"
    partition = partition_of(world, session)
    world.log.append(
        [
            NewRecord(INTERACTIONS, b"o", encode_event(event("o", f"b{n}")), partition)
            for n in range(2)
        ]
    )

    answer = merge(world, "max", session)

    assert (answer.status, answer.kind) == (503, "application/problem+json")
    assert "Retry-After" in answer.headers


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 422), ({"from": ""}, 422), ({"from": "zoe"}, 422), ({"from": "x" * 300}, 422), ([], 422)],
)
def test_a_merge_that_makes_no_sense_is_refused(world, body, status):
    answer = world.post("/v1/users/zoe/merge", body)

    assert (answer.status, answer.kind) == (status, "application/problem+json")


def test_who_a_session_was_has_to_be_known(tmp_path):
    with running(tmp_path, secret=SECRET) as guarded:
        auth = guarded.bridge.deps.auth
        mine, theirs = auth.issue("mia")[0], auth.issue("ron")[0]
        service = auth.issue(None)[0]

        def status(bearer: str, **body: str) -> int:
            return guarded.post("/v1/users/mia/merge", body, token=bearer).status

        assert status("", **{"from": SESSION}) == 401
        assert status(theirs, **{"from": SESSION}) == 403
        assert status(mine, **{"from": SESSION}) == 202
        assert status(mine, **{"from": "ron"}) == 403
        assert status(mine, **{"from": "visitor-1"}) == 403
        assert status(mine, **{"from": "ron", "token": mine}) == 403
        assert status(mine, **{"from": "ron", "token": "nonsense"}) == 401
        assert status(mine, **{"from": "ron", "token": theirs}) == 202
        assert status(service, **{"from": "ron"}) == 202


def test_histories_know_how_far_each_partition_is_folded(world):
    views = world.bridge.deps.views
    for partition, offset in ((0, 7), (1, 9)):
        row = history_rows.encode_row(history_rows.AppliedRow(offset, offset))
        changelog = views.topics[1]
        world.log.append([NewRecord(changelog, history_rows.APPLIED_KEY, row, partition)])
    world.wait_for_views()

    assert (views.folded(0), views.folded(1)) == (7, 9)
