"""A user's history: folded events, their rows in a table, and the training matrix.

In: checked events in the order of the log, and settings. Out: histories, table rows, matrix rows.
"""

from recstream.core.history import table_rows
from recstream.core.history.fold import (
    SEMANTICS,
    Draft,
    Entry,
    FoldSettings,
    History,
    RatedEntry,
    apply,
    seen_items,
)
from recstream.core.history.matrix import Row, history_rows, matrix_row, matrix_rows, stack
from recstream.core.history.row_columns import parse_rows
from recstream.core.history.settings_timeline import ActiveSettings, SettingsTimeline
