"""The hub and the log channel by themselves: order, newest only, gaps; peers without a wire."""

import asyncio
import json

import pytest

from recstream.bridge.auth import EVERYBODY
from recstream.bridge.push.connection import Connection, Outgoing
from recstream.bridge.push.hub import Hub, Refused
from recstream.bridge.push.log_feed import MAX_BEHIND, LogCursor, LogFeed
from recstream.bridge.push.protocol import CLOSE_MEANINGS, Since, Subscription
from recstream.errors import LogUnavailable
from recstream.log.port import Record, TopicPartition
from tests.waiting import until

TP = TopicPartition("t", 0)


class RecordingConnection(Connection):
    """A connection whose wire is a list; it can be blocked."""

    def __init__(self, user="u"):
        super().__init__()
        self.identity, self.user = EVERYBODY, user
        self.sent = []

    def write(self, message):
        self.sent.append(message.payload)

    @property
    def messages(self):
        return [json.loads(payload) for payload in self.sent]


class Log:
    epoch = "e1"


class Snapshots:
    """What is true now: a list at an offset."""

    def __init__(self, offset):
        self.offset = offset

    def recs(self, user):  # noqa: ARG002 - everybody has the same list
        return self.offset, Outgoing("recs", b"%d" % self.offset)

    def list_offset(self, user):  # noqa: ARG002
        return self.offset

    def published(self, user):
        return self.recs(user)

    def placed(self, user, placement):  # noqa: ARG002
        return self.offset, Outgoing("recs", b"%d in %s" % (self.offset, placement.encode()))

    def pipeline(self):
        return Outgoing("pipeline", b"{}")


def a_hub(offset=5):
    return Hub(Log(), Snapshots(offset), feed=None, topics=())


def subscribed(hub, connection, ch="recs", since=None, placement=""):
    wanted = Subscription(ch=ch, since=since, placement=placement)
    prepared = hub.prepare(wanted, user=connection.user, identity=connection.identity)
    state, start = hub.subscribe(connection, prepared)
    start()
    return state


def test_a_list_that_the_snapshot_covers_is_not_sent_again():
    hub, connection = a_hub(offset=5), RecordingConnection()
    subscribed(hub, connection)

    hub.publish_recs([("u", 4, Outgoing("recs", b"4")), ("u", 5, Outgoing("recs", b"5"))])
    hub.publish_recs([("u", 7, Outgoing("recs", b"7")), ("u", 6, Outgoing("recs", b"6"))])

    assert connection.sent == [b"5", b"7"]


def test_a_blocked_peer_keeps_the_newest_of_each_channel():
    hub, connection = a_hub(), RecordingConnection()
    subscribed(hub, connection)
    subscribed(hub, connection, "pipeline")
    connection.sent.clear()
    connection.is_blocked = True
    for offset in (6, 7, 8):
        hub.publish_recs([("u", offset, Outgoing("recs", b"%d" % offset))])
    connection.offer(Outgoing("pipeline", b"status"))

    connection.unblock()

    assert connection.sent == [b"8", b"status"]


def test_who_is_up_to_date_in_this_log_gets_no_snapshot():
    hub = a_hub(offset=5)
    for since, expected in (
        (Since("e1", 5), (True, [])),
        (Since("e1", 4), (True, [b"5"])),
        (Since("e0", 5), (False, [b"5"])),
        (Since("e1", 6), (False, [b"5"])),
        (Since("e1", -1), (True, [b"5"])),
        (None, (False, [b"5"])),
    ):
        connection = RecordingConnection()
        state = subscribed(hub, connection, since=since)

        assert (state.recovered, connection.sent) == expected


def test_a_subscription_without_a_placement_replaces_one_with_it():
    hub, connection = a_hub(), RecordingConnection()
    subscribed(hub, connection, placement="cart")
    subscribed(hub, connection)
    connection.sent.clear()

    hub.publish_recs([("u", 6, Outgoing("recs", b"6"))])
    hub.publish_placed([("u", "cart", Outgoing("recs", b"6 in cart"))])

    assert connection.sent == [b"6"]
    assert hub.placements("u") == set()


def test_a_list_of_a_placement_made_while_subscribing_is_sent():
    async def subscribe():
        snapshots, connection = Snapshots(5), RecordingConnection()
        hub = Hub(Log(), snapshots, feed=None, topics=())
        wanted = Subscription(ch="recs", placement="cart")
        prepared = hub.prepare(wanted, user="u", identity=EVERYBODY)
        snapshots.offset = 6
        _, start = hub.subscribe(connection, prepared)
        start()
        await until(lambda: connection.sent)
        return connection.sent

    assert asyncio.run(subscribe()) == [b"6 in cart"]


