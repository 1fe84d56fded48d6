"""Erasure of one user, as far as worker, bridge and trainer share it.

In: requests on the control topic, tombstones, a user id. Out: which requests are open, blanked
records, RocksDB files without deleted rows.
"""

from __future__ import annotations

from recstream.erasure.redact import erase, finish, without
from recstream.erasure.requests import BLANK_KEY, erasable, forgetting, mark, marked
from recstream.erasure.scrub import scrub

__all__ = [
    "BLANK_KEY",
    "erasable",
    "erase",
    "finish",
    "forgetting",
    "mark",
    "marked",
    "scrub",
    "without",
]
