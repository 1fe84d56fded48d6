"""One user's part of popularity is limited."""

from recstream.core.popularity import UserLimit


def test_an_item_counts_once_for_a_user():
    limit = UserLimit(1.0)

    assert [limit.admits("u", "a"), limit.admits("u", "a"), limit.admits("u", "b")] == [1, 0, 1]
    assert limit.admits("v", "a")


def test_a_user_has_at_most_a_share_of_the_newest_events():
    limit = UserLimit(0.125)  # 4 of 32

    assert [limit.admits("busy", f"a{n}") for n in range(6)] == [True] * 4 + [False] * 2
    for n in range(28):
        assert limit.admits(f"u{n}", "a")
    assert not limit.admits("busy", "b1")  # 32 counted events, 4 of them the user's
    assert limit.admits("u28", "a")
    assert limit.admits("busy", "b1")  # the first of the 4 has left the window