def test_a_peer_that_left_receives_no_notification():
    hub, connection = a_hub(), RecordingConnection()
    subscribed(hub, connection)
    hub.remove(connection)
    connection.sent.clear()

    hub.publish_recs([("u", 9, Outgoing("recs", b"9"))])

    assert connection.sent == []
    assert not hub.wants("u")


def test_lists_need_a_user():
    with pytest.raises(Refused):
        a_hub().prepare(Subscription(ch="recs"), user=None, identity=EVERYBODY)


class Feed:
    """Notes what a cursor wants to read."""

    def __init__(self):
        self.wanted = []

    def read(self, subscription):
        self.wanted.append(subscription.next)


def record(offset, key=b"u"):
    return Record("t", 0, offset, 0, key, b"%d" % offset)


def a_cursor(offset=0, only_user=None):
    feed, connection = Feed(), RecordingConnection()
    cursor = LogCursor(feed, connection, TP, offset, only_user)
    connection.logs.append(cursor)
    cursor.start()
    return cursor, connection, feed


def offsets(connection):
    return [one.get("offset", (one.get("from"), one.get("to"))) for one in connection.messages]


def test_a_cursor_at_the_end_goes_live_and_takes_each_record_once():
    cursor, connection, _ = a_cursor(offset=3)
    cursor.on_read([], earliest=0, end=3)

    cursor.take([record(2), record(3)])
    cursor.take([record(3), record(4)])

    assert offsets(connection) == [3, 4]


def test_a_record_that_arrives_while_catching_up_is_not_lost():
    cursor, connection, feed = a_cursor(offset=0)
    cursor.take([record(2)])
    cursor.on_read([record(0), record(1)], earliest=0, end=2)
    assert not cursor.is_live
    cursor.on_read([record(2)], earliest=0, end=3)

    assert cursor.is_live
    assert offsets(connection) == [0, 1, 2]
    assert feed.wanted == [0, 2]


def test_what_was_pruned_is_named_as_a_gap():
    cursor, connection, _ = a_cursor(offset=10)

    cursor.on_read([], earliest=91, end=100)

    assert offsets(connection) == [(10, 90)]
    assert cursor.next == 91


def test_who_is_too_far_behind_skips_with_a_gap():
    cursor, connection, _ = a_cursor(offset=0)
    end = MAX_BEHIND + 1

    cursor.on_read([], earliest=0, end=end)

    (gap,) = connection.messages
    assert (gap["from"], gap["to"] + 1) == (0, cursor.next)
    assert end - cursor.next <= MAX_BEHIND


def test_a_blocked_cursor_reads_on_from_where_it_was():
    cursor, connection, feed = a_cursor(offset=0)
    cursor.on_read([], earliest=0, end=0)
    cursor.take([record(0)])
    connection.is_blocked = True
    cursor.take([record(1), record(2)])
    assert not cursor.is_live

    connection.unblock()
    cursor.on_read([record(1), record(2)], earliest=0, end=3)

    assert feed.wanted == [0, 1]
    assert offsets(connection) == [0, 1, 2]


def test_a_range_that_compaction_emptied_is_skipped():
    cursor, connection, _ = a_cursor(offset=4)

    cursor.on_read([], earliest=0, end=9)

    assert cursor.is_live
    assert (cursor.next, connection.sent) == (9, [])


def test_a_cursor_of_one_user_passes_over_the_others():
    cursor, connection, _ = a_cursor(offset=0, only_user="u")
    cursor.on_read([], earliest=0, end=0)

    cursor.take([record(0, b"v"), record(1, b"u"), record(2, None)])

    assert offsets(connection) == [1]
    assert cursor.next == 3


def test_a_client_keeps_its_position_while_the_log_cant_be_read():
    class Away(Log):
        def earliest(self, *_):
            raise LogUnavailable("away")

    posted = []
    feed = LogFeed(Away(), lambda *call: posted.append(call))
    connection = RecordingConnection()

    feed._read(LogCursor(feed, connection, TP, 7, None))

    ((close, code, _),) = posted
    assert close == connection.close
    assert (CLOSE_MEANINGS[code].retry, CLOSE_MEANINGS[code].resume) == (True, True)
