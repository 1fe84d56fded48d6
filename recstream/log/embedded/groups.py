"""Consumer groups of the embedded log: membership, generations, assignment, fencing.

A group's generation grows with each change of its members. Each member gives up its partitions and
reports ready for the new generation. The leader (the oldest member) then writes assignments and
owners in one transaction. From then on only the owner can commit offsets of a partition: a member
that was declared dead is fenced.

A member is dead when its process is gone (noticed within a second) or when it has not sent a
heartbeat for the session timeout.
"""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from recstream.errors import LogFenced
from recstream.log.embedded.log import EmbeddedLog
from recstream.log.port import TopicPartition


class Member(NamedTuple):
    """A member of a group, as the other members see it."""

    id: str
    generation: int
    """The generation it is ready for: it has given up its former partitions."""
    metadata: bytes


class GroupState(NamedTuple):
    """A snapshot of a group, for one of its members.

    ``assignment`` is None until the leader has assigned the generation. ``members`` come oldest
    first: the first one leads.
    """

    generation: int
    members: tuple[Member, ...]
    assignment: bytes | None

    @property
    def leader(self) -> str:
        """Id of the member that assigns this generation."""
        return self.members[0].id

    @property
    def is_ready(self) -> bool:
        """Whether every member has given up its partitions for this generation."""
        return all(member.generation == self.generation for member in self.members)


class MemberAssignment(NamedTuple):
    """A member's assignment: the partitions it owns, and the group protocol's own encoding."""

    owned: tuple[TopicPartition, ...]
    assignment: bytes


