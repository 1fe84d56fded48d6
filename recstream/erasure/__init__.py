"""Erasure of one user: what worker, bridge and trainer share of it."""

from __future__ import annotations

from recstream.erasure.erasure import BLANK_KEY, Due, Forgetter, erasable, forgetting, mark, marked
from recstream.erasure.scrub import scrub

__all__ = ["BLANK_KEY", "Due", "Forgetter", "erasable", "forgetting", "mark", "marked", "scrub"]
