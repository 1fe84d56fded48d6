"""Popularity that follows the stream, and how often users repeat what they did."""

from __future__ import annotations

from recstream.core.popularity.popularity import (
    HALF_LIVES,
    TINY,
    Popularity,
    changed,
    count_in_place,
    credit_in_place,
    popularity_of,
)
from recstream.core.popularity.repeats import RETURN_BINS, Returns, return_chance, returns_in_place

__all__ = [
    "HALF_LIVES",
    "RETURN_BINS",
    "TINY",
    "Popularity",
    "Returns",
    "changed",
    "count_in_place",
    "credit_in_place",
    "popularity_of",
    "return_chance",
    "returns_in_place",
]
