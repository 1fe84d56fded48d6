"""A generation: the trained model as it is served, its deltas, and its file."""

from __future__ import annotations

from recstream.core.generation.generation import Generation

__all__ = ["Generation"]
