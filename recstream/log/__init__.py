"""The event log: a port (`EventLog`), adapters (`embedded`, `kafka`), Faust's transport over it.

In: records to append. Out: records by topic, partition and offset. Topic names are in `topics`.
"""

from recstream.log.decode import dead_letter, decode, decode_record, json_value, may_contain
from recstream.log.open import embedded_file, open_log
from recstream.log.partitioner import partition_for
from recstream.log.port import (
    MAX_OFFSET_DIGITS,
    EventLog,
    NewRecord,
    Position,
    ReadableLog,
    Record,
    Tail,
    TopicPartition,
)
from recstream.log.reading import (
    decode_or_skip,
    decode_value,
    newest_time_ms,
    read_backwards,
    read_batches,
    read_kept,
    read_records,
    require_kept,
    start_of_newest,
)
from recstream.log.resend_dead_letters import (
    find_letter,
    original_content,
    read_letter,
    record_to_send,
)
from recstream.log.topics import (
    CATALOGUE,
    CHECKPOINTS,
    CONTROL,
    DEAD_LETTERS,
    FORGET_REQUESTS,
    HISTORIES_TABLE,
    INTERACTIONS,
    MODELS,
    PIPELINE,
    RECOMMENDATIONS,
    TopicSpec,
    full_name,
    histories_changelog,
    own_topics,
    topic_specs,
)
from recstream.log.watch import watch_topics
