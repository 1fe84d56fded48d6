"""Beside the flow: the Prometheus metrics of all roles, by the names that others rely on.

Histograms in base units; never a user or item id as a label. A role makes one `Metrics` and passes
it down.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY_S = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_WORK_S = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0)
_TRAINING_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)


class Metrics:
    """Every metric of an installation, in a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.events_ingested = Counter(
            "recstream_events_ingested",
            "Events folded into histories, or found to count for nothing.",
            ("type", "outcome"),
            registry=registry,
        )
        self.dead_letters = Counter(
            "recstream_dead_letters",
            "Records or events that could not be read.",
            ("reason",),
            registry=registry,
        )
        self.consumer_lag = Gauge(
            "recstream_consumer_lag_events",
            "Records between what an agent has read and the end of its partition.",
            ("agent", "partition"),
            registry=registry,
        )
        self.fold_in_duration = Histogram(
            "recstream_fold_in_duration_seconds",
            "Time to make one user's list: fold-in, ranking and reasons.",
            buckets=_WORK_S,
            registry=registry,
        )
        self.freshness = Histogram(
            "recstream_freshness_seconds",
            "Age of an event when it is folded, published and sent, from its append on.",
            ("stage",),
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.training_duration = Histogram(
            "recstream_training_duration_seconds",
            "Time to train a generation.",
            buckets=_TRAINING_S,
            registry=registry,
        )
        self.model_generation = Gauge(
            "recstream_model_generation", "Generation that is served.", registry=registry
        )
        self.prequential_recall = Gauge(
            "recstream_prequential_recall_ratio",
            "Share of the newest events whose item was in the list before them.",
            ("k",),
            registry=registry,
        )
        self.push_connections = Gauge(
            "recstream_push_connections", "Open WebSockets and event streams.", registry=registry
        )
        self.push_messages = Counter(
            "recstream_push_messages",
            "Messages pushed to clients.",
            ("outcome",),
            registry=registry,
        )
        self.push_disconnects = Counter(
            "recstream_push_disconnects",
            "Connections that ended, by close code.",
            ("code",),
            registry=registry,
        )

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return bytes(generate_latest(self.registry))
