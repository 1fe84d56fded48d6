"""State in memory: which users are kept."""

from recstream.core.history import Entry, History
from recstream.worker.state import PartitionState, UserCache, UserState
from tests.worker.memory import MemoryRows


def user_state(name: str, n_items: int) -> UserState:
    entries = {f"p{n}": Entry(f"p{n}", 1.0, 0, 1, 0, 1) for n in range(n_items)}
    return UserState(History(name, n_items=n_items, pages=(entries,)), None)


def kept(cache: UserCache, *names: str) -> list[str]:
    return [name for name in names if cache.get(name) is not None]


def test_users_put_longest_ago_are_evicted_when_entries_are_too_many() -> None:
    cache = UserCache(capacity=9)
    for name in ("a", "b", "c"):
        cache.put(name, user_state(name, 2))

    cache.put("a", user_state("a", 3))

    assert kept(cache, "a", "b", "c") == ["a", "c"]
    cache.put("d", user_state("d", 50))
    assert kept(cache, "a", "b", "c", "d") == ["d"]
    cache.drop("d")
    cache.put("a", user_state("a", 9))
    assert kept(cache, "a", "d") == ["a"]


def test_the_newest_users_are_recent_ones_each_once_in_the_order_of_their_events() -> None:
    state = PartitionState(0, MemoryRows(), n_recent=3, restore=lambda _, __: user_state("", 0))

    state.touch(["a", "b", "c", "a"])
    assert list(state.recent_users) == ["b", "c", "a"]
    state.touch(["d", "b"])
    assert list(state.recent_users) == ["a", "d", "b"]
