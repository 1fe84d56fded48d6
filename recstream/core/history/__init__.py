"""A user's history: the fold of events, its rows in a table, and the matrix of all histories."""

from __future__ import annotations

from recstream.core.history.fading import fading_weights
from recstream.core.history.fold import FADE_ENTRIES, Entry, History, Rules, apply, row, seen
from recstream.core.history.matrix import Row, grown, stack
from recstream.core.history.settings_timeline import Adopted, RulesTimeline
from recstream.core.history.table_rows import (
    APPLIED_KEY,
    AppliedRow,
    ListRow,
    changes,
    decode_applied_row,
    decode_header,
    decode_list_row,
    decode_page,
    digest,
    encode_row,
    header_offset,
    list_key,
    load,
    split_key,
)

__all__ = [
    "APPLIED_KEY",
    "FADE_ENTRIES",
    "Adopted",
    "AppliedRow",
    "Entry",
    "History",
    "ListRow",
    "Row",
    "Rules",
    "RulesTimeline",
    "apply",
    "changes",
    "decode_applied_row",
    "decode_header",
    "decode_list_row",
    "decode_page",
    "digest",
    "encode_row",
    "fading_weights",
    "grown",
    "header_offset",
    "list_key",
    "load",
    "row",
    "seen",
    "split_key",
    "stack",
]
