"""The hub and the log channel by themselves: order, newest only, gaps; peers without a wire."""

from __future__ import annotations

import json

import pytest

from recstream.bridge.auth import EVERYBODY
from recstream.bridge.push.hub import Hub, Refused
from recstream.bridge.push.logfeed import MAX_BEHIND, LogSubscription
from recstream.bridge.push.peer import Outgoing, Peer
from recstream.bridge.push.protocol import Since, Subscription
from recstream.log.port import Record, TopicPartition

TP = TopicPartition("t", 0)


class RecordingPeer(Peer):
    """A peer whose wire is a list; it can be blocked."""

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

    def pipeline(self):
        return Outgoing("pipeline", b"{}")


def a_hub(offset=5):
    return Hub(Log(), Snapshots(offset), feed=None)


def subscribed(hub, peer, ch="recs", since=None):
    state, start = hub.subscribe(peer, Subscription(ch=ch, since=since))
    start()
    return state


def test_a_list_that_the_snapshot_covers_is_not_sent_again():
    hub, peer = a_hub(offset=5), RecordingPeer()
    subscribed(hub, peer)

    hub.publish_recs([("u", 4, Outgoing("recs", b"4")), ("u", 5, Outgoing("recs", b"5"))])
    hub.publish_recs([("u", 7, Outgoing("recs", b"7")), ("u", 6, Outgoing("recs", b"6"))])

    assert peer.sent == [b"5", b"7"]


def test_a_blocked_peer_keeps_the_newest_of_each_channel():
    hub, peer = a_hub(), RecordingPeer()
    subscribed(hub, peer)
    subscribed(hub, peer, "pipeline")
    peer.sent.clear()
    peer.is_blocked = True
    for offset in (6, 7, 8):
        hub.publish_recs([("u", offset, Outgoing("recs", b"%d" % offset))])
    peer.offer(Outgoing("pipeline", b"status"))

    peer.unblock()

    assert peer.sent == [b"8", b"status"]


def test_who_is_up_to_date_in_this_log_gets_no_snapshot():
    hub = a_hub(offset=5)
    for since, expected in (
        (Since("e1", 5), (True, [])),
        (Since("e1", 4), (True, [b"5"])),
        (Since("e0", 5), (False, [b"5"])),
        (None, (False, [b"5"])),
    ):
        peer = RecordingPeer()
        state = subscribed(hub, peer, since=since)

        assert (state.recovered, peer.sent) == expected


def test_a_peer_that_left_hears_nothing():
    hub, peer = a_hub(), RecordingPeer()
    subscribed(hub, peer)
    hub.leave(peer)
    peer.sent.clear()

    hub.publish_recs([("u", 9, Outgoing("recs", b"9"))])

    assert peer.sent == []
    assert not hub.wants("u")


def test_lists_need_a_user():
    with pytest.raises(Refused):
        a_hub().subscribe(RecordingPeer(user=None), Subscription(ch="recs"))


class Feed:
    """Notes what a cursor wants to read."""

    def __init__(self):
        self.wanted = []

    def read(self, subscription):
        self.wanted.append(subscription.next)


def record(offset, key=b"u"):
    return Record("t", 0, offset, 0, key, b"%d" % offset)


def a_cursor(offset=0, only_user=None):
    feed, peer = Feed(), RecordingPeer()
    cursor = LogSubscription(feed, peer, TP, offset, only_user)
    peer.logs.append(cursor)
    cursor.start()
    return cursor, peer, feed


def offsets(peer):
    return [one.get("offset", (one.get("from"), one.get("to"))) for one in peer.messages]


def test_a_cursor_at_the_end_goes_live_and_takes_each_record_once():
    cursor, peer, _ = a_cursor(offset=3)
    cursor.caught([], earliest=0, end=3)

    cursor.take([record(2), record(3)])
    cursor.take([record(3), record(4)])

    assert offsets(peer) == [3, 4]


def test_a_record_that_arrives_while_catching_up_is_not_lost():
    cursor, peer, feed = a_cursor(offset=0)
    cursor.take([record(2)])
    cursor.caught([record(0), record(1)], earliest=0, end=2)
    assert not cursor.is_live
    cursor.caught([record(2)], earliest=0, end=3)

    assert cursor.is_live
    assert offsets(peer) == [0, 1, 2]
    assert feed.wanted == [0, 2]


def test_what_was_pruned_is_named_as_a_gap():
    cursor, peer, _ = a_cursor(offset=10)

    cursor.caught([], earliest=91, end=100)

    assert offsets(peer) == [(10, 90)]
    assert cursor.next == 91


def test_who_is_too_far_behind_skips_with_a_gap():
    cursor, peer, _ = a_cursor(offset=0)
    end = MAX_BEHIND + 1

    cursor.caught([], earliest=0, end=end)

    (gap,) = peer.messages
    assert (gap["from"], gap["to"] + 1) == (0, cursor.next)
    assert end - cursor.next <= MAX_BEHIND


def test_a_blocked_cursor_reads_on_from_where_it_was():
    cursor, peer, feed = a_cursor(offset=0)
    cursor.caught([], earliest=0, end=0)
    cursor.take([record(0)])
    peer.is_blocked = True
    cursor.take([record(1), record(2)])
    assert not cursor.is_live

    peer.unblock()
    cursor.caught([record(1), record(2)], earliest=0, end=3)

    assert feed.wanted == [0, 1]
    assert offsets(peer) == [0, 1, 2]


def test_a_stretch_that_compaction_emptied_is_passed_over():
    cursor, peer, _ = a_cursor(offset=4)

    cursor.caught([], earliest=0, end=9)

    assert cursor.is_live
    assert (cursor.next, peer.sent) == (9, [])


def test_a_cursor_of_one_user_passes_over_the_others():
    cursor, peer, _ = a_cursor(offset=0, only_user="u")
    cursor.caught([], earliest=0, end=0)

    cursor.take([record(0, b"v"), record(1, b"u"), record(2, None)])

    assert offsets(peer) == [1]
    assert cursor.next == 3
