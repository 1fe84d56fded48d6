"""Time travel: histories, generations and lists as of any offset or time, derived from the log.

In: a log, a model store, a folder for snapshots. Out: lists of the past, and how two of them differ.
"""

from recstream.time_travel.derive import derive
from recstream.time_travel.fold import PartitionFold, Watch, fold_from, state_digest
from recstream.time_travel.generations import Generations
from recstream.time_travel.list_diff import Change, ListDiff, compare, diff_lists
from recstream.time_travel.moment import Moment, moment, require_in_log
from recstream.time_travel.service import AsOfList, HistoryEvent, TimeTravel
from recstream.time_travel.snapshot_table import ListPosition
from recstream.time_travel.snapshots import Snapshots
from recstream.time_travel.verify_checkpoints import (
    nearest_fold,
    verify_checkpoint,
    verify_checkpoints,
)
