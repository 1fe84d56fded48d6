"""Membership of a group: generations, the leader, fencing, members that die."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recstream.errors import LogFenced
from recstream.log.embedded import EmbeddedLog
from recstream.log.embedded.groups import (
    GroupState,
    MemberAssignment,
    Membership,
    is_gone,
    process_identity,
)
from recstream.log.port import NewRecord, Position, TopicPartition
from recstream.log.topics import TopicSpec

TP0, TP1 = TopicPartition("t", 0), TopicPartition("t", 1)

JOINS = """
import sys
from recstream.log import open_log
from recstream.log.embedded.groups import Membership
Membership(open_log(sys.argv[1]), "g", "other").join(b"")
print("joined", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path / "log.db", sync="normal")
    log.create_topics([TopicSpec("t", 2)])
    yield log
    log.close()


def state_of(member: Membership) -> GroupState:
    state = member.state()
    assert state is not None
    return state


def settled(log: EmbeddedLog, **owned: tuple[TopicPartition, ...]) -> dict[str, Membership]:
    """Return members that own these partitions."""
    members = {name: Membership(log, "g", name) for name in owned}
    for member in members.values():
        member.join(b"")
    generation = state_of(next(iter(members.values()))).generation
    for member in members.values():
        member.ready(generation, b"")
    leader = next(iter(members.values()))
    leader.assign(generation, {n: MemberAssignment(tps, n.encode()) for n, tps in owned.items()})
    return members


def commit(log: EmbeddedLog, member: str | None, tp: TopicPartition, offset: int) -> None:
    log.append([NewRecord("t", None, b"effect", 0)], group="g", offsets={tp: offset}, member=member)


def test_each_join_begins_a_generation_and_the_oldest_member_leads(log: EmbeddedLog) -> None:
    a, b = Membership(log, "g", "a"), Membership(log, "g", "b")

    a.join(b"A")
    first = state_of(a)
    b.join(b"B")
    second = state_of(b)

    assert (first.generation, first.leader) == (1, "a")
    assert (second.generation, second.leader) == (2, "a")
    assert [m.metadata for m in second.members] == [b"A", b"B"]
    assert second.assignment is None


def test_a_generation_is_ready_when_every_member_said_so(log: EmbeddedLog) -> None:
    a, b = Membership(log, "g", "a"), Membership(log, "g", "b")
    a.join(b"")
    b.join(b"")
    generation = state_of(a).generation

    a.ready(generation, b"A")
    assert not state_of(a).is_ready
    b.ready(generation, b"B")
    assert state_of(a).is_ready


def test_each_member_finds_its_own_assignment(log: EmbeddedLog) -> None:
    members = settled(log, a=(TP0,), b=(TP1,))

    assert state_of(members["a"]).assignment == b"a"
    assert state_of(members["b"]).assignment == b"b"


def test_an_assignment_for_another_generation_is_refused(log: EmbeddedLog) -> None:
    a, b = Membership(log, "g", "a"), Membership(log, "g", "b")
    a.join(b"")
    generation = state_of(a).generation
    b.join(b"")

    with pytest.raises(LogFenced, match="is at generation 2"):
        a.assign(generation, {"a": MemberAssignment((TP0,), b"")})


def test_only_the_owner_commits_offsets_and_a_refused_append_writes_nothing(
    log: EmbeddedLog,
) -> None:
    settled(log, a=(TP0,), b=(TP1,))

    commit(log, "a", TP0, 5)
    for intruder in ("b", None):
        with pytest.raises(LogFenced, match=r"t\[0\] of group g belongs to a"):
            commit(log, intruder, TP0, 9)

    assert log.committed("g") == {TP0: 5}
    assert log.high_watermark("t", 0) == 1


def test_of_appends_done_together_only_those_of_lost_partitions_are_refused(
    log: EmbeddedLog,
) -> None:
    settled(log, a=(TP0,), b=(TP1,))

    refused, done = log.append_each(
        [
            ([NewRecord("t", None, b"lost", 0)], {TP0: 5}),
            ([NewRecord("t", None, b"kept", 1)], {TP1: 7}),
        ],
        group="g",
        member="b",
    )

    assert isinstance(refused, LogFenced)
    assert done == [Position("t", 1, 0)]
    assert log.committed("g") == {TP1: 7}
    assert (log.high_watermark("t", 0), log.high_watermark("t", 1)) == (0, 1)


def test_an_owner_may_still_commit_while_the_next_generation_gathers(log: EmbeddedLog) -> None:
    settled(log, a=(TP0,))

    Membership(log, "g", "b").join(b"")

    commit(log, "a", TP0, 5)
    assert log.committed("g") == {TP0: 5}


def test_a_member_without_heartbeats_for_too_long_leaves_and_can_commit_no_more(
    log: EmbeddedLog,
) -> None:
    members = settled(log, a=(TP0,), b=(TP1,))
    impatient = Membership(log, "g", "b", session_timeout_s=30.0)
    with log.storage.write() as connection:
        connection.execute("UPDATE members SET seen_ms = seen_ms - 31000 WHERE id='a'")

    assert impatient.remove_dead() == ["a"]

    assert members["a"].state() is None
    state = state_of(members["b"])
    assert (state.leader, state.assignment, state.generation) == ("b", None, 3)
    with pytest.raises(LogFenced, match="belongs to no member"):
        commit(log, "a", TP0, 9)


def test_a_heartbeat_keeps_a_member_in(log: EmbeddedLog) -> None:
    members = settled(log, a=(TP0,), b=(TP1,))
    with log.storage.write() as connection:
        connection.execute("UPDATE members SET seen_ms = seen_ms - 31000 WHERE id='a'")

    members["a"].heartbeat()

    assert members["b"].remove_dead() == []


def test_a_member_whose_process_was_killed_is_out_at_once(log: EmbeddedLog) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", JOINS, f"embedded://{log.path}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    me = Membership(log, "g", "me")
    me.join(b"")
    assert me.remove_dead() == []

    process.kill()
    process.wait()

    assert me.remove_dead() == ["other"]
    process.communicate()


def test_a_member_that_leaves_is_out_at_once(log: EmbeddedLog) -> None:
    members = settled(log, a=(TP0,), b=(TP1,))

    members["a"].leave()

    assert [m.id for m in state_of(members["b"]).members] == ["b"]
    with pytest.raises(LogFenced):
        commit(log, "a", TP0, 9)


def test_groups_do_not_see_each_other(log: EmbeddedLog) -> None:
    settled(log, a=(TP0,))
    other = Membership(log, "other", "x")
    other.join(b"")

    assert [m.id for m in state_of(other).members] == ["x"]
    log.append([], group="third", offsets={TP0: 3})
    assert log.committed("third") == {TP0: 3}


def test_a_process_is_gone_when_its_number_belongs_to_another_one() -> None:
    mine = process_identity()
    namespace, pid, started = mine.rsplit(" ", 2)

    assert pid == str(os.getpid())
    assert not is_gone(mine)
    assert is_gone(f"{namespace} {pid} {int(started) + 1}")
    assert is_gone(f"{namespace} 4194305 {started}")


def test_a_process_of_another_machine_or_container_is_not_taken_for_gone() -> None:
    assert not is_gone("another-boot/pid:[1] 4194305 1")
    assert not is_gone("")
