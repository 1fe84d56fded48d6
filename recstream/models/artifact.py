"""Artifacts: a generation as a checked ``.npz`` file in a model store.

An artifact holds named arrays and their digest, and is read without pickle: nothing in it is
executed. The log carries its name and digest, never its bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from recstream.core.generation import Generation
from recstream.core.numeric.array_codec import read_arrays, write_arrays
from recstream.errors import ArtifactCorrupt
from recstream.models.store import ModelStore, ReadableStore

if TYPE_CHECKING:
    from recstream.core.records import GenerationAnnounced


def artifact_name(generation: int, content_digest: str) -> str:
    """Return the name of a generation's artifact.

    >>> artifact_name(7, "0123456789abcdef")
    'generation-000007-01234567.npz'
    """
    return f"generation-{generation:06d}-{content_digest[:8]}.npz"


def generation_names(store: ReadableStore, number: int) -> list[str]:
    """Return the names of a generation's artifacts: one, except after a crash."""
    prefix = artifact_name(number, "").partition(".")[0]
    return [name for name in store.list() if name.startswith(prefix)]


def pack(generation: Generation) -> tuple[str, bytes]:
    """Return a generation's (digest, artifact bytes)."""
    buffer = io.BytesIO()
    content_digest = write_arrays(buffer, generation.arrays())
    return content_digest, buffer.getvalue()


def unpack(content: bytes, name: str, expected_digest: str | None = None) -> Generation:
    """Return the generation in an artifact; see `unpack_with_digest`."""
    return unpack_with_digest(content, name, expected_digest)[1]


def unpack_with_digest(
    content: bytes, name: str, expected_digest: str | None = None
) -> tuple[str, Generation]:
    """Return an artifact's (digest, generation).

    Parameters
    ----------
    expected_digest : str, optional
        From the announcement.

    Raises
    ------
    ArtifactCorrupt
        Not an artifact, or its digest differs from the expected one.
    """
    actual, named = read_arrays(io.BytesIO(content), name, expected_digest)
    try:
        return actual, Generation.from_arrays(named)
    except Exception as error:
        raise ArtifactCorrupt(f"{name}: {error}") from error


def fetch(store: ReadableStore, announced: GenerationAnnounced) -> Generation:
    """Return the generation of an announcement, checked against it.

    Raises
    ------
    NotFound
        The artifact is gone, for example pruned.
    ArtifactCorrupt
        It does not match the announcement.
    """
    content = store.get(announced.artifact)
    return checked_number(unpack(content, announced.artifact, announced.digest), announced)


def checked_number(generation: Generation, announced: GenerationAnnounced) -> Generation:
    """Return a generation if it has the number that was announced; else raise `ArtifactCorrupt`."""
    if generation.number != announced.generation:
        raise ArtifactCorrupt(
            f"{announced.artifact} must hold generation {announced.generation}, "
            f"got {generation.number}"
        )
    return generation


def prune(store: ModelStore, announced: Iterable[str], keep: int) -> list[str]:
    """Delete artifacts but those of the newest announcements, and return the names deleted.

    A name alone is no proof: after a restore the store may hold generations with higher numbers that
    the log never announced.

    Parameters
    ----------
    announced : iterable of str
        Names of artifacts that the log announces, the newest first. Those that are not stored don't count.
    """
    stored = {name: None for name in store.list() if name.startswith("generation-")}
    kept = set(islice((name for name in dict.fromkeys(announced) if name in stored), keep))
    old = [name for name in stored if name not in kept]
    for name in old:
        store.delete(name)
    return old
