"""Prometheus metrics of all roles, served by the bridge.

The bridge reads what workers and trainer publish on the topics; they have no endpoint of their own.
Histograms are in base units. Labels never hold user or item ids.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY_S = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_TRAINING_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)

REGISTRY = CollectorRegistry()

EVENTS_INGESTED = Counter(
    "recstream_events_ingested",
    "Events that workers folded into histories, or ignored as repeats, since the bridge started.",
    ("type", "outcome"),
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "recstream_dead_letters",
    "Records or events that could not be read, since the bridge started.",
    ("reason",),
    registry=REGISTRY,
)
CONSUMER_LAG = Gauge(
    "recstream_consumer_lag_events",
    "Records of a partition that workers have not folded and committed.",
    ("agent", "partition"),
    registry=REGISTRY,
)
ROLE_READY = Gauge(
    "recstream_role_ready", "1 if a role is ready, else 0.", ("role",), registry=REGISTRY
)
HEARTBEAT_LATE_S = 12.0
"""Age of a role's status that is late: workers and trainers send one every 5 s."""
HEARTBEAT_AGE = Gauge(
    "recstream_heartbeat_age_seconds",
    "Time since the newest heartbeat of a role.",
    ("role",),
    registry=REGISTRY,
)
FOLD_IN_DURATION = Gauge(
    "recstream_fold_in_duration_seconds",
    "Time to make one user's list, of the newest 1,000: fold-in, ranking and reasons.",
    ("quantile",),
    registry=REGISTRY,
)
FRESHNESS = Histogram(
    "recstream_freshness_seconds",
    "Time from a fresh event's append until its list is ranked, published and sent; lists sent "
    "to a browser.",
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
MODEL_GENERATION = Gauge("recstream_model_generation", "Generation that serves.", registry=REGISTRY)
PREQUENTIAL_RECALL = Gauge(
    "recstream_prequential_recall_ratio",
    "Recall@k of the newest events: share whose item was in the list published before.",
    ("k",),
    registry=REGISTRY,
)
ARM_RECALL = Gauge(
    "recstream_arm_recall_ratio",
    "Recall@k of an arm's newest events.",
    ("arm", "k"),
    registry=REGISTRY,
)
ARM_ITEMS = Gauge(
    "recstream_arm_items",
    "Items of an arm's lists that were shown, and that users then interacted with.",
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
    "recstream_push_disconnects", "Closed connections by close code.", ("code",), registry=REGISTRY
)
HTTP_REQUESTS = Counter(
    "recstream_http_requests",
    "Responses of the bridge by route.",
    ("route", "status"),
    registry=REGISTRY,
)
HTTP_DURATION = Histogram(
    "recstream_http_duration_seconds",
    "Time to respond to a request.",
    ("route",),
    buckets=_LATENCY_S,
    registry=REGISTRY,
)


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return bytes(generate_latest(REGISTRY))
