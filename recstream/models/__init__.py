"""Generations and deltas as they are published: the store of artifacts and the feed of the models topic."""

from __future__ import annotations

from recstream.models.feed import ModelFeed, Unusable, announcement, moved
from recstream.models.prefetch import EarlyArtifacts
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
    "DirectoryStore",
    "EarlyArtifacts",
    "ModelFeed",
    "ModelStore",
    "ReadableStore",
    "Unusable",
    "announcement",
    "artifact_name",
    "fetch",
    "moved",
    "open_store",
    "pack",
    "prune",
    "unpack",
]
