"""Timeline of settings: which fold settings, list size and steering are in force at every offset.

Settings may change when a worker starts, and the steering document at any time. The worker then appends
`SettingsActivated` for each partition it owns, with the first offset they hold for. Reading the control
topic therefore gives the settings of every event and every list.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from recstream.core.history.fold import Draft, FoldSettings, History
from recstream.core.records import SettingsActivated, SteeringSet
from recstream.core.steering import Steering


class ActiveSettings(NamedTuple):
    """Settings in force on a partition from an offset on.

    Attributes
    ----------
    control : int
        Their own offset on the control topic; -1 for the defaults of a log without any.
    from_offset : int
        First offset of the partition they hold for.
    steering_offset : int
        Offset of the document on the control topic; -1 for none.
    list_format : int
        Form of the lists on the log (`recstream.core.records.LIST_FORMAT`).
    """

    control: int
    from_offset: int
    fold_settings: FoldSettings
    list_size: int
    steering: Steering | None = None
    steering_offset: int = -1
    list_format: int = 1

    @classmethod
    def of(
        cls, control: int, record: SettingsActivated, steering: Steering | None = None
    ) -> ActiveSettings:
        """Return the settings of a record at an offset of the control topic."""
        settings = FoldSettings(record.weights, record.half_life_ms, semantics=record.semantics)
        return cls(
            control,
            record.from_offset,
            settings,
            record.list_size,
            steering,
            record.steering,
            record.list_format,
        )

    @property
    def is_by_user(self) -> bool:
        """Whether fold settings depend on the user, by A/B arms or impression fatigue."""
        steering = self.steering
        return steering is not None and (
            bool(steering.arms) or steering.fatigue is not None or steering.uses_context
        )

    def fold_settings_of(self, history: History | Draft) -> FoldSettings:
        """Return the fold settings of a history's next event: those of the user's arm."""
        settings = self.fold_settings
        if self.steering is None:
            return settings
        arm = self.steering.arm_of(
            history.user, properties=history.properties, context=history.context
        )
        weights = settings.weights
        return FoldSettings(
            msgspec.structs.replace(weights, **arm.weights) if arm.weights else weights,
            arm.half_life_ms or settings.half_life_ms,
            arm.fatigue is not None,
            settings.semantics,
            self.steering.uses_context,
        )


class SettingsTimeline:
    """Settings of every partition by offset. Only `add` changes it.

    Parameters
    ----------
    default : ActiveSettings
        In force before the first record of a partition.

    Attributes
    ----------
    next_offset : int
        Of the control topic: `extend` has read everything before it.
    """

    def __init__(self, default: ActiveSettings) -> None:
        self._default = default
        self._by_partition: dict[int, list[ActiveSettings]] = {}
        self._by_control: dict[int, ActiveSettings] = {default.control: default}
        self._documents: dict[int, Steering] = {}
        self.next_offset = 0

    def add(self, control: int, record: SettingsActivated | SteeringSet) -> None:
        """Add the next record of the control topic; newer settings from the same offset replace older."""
        if isinstance(record, SteeringSet):
            self._documents[control] = record.steering
            return
        document = self._documents.get(record.steering)
        active = ActiveSettings.of(
            control, record, None if document and document.is_empty else document
        )
        known = self._by_partition.setdefault(record.partition, [])
        while known and known[-1].from_offset >= active.from_offset:
            known.pop()
        known.append(active)
        self._by_control[control] = active

    def extend(self, records: Iterable[tuple[int, object]]) -> None:
        """Add (offset, record) pairs of the control topic; records of other kinds are ignored."""
        for control, record in records:
            if isinstance(record, SettingsActivated | SteeringSet):
                self.add(control, record)
            self.next_offset = max(self.next_offset, control + 1)

    def at(self, partition: int, offset: int) -> ActiveSettings:
        """Return the settings in force for the event at a position."""
        known = self._by_partition.get(partition)
        if not known:
            return self._default
        if known[-1].from_offset <= offset:
            return known[-1]
        place = bisect_right(known, offset, key=lambda active: active.from_offset)
        return known[place - 1] if place else self._default

    def newest(self, partition: int) -> ActiveSettings:
        """Return the settings in force for the next event of a partition."""
        known = self._by_partition.get(partition)
        return known[-1] if known else self._default

    def first_since(self, partition: int, control: int) -> int | None:
        """Return the first offset whose settings depend on control records from an offset on, or None."""
        known = self._by_partition.get(partition, ())
        return min((each.from_offset for each in known if each.control >= control), default=None)

    @property
    def newest_document(self) -> tuple[int, Steering | None]:
        """Control offset of the newest steering document, and the document; (-1, None) without one."""
        if not self._documents:
            return -1, None
        at = max(self._documents)
        return at, self._documents[at]

    def n_partitions_with(self, steering_offset: int) -> int:
        """Return how many partitions follow the steering document of a control offset."""
        return sum(
            known[-1].steering_offset == steering_offset for known in self._by_partition.values()
        )

    def by_control(self, control: int) -> ActiveSettings | None:
        """Return the settings that a control offset names, or None."""
        return self._by_control.get(control)
