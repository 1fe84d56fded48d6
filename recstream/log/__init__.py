"""The event log: a port (`EventLog`), its adapters (`embedded`, `kafka`) and Faust's transport over it.

In: records to append. Out: records by topic, partition and offset. Topic names are in `topics`.
"""

from __future__ import annotations

from recstream.log.decode import dead_letter, decode, decode_record
from recstream.log.open import open_log
from recstream.log.partitioner import partition_for
from recstream.log.port import (
    EventLog,
    NewRecord,
    Position,
    ReadableLog,
    Record,
    Tail,
    TopicPartition,
)
from recstream.log.reading import decode_or_skip, decode_value, read_batches, read_records
from recstream.log.topics import (
    CATALOGUE,
    CHECKPOINTS,
    CONTROL,
    DEAD_LETTERS,
    HISTORIES_TABLE,
    INTERACTIONS,
    MODELS,
    PIPELINE,
    RECOMMENDATIONS,
    TopicSpec,
    histories_changelog,
    topic_specs,
)

__all__ = [
    "CATALOGUE",
    "CHECKPOINTS",
    "CONTROL",
    "DEAD_LETTERS",
    "HISTORIES_TABLE",
    "INTERACTIONS",
    "MODELS",
    "PIPELINE",
    "RECOMMENDATIONS",
    "EventLog",
    "NewRecord",
    "Position",
    "ReadableLog",
    "Record",
    "Tail",
    "TopicPartition",
    "TopicSpec",
    "dead_letter",
    "decode",
    "decode_or_skip",
    "decode_record",
    "decode_value",
    "histories_changelog",
    "open_log",
    "partition_for",
    "read_batches",
    "read_records",
    "topic_specs",
]
