"""Analysis of lists: their origin, what changed them, what they would have been; slices of the log.

In: a log, a model store, snapshots of the past. Out: answers about a list, two lists or a range.
"""

from recstream.analysis.causes import Causes, causes
from recstream.analysis.list_what_if import Alternative, WhatIf, what_if
from recstream.analysis.log_samples import sample_events
from recstream.analysis.log_what_if import LogWhatIf, evaluate_what_if
from recstream.analysis.origin import ListOrigin, find_origin
from recstream.analysis.overlap import Overlap, compare_generations
from recstream.analysis.ranges import parse_ranges
from recstream.analysis.slices import Slice, SliceManifest, export
