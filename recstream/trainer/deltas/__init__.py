"""Deltas: items that moved since a generation, folded in and published between trainings."""

from __future__ import annotations

from recstream.trainer.deltas.deltas import MAX_PRODUCTS, Deltas
from recstream.trainer.deltas.pace import Sender
from recstream.trainer.deltas.publisher import Announcer, Kept
from recstream.trainer.deltas.restore import copy_of, resume

__all__ = [
    "MAX_PRODUCTS",
    "Announcer",
    "Deltas",
    "Kept",
    "Sender",
    "copy_of",
    "resume",
]
