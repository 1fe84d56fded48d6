"""Models: the store of artifacts, and the feed of generations and deltas from the models topic.

In: generations to store, announcements in the log. Out: checked generations, moved by their deltas.
"""

from recstream.models.artifact import artifact_name, fetch, pack, prune, unpack
from recstream.models.feed import ModelFeed, Unusable, apply_deltas
from recstream.models.open import open_store
from recstream.models.opened import OpenedArtifacts
from recstream.models.prefetch import ArtifactPrefetch
from recstream.models.store import DirectoryStore, ModelStore, ReadableStore
from recstream.models.topic import (
    DELTA_KEY,
    announcements,
    find_announcement,
    read_models,
    start_of_generations,
)
