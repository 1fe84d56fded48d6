"""A generation: the trained model as it is served. In: arrays of a training, then deltas. Out: scores' parts.

`generation` holds it, `scoring` its typed weights, `delta` decodes deltas, `serialize` is its array form.
"""

from __future__ import annotations

from recstream.core.generation.generation import Generation

__all__ = ["Generation"]
