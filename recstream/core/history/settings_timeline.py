"""Step 3 of the flow: which rules held for which events, from the records of the control topic.

Settings (weights, half-life, list length) may be changed when a worker starts, and the steering
document at any time. The worker then appends `SettingsActivated` for each partition it owns, with the
first offset they hold for. Replaying the control topic therefore tells, for every event and every
list, what it was folded and made by.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from recstream.core.history.fold import FoldSettings
from recstream.core.records import SettingsActivated, SteeringSet
from recstream.core.steering import Steering


class ActiveSettings(NamedTuple):
    """Fold settings, list size and steering in force on a partition.

    ``control`` is their offset on the control topic, -1 for the defaults of a log without any;
    ``set_at`` is that of the steering document, -1 for none.
    """

    control: int
    from_offset: int
    rules: FoldSettings
    list_size: int
    steering: Steering | None = None
    set_at: int = -1

    @classmethod
    def of(
        cls, control: int, record: SettingsActivated, steering: Steering | None = None
    ) -> ActiveSettings:
        """Return what a record at an offset of the control topic says."""
        rules = FoldSettings(record.weights, record.half_life_ms)
        return cls(control, record.from_offset, rules, record.list_size, steering, record.steering)

    @property
    def is_by_user(self) -> bool:
        """Whether users' events are folded by other rules than ``rules``."""
        steering = self.steering
        return steering is not None and (bool(steering.arms) or steering.fatigue is not None)

    def rules_of(self, user: str) -> FoldSettings:
        """Return the rules that a user's events are folded by: those of the user's arm."""
        if self.steering is None:
            return self.rules
        arm = self.steering.arm_of(user)
        rules = self.rules
        return FoldSettings(
            msgspec.structs.replace(rules.weights, **arm.weights) if arm.weights else rules.weights,
            arm.half_life_ms or rules.half_life_ms,
            arm.fatigue is not None,
        )


class SettingsTimeline:
    """The rules of every partition over its offsets. `add` is the only thing that changes it.

    Parameters
    ----------
    default : ActiveSettings
        What holds before the first record of a partition.

    Attributes
    ----------
    next_offset : int
        Of the control topic: `extend` took in everything readable before it.
    """

    def __init__(self, default: ActiveSettings) -> None:
        self._default = default
        self._by_partition: dict[int, list[ActiveSettings]] = {}
        self._by_control: dict[int, ActiveSettings] = {default.control: default}
        self._documents: dict[int, Steering] = {}
        self.next_offset = 0

    def add(self, control: int, record: SettingsActivated | SteeringSet) -> None:
        """Take in the next record of the control topic; rules adopted again at an offset replace."""
        if isinstance(record, SteeringSet):
            self._documents[control] = record.steering
            return
        document = self._documents.get(record.steering)
        adopted = ActiveSettings.of(
            control, record, None if document and document.is_empty else document
        )
        known = self._by_partition.setdefault(record.partition, [])
        while known and known[-1].from_offset >= adopted.from_offset:
            known.pop()
        known.append(adopted)
        self._by_control[control] = adopted

    def extend(self, records: Iterable[tuple[int, object]]) -> None:
        """Take in (offset, record) pairs of the control topic, those that are not rules left out."""
        for control, record in records:
            if isinstance(record, SettingsActivated | SteeringSet):
                self.add(control, record)
            self.next_offset = max(self.next_offset, control + 1)

    def at(self, partition: int, offset: int) -> ActiveSettings:
        """Return the rules that an event at this position is folded by."""
        known = self._by_partition.get(partition, [])
        place = bisect_right(known, offset, key=lambda adopted: adopted.from_offset)
        return known[place - 1] if place else self._default

    def newest(self, partition: int) -> ActiveSettings:
        """Return the rules that hold for what comes next on a partition."""
        known = self._by_partition.get(partition)
        return known[-1] if known else self._default

    @property
    def newest_document(self) -> tuple[int, Steering | None]:
        """The control offset of the newest steering document and itself; (-1, None) without one."""
        if not self._documents:
            return -1, None
        at = max(self._documents)
        return at, self._documents[at]

    def n_partitions_with(self, set_at: int) -> int:
        """Return how many partitions hold the steering document of a control offset."""
        return sum(known[-1].set_at == set_at for known in self._by_partition.values())

    def by_control(self, control: int) -> ActiveSettings | None:
        """Return the rules adopted at an offset of the control topic, or None."""
        return self._by_control.get(control)
