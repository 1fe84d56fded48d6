"""Histories of all users as columns. In: users with their entries. Out: slices of entries, snapshots, files.

`columns` is the form, read only; `live` changes it in place and freezes it for a training. `checkpoint`
and `changelog` fill it: rows of a file, then records of the topic.
"""

from recstream.trainer.histories.columns import RUN, WORDS, Entries, HistoryColumns, UserColumns
from recstream.trainer.histories.live import FrozenHistories, Histories
