"""The bridge's read models: lists, items, status, recent event ids, lists of the past.

In: records of the topics that the bridge follows. Out: what the routes and the hub read.
"""

from recstream.bridge.views.dedup_window import DedupWindow
from recstream.bridge.views.event_counts import Counted, CountsFeed
from recstream.bridge.views.items import Items
from recstream.bridge.views.lists import Views, without
from recstream.bridge.views.log_search import (
    FoundRecords,
    LogSearch,
    RecordFilter,
    decode_places,
    encode_places,
)
from recstream.bridge.views.pipeline_history import (
    FRESHNESS_BOUNDS_MS,
    SAMPLE_S,
    PipelineHistory,
    PipelinePoint,
)
from recstream.bridge.views.slice_folder import SliceFolder
from recstream.bridge.views.status import Heartbeat, Status
from recstream.bridge.views.time_travel import PastQueries
