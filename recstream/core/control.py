"""Step 3 of the flow: which rules held for which events, from the records of the control topic.

Rules (weights, half-life, list length) may be changed when a worker starts. It then appends
`RulesAdopted` for each partition it owns, with the first offset they hold for. Replaying the control
topic therefore tells, for every event and every list, what it was folded and made by.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from recstream.core.history import Rules
from recstream.core.records import RulesAdopted


class Adopted(NamedTuple):
    """Rules in force on a partition.

    ``control`` is their offset on the control topic, -1 for the defaults of a log without any.
    """

    control: int
    from_offset: int
    rules: Rules
    list_size: int

    @classmethod
    def of(cls, control: int, record: RulesAdopted) -> Adopted:
        """Return what a record at an offset of the control topic says."""
        rules = Rules(record.weights, record.half_life_ms)
        return cls(control, record.from_offset, rules, record.list_size)


class RulesTimeline:
    """The rules of every partition over its offsets. `add` is the only thing that changes it.

    Parameters
    ----------
    default : Adopted
        What holds before the first record of a partition.
    """

    def __init__(self, default: Adopted) -> None:
        self._default = default
        self._by_partition: dict[int, list[Adopted]] = {}
        self._by_control: dict[int, Adopted] = {default.control: default}

    def add(self, control: int, record: RulesAdopted) -> None:
        """Take in the next record of the control topic; rules adopted again at an offset replace."""
        adopted = Adopted.of(control, record)
        known = self._by_partition.setdefault(record.partition, [])
        while known and known[-1].from_offset >= adopted.from_offset:
            known.pop()
        known.append(adopted)
        self._by_control[control] = adopted

    def extend(self, records: Iterable[tuple[int, object]]) -> None:
        """Take in (offset, record) pairs of the control topic, those that are not rules left out."""
        for control, record in records:
            if isinstance(record, RulesAdopted):
                self.add(control, record)

    def at(self, partition: int, offset: int) -> Adopted:
        """Return the rules that an event at this position is folded by."""
        known = self._by_partition.get(partition, [])
        place = bisect_right(known, offset, key=lambda adopted: adopted.from_offset)
        return known[place - 1] if place else self._default

    def newest(self, partition: int) -> Adopted:
        """Return the rules that hold for what comes next on a partition."""
        known = self._by_partition.get(partition)
        return known[-1] if known else self._default

    def by_control(self, control: int) -> Adopted | None:
        """Return the rules adopted at an offset of the control topic, or None."""
        return self._by_control.get(control)
