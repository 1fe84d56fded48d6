"""State of the past from the log: histories, generations and lists as of any offset."""

from __future__ import annotations

from recstream.time_travel.derive import derive
from recstream.time_travel.fold import PartitionFold, Watch, state_digest
from recstream.time_travel.generations import Generations
from recstream.time_travel.service import AsOfList, Change, ListDiff, Moment, TimeTravel, moment
from recstream.time_travel.snapshots import Snapshots
from recstream.time_travel.source import decode_value, read_batches, read_records

__all__ = [
    "AsOfList",
    "Change",
    "Generations",
    "ListDiff",
    "Moment",
    "PartitionFold",
    "Snapshots",
    "TimeTravel",
    "Watch",
    "decode_value",
    "derive",
    "moment",
    "read_batches",
    "read_records",
    "state_digest",
]
