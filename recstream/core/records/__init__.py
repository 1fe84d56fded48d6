"""Records of every topic but interactions, as plain JSON that any client can read.

One module a topic, with its structs and its decoder. REST and WebSocket send the same bodies.
"""

from __future__ import annotations

from recstream.core.records.catalogue import (
    Item,
    Time,
    decode_item,
    decode_stored_item,
)
from recstream.core.records.control import (
    CheckpointRequested,
    ControlRecord,
    ForgetRequested,
    Forgotten,
    HyperparametersChosen,
    RollbackRequested,
    SettingsActivated,
    SteeringSet,
    TrainingRequested,
    decode_control,
)
from recstream.core.records.dead_letters import (
    DeadLetter,
    decode_dead_letter,
)
from recstream.core.records.lists import (
    AsOf,
    Lineage,
    Reason,
    Recommendations,
    RecommendedItem,
    Requested,
    Source,
    decode_recommendations,
)
from recstream.core.records.models import (
    DeltaAnnounced,
    GateResult,
    GenerationAnnounced,
    ModelRecord,
    decode_model,
)
from recstream.core.records.pipeline import (
    ClickCounts,
    PipelineRecord,
    PrequentialScore,
    TrainerStatus,
    TrainingProgress,
    WorkerStatus,
    decode_pipeline,
)

__all__ = [
    "AsOf",
    "CheckpointRequested",
    "ClickCounts",
    "ControlRecord",
    "DeadLetter",
    "DeltaAnnounced",
    "ForgetRequested",
    "Forgotten",
    "GateResult",
    "GenerationAnnounced",
    "HyperparametersChosen",
    "Item",
    "Lineage",
    "ModelRecord",
    "PipelineRecord",
    "PrequentialScore",
    "Reason",
    "Recommendations",
    "RecommendedItem",
    "Requested",
    "RollbackRequested",
    "SettingsActivated",
    "Source",
    "SteeringSet",
    "Time",
    "TrainerStatus",
    "TrainingProgress",
    "TrainingRequested",
    "WorkerStatus",
    "decode_control",
    "decode_dead_letter",
    "decode_item",
    "decode_model",
    "decode_pipeline",
    "decode_recommendations",
    "decode_stored_item",
]
