"""Generations and deltas as they are published: the store of artifacts and the feed of the models topic."""

from __future__ import annotations

from recstream.models.feed import ModelFeed, Unusable, apply_deltas, find_announcement
from recstream.models.prefetch import ArtifactPrefetch
from recstream.models.store import (
    DirectoryStore,
    ModelStore,
    ReadableStore,
    artifact_name,
    fetch,
    open_store,
    pack,
    prune,
    unpack,
)

__all__ = [
    "ArtifactPrefetch",
    "DirectoryStore",
    "ModelFeed",
    "ModelStore",
    "ReadableStore",
    "Unusable",
    "apply_deltas",
    "artifact_name",
    "fetch",
    "find_announcement",
    "open_store",
    "pack",
    "prune",
    "unpack",
]
