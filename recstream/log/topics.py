"""Topic names, and each topic's partitions, compaction and retention."""

from collections.abc import Collection, Mapping

import msgspec

from recstream.errors import NotFound

INTERACTIONS = "recstream.interactions"
"""Events, key = user; none for imported records. All other state is derived from them."""
RECOMMENDATIONS = "recstream.recommendations"
"""Published lists, key = user."""
MODELS = "recstream.models"
"""Announcements of generations and their deltas, one partition, in order."""
CATALOGUE = "recstream.catalogue"
"""Item upserts and deletes, key = item; a delete is a tombstone."""
CONTROL = "recstream.control"
"""Training requests and settings that change what is recommended, one partition."""
CHECKPOINTS = "recstream.checkpoints"
"""Manifests of partition checkpoints, key = file name; a tombstone withdraws one."""
DEAD_LETTERS = "recstream.dead-letters"
"""Records that could not be read, with the reason and their origin."""
FORGET_REQUESTS = "recstream.forget-requests"
"""On Kafka: requests to forget a user, deleted when they have been carried out; one partition."""
PIPELINE = "recstream.pipeline"
"""Short-lived status of the roles (training, lag), one partition; no state depends on it."""
HISTORIES_TABLE = "user-histories"
"""Faust's table of users' histories."""
CHANGELOG_END = f"-{HISTORIES_TABLE}-changelog"
"""End of the name of each ``app_id``'s changelog."""


def histories_changelog(app_id: str) -> str:
    """Return the name Faust gives the changelog of the histories table.

    >>> histories_changelog("recstream-worker")
    'recstream-worker-user-histories-changelog'
    """
    return app_id + CHANGELOG_END


def own_topics(topics: Mapping[str, int]) -> dict[str, int]:
    """Return those of recstream, with their partition counts; a Kafka cluster may hold others' too.

    >>> own_topics({"recstream.control": 1, "payments": 9})
    {'recstream.control': 1}
    """
    return {
        name: count
        for name, count in topics.items()
        if name.startswith("recstream.") or name.endswith(CHANGELOG_END)
    }


def full_name(topic: str, known: Collection[str]) -> str:
    """Return the whole name of a topic, whose prefix ``recstream.`` may be omitted.

    Raises
    ------
    NotFound
        The log has no such topic.
    """
    name = topic if topic in known else f"recstream.{topic}"
    if name not in known:
        raise NotFound(f"there is no topic {topic!r}; there are: {', '.join(sorted(known))}")
    return name


class TopicSpec(msgspec.Struct, frozen=True):
    """Configuration of a topic.

    Attributes
    ----------
    partitions : int
        Fixed for the life of the topic: the order of a user's events depends on it.
    compacted : bool
        Keep at least the newest record of every key; older ones are dropped in time.
    retention_ms : int or None
        Drop records older than this; ``None`` keeps all.
    """

    name: str
    partitions: int
    compacted: bool = False
    retention_ms: int | None = None


DAY_MS = 24 * 3600 * 1000


def topic_specs(partitions: int, app_id: str = "") -> tuple[TopicSpec, ...]:
    """Return the topics of an installation whose user-keyed topics have ``partitions``.

    With an ``app_id`` also the changelog of its histories.
    """
    changelog = TopicSpec(histories_changelog(app_id), partitions, compacted=True)
    return (
        TopicSpec(INTERACTIONS, partitions),
        TopicSpec(RECOMMENDATIONS, partitions),
        TopicSpec(MODELS, 1),
        TopicSpec(CATALOGUE, 1, compacted=True),
        TopicSpec(CONTROL, 1),
        TopicSpec(CHECKPOINTS, 1, compacted=True),
        TopicSpec(DEAD_LETTERS, partitions),
        TopicSpec(PIPELINE, 1, retention_ms=DAY_MS),
        *([changelog] if app_id else []),
    )
