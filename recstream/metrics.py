"""Beside the flow: the Prometheus metrics of all roles, by the names that others rely on.

Histograms in base units; never a user or item id as a label. They live in a registry of their own,
one a process.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY_S = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_WORK_S = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0)
_TRAINING_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)

REGISTRY = CollectorRegistry()

EVENTS_INGESTED = Counter(
    "recstream_events_ingested",
    "Events folded into histories, or found to count for nothing.",
    ("type", "outcome"),
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "recstream_dead_letters",
    "Records or events that could not be read.",
    ("reason",),
    registry=REGISTRY,
)
CONSUMER_LAG = Gauge(
    "recstream_consumer_lag_events",
    "Records between what an agent has read and the end of its partition.",
    ("agent", "partition"),
    registry=REGISTRY,
)
FOLD_IN_DURATION = Histogram(
    "recstream_fold_in_duration_seconds",
    "Time to make one user's list: fold-in, ranking and reasons.",
    buckets=_WORK_S,
    registry=REGISTRY,
)
FRESHNESS = Histogram(
    "recstream_freshness_seconds",
    "Age of an event when it is folded, published and sent, from its append on.",
    ("stage",),
    buckets=_LATENCY_S,
    registry=REGISTRY,
)
TRAINING_DURATION = Histogram(
    "recstream_training_duration_seconds",
    "Time to train a generation.",
    buckets=_TRAINING_S,
    registry=REGISTRY,
)
MODEL_GENERATION = Gauge(
    "recstream_model_generation", "Generation that is served.", registry=REGISTRY
)
PREQUENTIAL_RECALL = Gauge(
    "recstream_prequential_recall_ratio",
    "Share of the newest events whose item was in the list before them.",
    ("k",),
    registry=REGISTRY,
)
ARM_RECALL = Gauge(
    "recstream_arm_recall_ratio",
    "Share of an arm's newest events whose item was in the list before them.",
    ("arm", "k"),
    registry=REGISTRY,
)
ARM_ITEMS = Gauge(
    "recstream_arm_items",
    "Items of an arm's lists that impressions showed, and that were then taken.",
    ("arm", "what"),
    registry=REGISTRY,
)
PUSH_CONNECTIONS = Gauge(
    "recstream_push_connections", "Open WebSockets and event streams.", registry=REGISTRY
)
PUSH_MESSAGES = Counter(
    "recstream_push_messages", "Messages pushed to clients.", ("outcome",), registry=REGISTRY
)
PUSH_DISCONNECTS = Counter(
    "recstream_push_disconnects",
    "Connections that ended, by close code.",
    ("code",),
    registry=REGISTRY,
)
HTTP_REQUESTS = Counter(
    "recstream_http_requests",
    "Answers of the bridge, by route.",
    ("route", "status"),
    registry=REGISTRY,
)
HTTP_DURATION = Histogram(
    "recstream_http_duration_seconds",
    "Time to answer a request.",
    ("route",),
    buckets=_LATENCY_S,
    registry=REGISTRY,
)


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return bytes(generate_latest(REGISTRY))
