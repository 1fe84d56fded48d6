"""Time travel: histories, generations and lists as of any offset or time, derived from the log.

In: a log, a model store, a folder for snapshots. Out: lists of the past, and how two of them differ.
"""

from __future__ import annotations

from recstream.time_travel.causes import Causes, causes
from recstream.time_travel.changes import Change
from recstream.time_travel.checkpoints import fold_from, verify_checkpoint, verify_checkpoints
from recstream.time_travel.derive import derive
from recstream.time_travel.fold import PartitionFold, Watch, state_digest
from recstream.time_travel.generations import Generations
from recstream.time_travel.moment import Moment, moment
from recstream.time_travel.origin import ListOrigin, find_origin
from recstream.time_travel.overlap import Overlap, compare_generations
from recstream.time_travel.service import AsOfList, ListDiff, TimeTravel
from recstream.time_travel.snapshots import Snapshots
from recstream.time_travel.what_if import Alternative, WhatIf, what_if

__all__ = [
    "Alternative",
    "AsOfList",
    "Causes",
    "Change",
    "Generations",
    "ListDiff",
    "ListOrigin",
    "Moment",
    "Overlap",
    "PartitionFold",
    "Snapshots",
    "TimeTravel",
    "Watch",
    "WhatIf",
    "causes",
    "compare_generations",
    "derive",
    "find_origin",
    "fold_from",
    "moment",
    "state_digest",
    "verify_checkpoint",
    "verify_checkpoints",
    "what_if",
]
