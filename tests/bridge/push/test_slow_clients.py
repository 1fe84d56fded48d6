"""WebSocket clients that read slowly or never, and the end of a connection."""

import threading

from tests.bridge.bridge_world import closed, items_of, running
from tests.waiting import wait_until


def test_a_stalled_client_gets_fewer_lists_in_order_and_the_newest_last(world):
    items = [f"item-{number:04d}" for number in range(200)]
    with world.socket(max_queue=1) as client:
        client.hello("slow", "recs")
        client.receive("recs")
        for generation in range(1, 401):
            newest = world.publish("slow", *items, generation=generation)
        world.wait_for_views()

        offsets = []
        while not offsets or offsets[-1] < newest:
            offsets.append(client.receive("recs")["offset"])

    assert offsets == sorted(set(offsets))
    assert len(offsets) < 400


def test_a_client_that_never_reads_is_dropped_and_the_others_are_served(tmp_path):
    items = [f"item-{number:04d}" for number in range(300)]
    with running(tmp_path) as world:
        connections = world.bridge.deps.connections
        connections.ping_s = 0.2
        with world.socket(max_queue=1) as stalled, world.socket() as reader:
            stalled.hello("stalled", "recs")
            reader.hello("reader", "recs")
            stalled.receive("recs")
            reader.receive("recs")

            ours = next(each for each in connections.connections if each.user == "stalled")

            def is_blocked():
                for _ in range(50):
                    world.publish("stalled", *items)
                is_read = ours.transport.is_reading()
                return (ours.is_blocked and not is_read) or ours.close_code == 4008

            wait_until(is_blocked, "a client that never reads")
            world.publish("reader", "a")
            assert items_of(reader.receive("recs")) == ["a"]
            wait_until(lambda: ours.close_code == 4008, "its end")
            assert closed(stalled) == 4008


def test_a_stopping_bridge_tells_every_client_to_come_back(tmp_path):
    with running(tmp_path) as world, world.socket() as one, world.socket() as two:
        one.hello("one", "recs")
        two.hello("two", "recs")
        stopping = threading.Thread(target=world.bridge.stop)
        stopping.start()

        assert (closed(one), closed(two)) == (1012, 1012)
        stopping.join()


def test_a_closed_connection_leaves_nothing_behind(world):
    connections = world.bridge.deps.connections
    with world.socket() as client:
        client.hello("gone", "recs", "pipeline", "log")
        client.receive("recs")
        assert connections.hub.wants("gone")

    wait_until(lambda: not connections.hub.wants("gone"), "a hub that has forgotten")
