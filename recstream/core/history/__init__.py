"""A user's history: folded events, their rows in a table, and the training matrix.

In: checked events in the order of the log, and settings. Out: histories, table rows, matrix rows.
"""

from __future__ import annotations

from recstream.core.history.fading import fading_weights
from recstream.core.history.fold import (
    FADE_ENTRIES,
    SEMANTICS,
    Entry,
    FoldSettings,
    History,
    apply,
    matrix_row,
    seen_items,
)
from recstream.core.history.matrix import Row, extend_index, stack
from recstream.core.history.settings_timeline import ActiveSettings, SettingsTimeline
from recstream.core.history.table_rows import (
    APPLIED_KEY,
    AppliedRow,
    ListRow,
    changes,
    decode_applied_row,
    decode_header,
    decode_list_row,
    decode_page,
    encode_row,
    header_offset,
    history_digest,
    list_key,
    load,
    split_key,
)

__all__ = [
    "APPLIED_KEY",
    "FADE_ENTRIES",
    "SEMANTICS",
    "ActiveSettings",
    "AppliedRow",
    "Entry",
    "FoldSettings",
    "History",
    "ListRow",
    "Row",
    "SettingsTimeline",
    "apply",
    "changes",
    "decode_applied_row",
    "decode_header",
    "decode_list_row",
    "decode_page",
    "encode_row",
    "extend_index",
    "fading_weights",
    "header_offset",
    "history_digest",
    "list_key",
    "load",
    "matrix_row",
    "seen_items",
    "split_key",
    "stack",
]