class Membership:
    """One member of a group on an embedded log.

    Parameters
    ----------
    session_timeout_s : float
        Silence after which the other members remove this one.
    """

    def __init__(
        self, log: EmbeddedLog, group: str, member_id: str, *, session_timeout_s: float = 30.0
    ) -> None:
        self.log = log
        self.group = group
        self.member_id = member_id
        self.session_timeout_s = session_timeout_s

    def join(self, metadata: bytes) -> None:
        """Join the group, or rejoin after removal; starts a generation."""
        with self.log.write_mutex, self.log.storage.write() as connection:
            connection.execute("INSERT OR IGNORE INTO groups VALUES (?, 0, 0)", (self.group,))
            (last,) = connection.execute(
                "SELECT coalesce(max(joined), 0) FROM members WHERE grp=?", (self.group,)
            ).fetchone()
            connection.execute(
                "INSERT OR REPLACE INTO members VALUES (?, ?, ?, 0, ?, ?, ?, x'')",
                (self.group, self.member_id, last + 1, _now_ms(), process_identity(), metadata),
            )
            self._unsettle(connection)
        self.log.notify_groups()

    def heartbeat(self) -> None:
        """Report that this member is alive."""
        with self.log.write_mutex, self.log.storage.write() as connection:
            connection.execute(
                "UPDATE members SET seen_ms=? WHERE grp=? AND id=?",
                (_now_ms(), self.group, self.member_id),
            )

    def remove_dead(self) -> list[str]:
        """Remove members whose process is gone or whose session has timed out; return their ids."""
        with self.log.storage.read() as connection:
            if not self._dead(connection):
                return []
        with self.log.write_mutex, self.log.storage.write() as connection:
            dead = self._dead(connection)
            self._remove(connection, dead)
        self.log.notify_groups()
        return dead

    def state(self) -> GroupState | None:
        """Return a snapshot of the group; None if this member is not in it."""
        with self.log.storage.read() as connection:
            rows = connection.execute(
                "SELECT id, generation, metadata, assignment FROM members WHERE grp=?"
                " ORDER BY joined",
                (self.group,),
            ).fetchall()
            group = connection.execute(
                "SELECT generation, is_settled FROM groups WHERE name=?", (self.group,)
            ).fetchone()
        mine = [row[3] for row in rows if row[0] == self.member_id]
        if not mine:
            return None
        generation, is_settled = group
        members = tuple(Member(*row[:3]) for row in rows)
        return GroupState(generation, members, mine[0] if is_settled else None)

    def ready(self, generation: int, metadata: bytes) -> None:
        """Report that this member has given up its partitions; ``metadata`` is for the leader."""
        with self.log.write_mutex, self.log.storage.write() as connection:
            connection.execute(
                "UPDATE members SET generation=?, metadata=?, seen_ms=? WHERE grp=? AND id=?",
                (generation, metadata, _now_ms(), self.group, self.member_id),
            )
        self.log.notify_groups()

    def assign(self, generation: int, assignments: Mapping[str, MemberAssignment]) -> None:
        """Write every member's assignment.

        Raises
        ------
        LogFenced
            The group is at another generation, is settled, or has other members.
        """
        with self.log.write_mutex, self.log.storage.write() as connection:
            (current, is_settled) = connection.execute(
                "SELECT generation, is_settled FROM groups WHERE name=?", (self.group,)
            ).fetchone()
            ids = {
                member_id
                for (member_id,) in connection.execute(
                    "SELECT id FROM members WHERE grp=?", (self.group,)
                )
            }
            if current != generation or is_settled or ids != set(assignments):
                raise LogFenced(
                    f"group {self.group} is at generation {current}, not at {generation} with the "
                    "members that were assigned; read the group's state again"
                )
            connection.execute("DELETE FROM owners WHERE grp=?", (self.group,))
            for member_id, assigned in assignments.items():
                connection.execute(
                    "UPDATE members SET assignment=? WHERE grp=? AND id=?",
                    (assigned.assignment, self.group, member_id),
                )
                connection.executemany(
                    "INSERT INTO owners VALUES (?, ?, ?, ?)",
                    [(self.group, *tp, member_id) for tp in assigned.owned],
                )
            connection.execute("UPDATE groups SET is_settled=1 WHERE name=?", (self.group,))
        self.log.notify_groups()

    def leave(self) -> None:
        """Leave now, so that the other members need not wait for the session timeout."""
        with self.log.write_mutex, self.log.storage.write() as connection:
            self._remove(connection, [self.member_id])
        self.log.notify_groups()

    def _dead(self, connection: Connection) -> list[str]:
        now = _now_ms()
        oldest = now - int(self.session_timeout_s * 1000)
        return [
            member_id
            for member_id, seen_ms, process in connection.execute(
                "SELECT id, seen_ms, process FROM members WHERE grp=?", (self.group,)
            )
            if not oldest <= seen_ms <= now or is_gone(process)
        ]

    def _remove(self, connection: Connection, member_ids: Iterable[str]) -> None:
        removed = 0
        for member_id in member_ids:
            key = (self.group, member_id)
            removed += connection.execute("DELETE FROM members WHERE grp=? AND id=?", key).rowcount
            connection.execute("DELETE FROM owners WHERE grp=? AND member=?", key)
        if removed:
            self._unsettle(connection)

    def _unsettle(self, connection: Connection) -> None:
        connection.execute(
            "UPDATE groups SET generation=generation+1, is_settled=0 WHERE name=?", (self.group,)
        )


def _now_ms() -> int:
    """Milliseconds since boot: the same for all processes of a machine, monotonic."""
    return time.monotonic_ns() // 1_000_000


def process_identity() -> str:
    """Return an id of this process that is unique on this machine, across reboots too."""
    pid = os.getpid()
    started = _stat(pid)
    return f"{_namespace()} {pid} {started[1]}" if started else ""


def is_gone(identity: str) -> bool:
    """Whether that process has ended for certain; False where that can't be known."""
    namespace, _, rest = identity.partition(" ")
    if not rest or namespace != _namespace():
        return False
    pid, _, started = rest.partition(" ")
    stat = _stat(int(pid))
    return stat is None or stat[0] in "ZX" or stat[1] != started


def _namespace() -> str:
    """Return the boot id and the pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, str] | None:
    """Return a process's state and start time; None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[19]
