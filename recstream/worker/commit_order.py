"""Steps 3 and 8 of the flow: the effects of groups are carried out in one order, each once.

For each group of records of a partition, once it is folded in memory and its lists are made:

1. append, in one call: changed rows to the table's changelog, lists, dead letters, the row that
   says how far the partition is applied, and the consumer group's offset;
2. when that is durable, write the same rows and their changelog offset to RocksDB in one batch;
3. only then go on, and acknowledge.

A crash before 1 loses nothing: the records are read again. A crash between 1 and 2 leaves RocksDB
behind its changelog, from which it is brought up to date before anything else is read. Records
that are delivered again are skipped by the partition's applied offset, and events by their
history's own position. A failed step throws the partition's memory away; the rows say how it was.
Groups of several partitions go through the steps together, so that the disk is waited for once;
each is still done, or refused, by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recstream.errors import LogFenced
from recstream.log import NewRecord, Position, TopicPartition
from recstream.worker.commit import Append, Effects, ForgetEffects
from recstream.worker.state import PartitionState
from recstream.worker.store import RowStore


class Committer:
    """Appends effects, and keeps what is durable.

    Parameters
    ----------
    append : callable
        With the group's offsets; see `Append`.
    rows : RowStore
    changelog : str
        Topic of the table's changelog.
    states : dict of int to PartitionState
        The partitions' memory, by number; where a step fails, it is taken out.
    """

    def __init__(
        self,
        append: Append,
        rows: RowStore,
        changelog: str,
        states: dict[int, PartitionState],
    ) -> None:
        self._append = append
        self._rows = rows
        self._changelog = changelog
        self._states = states

    def append(
        self, records: Sequence[NewRecord], offsets: Mapping[TopicPartition, int]
    ) -> list[Position]:
        """Append records that no row goes with; raises `LogFenced` where that is refused."""
        (done,) = self._append([(records, offsets)])
        if isinstance(done, LogFenced):
            raise done
        return done

    def commit(self, effects: Sequence[Effects | ForgetEffects]) -> list[LogFenced | None]:
        """Carry out the effects of groups of different partitions.

        Returns
        -------
        list of LogFenced or None
            What refused each: another worker has its partition.
        """
        if not effects:
            return []
        try:
            done = self._append([each.work(self._changelog) for each in effects])
            for each, positions in zip(effects, done, strict=True):
                if isinstance(positions, LogFenced):
                    self._states.pop(each.state.number, None)
                else:
                    each.keep(self._rows, positions)
        except BaseException:
            for each in effects:
                self._states.pop(each.state.number, None)
            raise
        return [each if isinstance(each, LogFenced) else None for each in done]
