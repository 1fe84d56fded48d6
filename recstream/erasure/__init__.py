"""Erasure of one user, as far as worker, bridge and trainer share it.

In: requests, tombstones, a user id. Out: which requests are open, blanked records (embedded log),
deleted records (Kafka), RocksDB files without deleted rows.
"""

from recstream.erasure.redact import erase, finish, without
from recstream.erasure.requests import BLANK_KEY, forgetting, mark, marked, request_erasure
from recstream.erasure.scrub import scrub
from recstream.erasure.truncate import CompactingLog, Truncation
