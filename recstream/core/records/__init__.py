"""Records of every topic but interactions: plain JSON, and lists in columns (`ListColumns`).

One module a topic, with its structs and its decoder. REST and WebSocket send lists as JSON.
"""

from recstream.core.records.catalogue import Item, Time, decode_item, decode_stored_item
from recstream.core.records.control import (
    CheckpointRequested,
    ControlRecord,
    ControlSnapshot,
    Erased,
    ForgetRequested,
    Forgotten,
    HyperparametersChosen,
    RollbackRequested,
    SettingsActivated,
    SteeringSet,
    TrainingRequested,
    decode_control,
)
from recstream.core.records.dead_letters import DeadLetter, decode_dead_letter
from recstream.core.records.list_columns import (
    LIST_FORMAT,
    ListColumns,
    decode_recommendations,
    list_header,
    list_json,
)
from recstream.core.records.lists import (
    AsOf,
    Lineage,
    Reason,
    Recommendations,
    RecommendedItem,
    Requested,
    Source,
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
